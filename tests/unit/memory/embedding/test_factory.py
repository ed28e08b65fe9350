"""Which embedder the settings choose, and what is wrong when they choose none."""

from __future__ import annotations

from pathlib import Path

import pytest

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.embedding.factory import embedder_from


@pytest.mark.parametrize(
    "name", ["", "word2vec", "openai:", "/no/such/folder", "~nobody-has-this-name/model", "x" * 5000]
)
def test_an_unknown_model_is_a_clear_error(name: str) -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_EMBEDDING_MODEL"):
        embedder_from(Settings.load(embedding_model=name))


def test_dimensions_are_for_models_that_can_be_asked_for_them() -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_EMBEDDING_DIMENSIONS"):
        embedder_from(Settings.load(embedding_dimensions=77))


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.onnx"):
        embedder_from(Settings.load(embedding_model=str(tmp_path)))


async def test_hashing_takes_half_a_surrogate_pair() -> None:
    embedder = embedder_from(Settings.load())
    (vector,) = await embedder.embed_documents(["a word \ud83d b"])
    assert len(vector) == embedder.dimensions == 1024
