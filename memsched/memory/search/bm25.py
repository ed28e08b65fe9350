"""Words: how a text is cut into stems, and the BM25 weights of stems (Robertson & Zaragoza 2009).

A document's weights do not depend on the other documents, so they are stored once; what does, the inverse document
frequency, is put on the query's side, from the counts that a cube keeps of its own memories (``TermCounts``). So the
dot product of the two sparse vectors is BM25, on any store that has sparse vectors.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from memsched.lexicon import STOP_WORDS, stem
from memsched.memory.store.points import Sparse

K1 = 0.9
B = 0.4
"""As in Anserini's BM25 (Yang, Fang & Lin 2017): short texts need less length normalisation than the textbook's."""
USUAL_LENGTH = 12.0
"""Stems of a typical utterance. Fixed: a true mean would change all stored weights whenever a memory is added."""
MAX_WORD_CHARACTERS = 64

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_WITHOUT_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")


def words(text: str) -> list[str]:
    """The words of a text in order, lower case. Scripts without spaces give overlapping pairs of characters."""
    plain = text.lower().replace("\u2019", "'")
    found = _WORD.findall(plain)
    if _WITHOUT_SPACES.search(plain) is not None:
        found = [part for word in found for part in _parts(word)]
    return [word[:MAX_WORD_CHARACTERS] for word in found]


def _parts(word: str) -> list[str]:
    if _WITHOUT_SPACES.search(word) is None:
        return [word]
    return [word[at : at + 2] for at in range(max(1, len(word) - 1))]


def content_words(text: str) -> list[str]:
    """The words that mean something by themselves; all words, if there are only others."""
    found = words(text)
    return [word for word in found if word not in STOP_WORDS] or found


def stems(text: str) -> list[str]:
    """The stems of the content words, in order, with repetitions."""
    return [stem(word) for word in content_words(text)]


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
