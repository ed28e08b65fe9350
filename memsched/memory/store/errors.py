"""What may go wrong with the vector store, told apart by what helps: waiting, or somebody's hand."""

from __future__ import annotations

from memsched.errors import MemschedError


class StoreUnavailable(MemschedError):
    """The vector store does not answer. Nothing is wrong with the call: the same one may succeed later."""

    def __init__(self, url: str, reason: str, *, collection_is_gone: bool = False) -> None:
        super().__init__(f"The vector store at {url} does not answer ({reason}). Is it up? It is MEMSCHED_QDRANT_URL.")
        self.collection_is_gone = collection_is_gone


class StoreRefused(MemschedError):
    """The vector store answered, and refused the call. The same call will be refused again."""


class EmbedderMismatch(MemschedError):
    """The collection was made with another embedding model than the one that is set."""

    def __init__(self, collection: str, made_with: str, wanted: str) -> None:
        super().__init__(
            f"The collection {collection!r} was made with the embedding model {made_with}, but "
            f"MEMSCHED_EMBEDDING_MODEL now asks for {wanted}. Set it back, or run: memsched reindex."
        )
        self.made_with = made_with
        self.wanted = wanted


class SchemaTooNew(MemschedError):
    """A newer version of memsched wrote the collection."""
