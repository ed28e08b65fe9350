"""Text to vectors: the port, and which embedder the settings choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from memsched.errors import MemschedError
from memsched.settings import Settings


class EmbeddingError(MemschedError):
    """The embedding model did not give vectors. temporary: the same call may succeed later."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class Embedder(Protocol):
    name: str
    dimensions: int

    async def prepare(self) -> None: ...
    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]: ...
    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]: ...
    async def aclose(self) -> None: ...


def embedder_from(settings: Settings) -> Embedder:
    from memsched.memory.hashing import HashingEmbedder

    return HashingEmbedder()
