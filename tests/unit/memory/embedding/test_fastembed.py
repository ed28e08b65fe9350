"""fastembed's models; the library is not installed here, and stood in for."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.embedding.factory import embedder_from


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


async def test_fastembed_s_vectors_are_taken_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    class TextEmbedding:
        def __init__(self, model_name: str, threads: int) -> None:
            if model_name == "absent":
                raise ValueError("Could not load model from any source.")

        @staticmethod
        def list_supported_models() -> list[dict[str, Any]]:
            return [{"model": name, "dim": 2} for name in ("known", "absent")]

        def passage_embed(self, texts: list[str], batch_size: int) -> Iterator[Any]:
            return (np.array([len(text), 1.0]) for text in texts)

        def query_embed(self, texts: list[str], batch_size: int) -> Iterator[Any]:
            return (np.array([1.0, len(text)]) for text in texts)

    module = types.ModuleType("fastembed")
    module.__spec__ = ModuleSpec("fastembed", None)
    module.TextEmbedding = TextEmbedding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastembed", module)
    embedder = embedder_from(Settings.load(embedding_model="fastembed:known"))
    await embedder.prepare()
    assert embedder.dimensions == 2
    assert (await embedder.embed_documents(["abc"]))[0] == pytest.approx(unit([3.0, 1.0]))
    assert await embedder.embed_query("abc") == pytest.approx(unit([1.0, 3.0]))
    with pytest.raises(SettingsError, match="other"):
        await embedder_from(Settings.load(embedding_model="fastembed:other")).prepare()
    with pytest.raises(SettingsError, match="did you mean known"):
        await embedder_from(Settings.load(embedding_model="fastembed:knwon")).prepare()
    with pytest.raises(EmbeddingError, match="is there a network") as caught:  # it could not be downloaded
        await embedder_from(Settings.load(embedding_model="fastembed:absent")).prepare()
    assert caught.value.temporary


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(SettingsError, match=r"pip install 'memsched\[fastembed\]'"):
        await embedder_from(Settings.load(embedding_model="fastembed:any")).prepare()
