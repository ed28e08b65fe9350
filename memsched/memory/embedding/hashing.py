"""Feature hashing, the default embedder (Weinberger et al. 2009). No model, no download, no server.

The features of a word are its stem and its character 4-grams, which find other forms and misspellings of it. Every
feature is hashed to one of 1,024 dimensions with a sign, so that those which meet there cancel out on average.
Documents are stored without inverse document frequencies; a query's features are weighted by that of their word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from zlib import crc32

from memsched.lexicon import content_words, stem
from memsched.pace import Pace

DIMENSIONS = 1024
_GRAM = 4
_GRAMS_WEIGHT = 0.6
"""Of all grams of a word together, beside 1 for its stem."""


class HashingEmbedder:
    """Deterministic on every machine and in every process."""

    may_embed_later = False
    name = "hashing-1"
    dimensions = DIMENSIONS

    async def prepare(self) -> None:
        """Nothing to load."""

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        pace = Pace()
        vectors = []
        for text in texts:
            vectors.append(embed(text))
            await pace.rest()
        return vectors

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        return embed(text, weights)

    async def aclose(self) -> None:
        """Nothing to close."""


def embed(text: str, weights: Mapping[str, float] | None = None) -> list[float]:
    """Return the vector of a text: 1,024 floats of length 1 (all zero for a text without words).

    Args:
        weights: factor by stem, for a query; stems that are not in it count once.
    """
    strengths: dict[int, float] = {}
    for word in content_words(text):
        stemmed, features = _features(word)
        factor = 1.0 if weights is None else weights.get(stemmed, 1.0)
        for place, strength in features:
            strengths[place] = strengths.get(place, 0.0) + factor * strength
    values: dict[int, float] = {}
    for place, strength in strengths.items():
        values[place >> 1] = values.get(place >> 1, 0.0) + (strength if place & 1 else -strength)
    length = math.sqrt(sum(values[at] * values[at] for at in sorted(values)))
    vector = [0.0] * DIMENSIONS
    for at, value in values.items():
        if value:
            vector[at] = round(value / length, 6)
    return vector


@lru_cache(maxsize=65_536)
def _features(word: str) -> tuple[str, tuple[tuple[int, float], ...]]:
    """Return the stem of a word, and (dimension * 2 + sign, strength) of each of its features."""
    stemmed = stem(word)
    framed = f"#{word}#"
    count = max(1, len(framed) - _GRAM + 1)
    strength = _GRAMS_WEIGHT / math.sqrt(count)
    grams = ((f"g:{framed[at : at + _GRAM]}", strength) for at in range(count))
    return stemmed, tuple((_place(feature), weight) for feature, weight in ((f"w:{stemmed}", 1.0), *grams))


def _place(feature: str) -> int:
    hashed = crc32(feature.encode())
    return (hashed % DIMENSIONS) << 1 | (hashed >> 16 & 1)
