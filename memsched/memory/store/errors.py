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


_WORTH_REPEATING = frozenset({408, 425, 429, 500, 502, 503, 504})


def described(error: Exception, url: str) -> MemschedError:
    """The error of ours that says what one of the client means."""
    if isinstance(error, MemschedError):
        return error
    if isinstance(error, TimeoutError):
        return StoreUnavailable(url, "no answer in time")
    from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

    if isinstance(error, UnexpectedResponse):
        said = error.content.decode(errors="replace")[:300] if error.content else error.reason_phrase
        if error.status_code in _WORTH_REPEATING:
            return StoreUnavailable(url, f"{error.status_code} {said}")
        if error.status_code == 404:  # dropped, or replaced by a reindex
            return StoreUnavailable(url, f"404 {said}", collection_is_gone=True)
        if error.status_code in (401, 403):
            return StoreRefused(
                f"The vector store at {url} refused the key ({error.status_code}): see MEMSCHED_QDRANT_API_KEY."
            )
        return StoreRefused(f"The vector store at {url} refused a call: {error.status_code} {said}")
    if isinstance(error, (ApiException, OSError)):
        return StoreUnavailable(url, str(error) or type(error).__name__)
    return StoreRefused(f"The vector store at {url} cannot do that: {type(error).__name__}: {error}")


__all__ = ["EmbedderMismatch", "SchemaTooNew", "StoreRefused", "StoreUnavailable", "described"]
