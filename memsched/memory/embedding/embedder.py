"""The interface of an embedding model: texts in, vectors of length 1 out. ``factory`` picks the one of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from memsched.errors import MemschedError


class EmbeddingError(MemschedError):
    """The embedding model did not give vectors."""

    def __init__(self, message: str, *, temporary: bool, retry_after: float | None = None) -> None:
        """Args:
        temporary: the same call may succeed later, and nobody has to do anything to this worker.
        retry_after: seconds, if the model's server asked to be left alone for so long.
        """
        self.temporary = temporary
        self.retry_after = retry_after
        super().__init__(message)


class Embedder(Protocol):
    """An embedding model. For one event loop. Raises EmbeddingError.

    Vectors have length 1, or are all zero for a text of which the model makes nothing.
    """

    @property
    def name(self) -> str:
        """Kept with the collection: vectors of two names cannot be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Known after ``prepare``."""
        ...

    @property
    def may_embed_later(self) -> bool:
        """Whether a text that got no vector may get one another time."""
        ...

    async def prepare(self) -> None:
        """Load the model, or ask its server. Raises EmbeddingError, and SettingsError when there is no such model."""

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, in the order of the texts."""
        ...

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        """Return the vector of a query.

        Args:
            weights: inverse document frequency by stem; models that weigh words themselves leave it unread.
        """
        ...

    async def aclose(self) -> None: ...


def truncate(text: str, max_bytes: int) -> str:
    """Return the text as valid Unicode, and its beginning if its UTF-8 is longer than max_bytes."""
    encoded = text.encode("utf-8", "replace")  # half a surrogate pair cannot be sent
    return encoded[:max_bytes].decode("utf-8", "ignore")
