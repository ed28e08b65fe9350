"""Text to vectors: the port, and which embedder the settings choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from memsched.errors import MemschedError, SettingsError
from memsched.settings import Settings

_VARIABLE = "MEMSCHED_EMBEDDING_MODEL"


class EmbeddingError(MemschedError):
    """The embedding model gave no vectors. temporary: the same call may succeed later."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class Embedder(Protocol):
    """Makes vectors of length 1.

    name: stands for the model and all that changes its vectors; kept with the collection. dimensions: of a vector,
    known once ``prepare`` has returned. Raises EmbeddingError.
    """

    name: str
    dimensions: int

    async def prepare(self) -> None:
        """Load the model, or reach its server."""

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in order."""

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        """The vector of a query. weights: by stem, how rare it is in the cube; for embedders that know no words."""

    async def aclose(self) -> None: ...


def embedder_from(settings: Settings) -> Embedder:
    """The embedder that MEMSCHED_EMBEDDING_MODEL names; nothing is loaded yet. Raises SettingsError."""
    kind, _, model = settings.embedding_model.partition(":")
    if settings.embedding_model == "hashing":
        from memsched.memory.hashing import HashingEmbedder

        return HashingEmbedder()
    if kind == "openai" and model:
        from memsched.memory.embedding_server import EmbeddingServer

        return EmbeddingServer(settings, model)
    if kind == "fastembed" and model:
        from memsched.memory.embedding_fastembed import FastembedEmbedder

        return FastembedEmbedder(model, settings.embedding_batch)
    folder = Path(settings.embedding_model).expanduser()
    if folder.is_dir():
        from memsched.memory.embedding_folder import FolderEmbedder

        return FolderEmbedder(folder, settings.embedding_batch)
    raise SettingsError(
        [
            f"{_VARIABLE}: {settings.embedding_model!r} is neither hashing, openai:MODEL, fastembed:MODEL, nor a "
            "folder with a model."
        ]
    )
