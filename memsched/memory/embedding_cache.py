"""Vectors of texts that were embedded lately: questions and retried messages come again."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict

MAX_BYTES = 64 * 1024 * 1024


class EmbeddingCache:
    """The vectors used last, by the hash of their text, up to ``max_bytes`` (4 bytes a number)."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._vectors: OrderedDict[bytes, array[float]] = OrderedDict()

    def get(self, text: str) -> list[float] | None:
        vector = self._vectors.get(key := _key(text))
        if vector is None:
            return None
        self._vectors.move_to_end(key)
        return list(vector)

    def put(self, text: str, vector: list[float]) -> None:
        key = _key(text)
        if key in self._vectors:
            return
        self._vectors[key] = packed = array("f", vector)
        self._bytes += packed.itemsize * len(packed)
        while self._bytes > self._max_bytes and len(self._vectors) > 1:
            _, oldest = self._vectors.popitem(last=False)
            self._bytes -= oldest.itemsize * len(oldest)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
