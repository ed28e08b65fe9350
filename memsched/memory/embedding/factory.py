"""Which embedding model the settings choose: one of the providers in this folder."""

from __future__ import annotations

from pathlib import Path

from memsched.errors import SettingsError
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.embedding.hashing import HashingEmbedder
from memsched.settings import Settings

_CHOICES = (
    "hashing (no download, no server), openai:MODEL (any OpenAI-compatible server), fastembed:MODEL, "
    "or the folder of an ONNX model"
)


def embedder_from(settings: Settings) -> Embedder:
    """Return the embedder that MEMSCHED_EMBEDDING_MODEL names, not prepared yet.

    Raises SettingsError; waits for nothing. Only the chosen provider is imported: others are slow, or not installed.
    """
    chosen = settings.embedding_model.strip()
    kind, colon, model = chosen.partition(":")
    if kind == "openai" and colon:
        from memsched.memory.embedding.openai import OpenAIEmbedder

        return OpenAIEmbedder(settings, _named(model, "openai:text-embedding-3-small"))
    if settings.embedding_dimensions:
        problem = "only an openai:MODEL can be asked for a number of dimensions. Set it to 0."
        raise SettingsError([f"MEMSCHED_EMBEDDING_DIMENSIONS: {problem}"])
    if chosen == "hashing":
        return HashingEmbedder()
    if kind == "fastembed" and colon:
        from memsched.memory.embedding.fastembed import FastembedModel
        from memsched.memory.embedding.local import LocalEmbedder

        return LocalEmbedder(FastembedModel(_named(model, "fastembed:BAAI/bge-small-en-v1.5")), settings)
    if (folder := _folder(chosen)) is not None:
        from memsched.memory.embedding.local import LocalEmbedder
        from memsched.memory.embedding.onnx import OnnxModel

        return LocalEmbedder(OnnxModel(folder), settings)
    problem = f"{chosen!r} is neither a model nor a folder. Set it to {_CHOICES}."
    raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {problem}"])


def _folder(chosen: str) -> Path | None:
    try:
        path = Path(chosen).expanduser()
        return path if chosen and path.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path, or the home of nobody
        return None


def _named(model: str, example: str) -> str:
    if not model.strip():
        problem = f"the model's name is missing after the colon, as in {example}."
        raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {problem}"])
    return model.strip()
