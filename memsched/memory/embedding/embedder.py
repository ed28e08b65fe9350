"""Text to vectors: the port, and which embedder the settings choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from memsched.errors import MemschedError, SettingsError
from memsched.settings import Settings

_CHOICES = (
    "hashing (no download, no server), openai:MODEL (any OpenAI-compatible server), fastembed:MODEL, "
    "or the folder of an ONNX model"
)


class EmbeddingError(MemschedError):
    """The embedding model did not give vectors."""

    def __init__(self, message: str, *, temporary: bool, retry_after: float | None = None) -> None:
        """temporary: the same call may succeed later, and nobody has to do anything to this worker. retry_after:
        seconds, if the model's server asked to be left alone for so long.
        """
        self.temporary = temporary
        self.retry_after = retry_after
        super().__init__(message)


class Embedder(Protocol):
    """Gives vectors of length 1; all zero for a text of which the model makes nothing. Raises EmbeddingError.

    name: kept with the collection; vectors of two names cannot be compared. dimensions: known after ``prepare``.
    For one event loop.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    async def prepare(self) -> None:
        """Load the model, or ask its server. Raises EmbeddingError, and SettingsError when there is no such model."""

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in the order of the texts."""
        ...

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        """weights: inverse document frequency by stem; models that weigh words themselves leave it unread."""
        ...

    async def aclose(self) -> None: ...


def embedder_from(settings: Settings) -> Embedder:
    """The embedder that MEMSCHED_EMBEDDING_MODEL names, not prepared yet. Raises SettingsError; waits for nothing."""
    chosen = settings.embedding_model.strip()
    kind, colon, model = chosen.partition(":")
    if kind == "openai" and colon:
        from memsched.memory.embedding.openai import OpenAIEmbedder

        return OpenAIEmbedder(settings, _named(model, "openai:text-embedding-3-small"))
    if settings.embedding_dimensions:
        raise SettingsError(
            [
                "MEMSCHED_EMBEDDING_DIMENSIONS: only an openai:MODEL can be asked for a number of dimensions. "
                "Set it to 0."
            ]
        )
    if chosen == "hashing":
        from memsched.memory.embedding.hashing import HashingEmbedder

        return HashingEmbedder()
    if kind == "fastembed" and colon:
        from memsched.memory.embedding.fastembed import FastembedModel
        from memsched.memory.embedding.local import LocalEmbedder

        return LocalEmbedder(FastembedModel(_named(model, "fastembed:BAAI/bge-small-en-v1.5")), settings)
    if (folder := _folder(chosen)) is not None:
        from memsched.memory.embedding.local import LocalEmbedder
        from memsched.memory.embedding.onnx import FolderModel

        return LocalEmbedder(FolderModel(folder), settings)
    raise SettingsError(
        [f"MEMSCHED_EMBEDDING_MODEL: {chosen!r} is neither a model nor a folder. Set it to {_CHOICES}."]
    )


def _folder(chosen: str) -> Path | None:
    try:
        path = Path(chosen).expanduser()
        return path if chosen and path.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path, or the home of nobody
        return None


def _named(model: str, example: str) -> str:
    if not model.strip():
        raise SettingsError(
            [f"MEMSCHED_EMBEDDING_MODEL: the model's name is missing after the colon, as in {example}."]
        )
    return model.strip()
