"""BM25 (Robertson & Zaragoza 2009): the weights of stems in documents and in queries.

A document's weights do not depend on the other documents, so they are stored once; what does, the inverse document
frequency, is put on the query's side, from the counts that a cube keeps of its own memories (``TermCounts``). So the
dot product of the two sparse vectors is BM25, on any store that has sparse vectors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from zlib import crc32

K1 = 0.9
B = 0.4
"""As in Anserini's BM25 (Yang, Fang & Lin 2017): short texts need less length normalisation than the textbook's."""
USUAL_LENGTH = 12.0
"""Stems of a typical utterance. Fixed: a true mean would change all stored weights whenever a memory is added."""


@lru_cache(maxsize=65_536)
def index_of(stemmed: str) -> int:
    """The dimension of a stem in sparse vectors: 32 bits, so that two stems of one cube hardly ever meet."""
    return crc32(stemmed.encode())


def own_weights(document: Sequence[str]) -> dict[str, float]:
    """BM25's part of the document: tf (k1 + 1) / (tf + k1 (1 - b + b length / usual length)), by stem."""
    norm = K1 * (1 - B + B * (len(document) + 1) / USUAL_LENGTH)
    return {stem: tf * (K1 + 1) / (tf + norm) for stem, tf in Counter(document).items()}


@dataclass(frozen=True, slots=True)
class TermCounts:
    """In how many of a cube's memories each of some stems occurs. Unknown counts are taken as zero.

    Args:
        names: those of these stems that are a speaker's name.
        vocabulary: of all stems of the cube that are counted, where somebody asked for them.
    """

    memories: int
    by_stem: Mapping[str, int]
    names: frozenset[str] = frozenset()
    vocabulary: Mapping[str, int] = field(default_factory=dict)

    def idf(self, *stemmed: str) -> float:
        """ln(1 + (N - n + 0.5) / (n + 0.5)); positive for every n, also when the counts are behind. Of several stems
        that stand for one word n is at most the sum of theirs.
        """
        known = self.vocabulary or self.by_stem
        among = min(sum([known.get(each, 0) for each in stemmed]), self.memories)
        return math.log(1 + (self.memories - among + 0.5) / (among + 0.5))

    def idfs(self, stemmed: Iterable[str]) -> dict[str, float]:
        return {each: self.idf(each) for each in stemmed}
