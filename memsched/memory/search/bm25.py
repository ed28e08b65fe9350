"""BM25 (Robertson & Zaragoza 2009): the weights of stems in documents and in queries.

A document's weights do not depend on the other documents, so they are stored once; what does, the inverse document
frequency, is put on the query's side, from the counts that a cube keeps of its own memories (``TermCounts``). So the
dot product of the two sparse vectors is BM25, on any store that has sparse vectors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from memsched.memory.store.points import Sparse

K1 = 0.9
B = 0.4
"""As in Anserini's BM25 (Yang, Fang & Lin 2017): short texts need less length normalisation than the textbook's."""
USUAL_LENGTH = 12.0
"""Stems of a typical utterance. Fixed: a true mean would change all stored weights whenever a memory is added."""


@lru_cache(maxsize=65_536)
def index_of(stemmed: str) -> int:
    """The dimension of a stem in sparse vectors: 32 bits, so that two stems of one cube hardly ever meet."""
    return crc32(stemmed.encode())


def document_weights(document: Sequence[str]) -> Sparse:
    """BM25's part of the document: tf (k1 + 1) / (tf + k1 (1 - b + b length / usual length)), by stem."""
    norm = K1 * (1 - B + B * len(document) / USUAL_LENGTH)
    return _sparse({stem: tf * (K1 + 1) / (tf + norm) for stem, tf in Counter(document).items()})


def query_weights(query: Iterable[str], counts: TermCounts) -> Sparse:
    """BM25's part of the query: the inverse document frequency of each of its stems."""
    return _sparse({stem: counts.idf(stem) for stem in set(query)})


def _sparse(weights: Mapping[str, float]) -> Sparse:
    by_index: dict[int, float] = {}
    for stemmed, weight in weights.items():
        index = index_of(stemmed)
        by_index[index] = by_index.get(index, 0.0) + weight
    return Sparse(list(by_index), [round(value, 5) for value in by_index.values()])


@dataclass(frozen=True, slots=True)
class TermCounts:
    """In how many of a cube's memories each of some stems occurs. Unknown counts are taken as zero."""

    memories: int
    by_stem: Mapping[str, int]

    def idf(self, stemmed: str) -> float:
        """ln(1 + (N - n + 0.5) / (n + 0.5)); positive for every n, also when the counts are behind."""
        among = min(self.by_stem.get(stemmed, 0), self.memories)
        return math.log(1 + (self.memories - among + 0.5) / (among + 0.5))

    def idfs(self, stemmed: Iterable[str]) -> dict[str, float]:
        return {each: self.idf(each) for each in stemmed}
