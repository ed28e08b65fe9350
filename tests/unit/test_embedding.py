"""Embedders: chosen by the settings, tried again where that helps, and clear about what is wrong."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.embedding_server import EmbeddingsServer, vector_of
from support.tiny_model import expected_vector, write_model

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.embedding import EmbeddingError, embedder_from
from memsched.memory.embedding_cache import EmbeddingCache
from memsched.memory.embedding_folder import FolderEmbedder
from memsched.memory.embedding_server import EmbeddingServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingsServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingsServer()
    yield server
    server.close()


def embedder_at(server: EmbeddingsServer, **given: Any) -> EmbeddingServer:
    settings = Settings.load(
        embedding_model="openai:small", embedding_base_url=server.url, embedding_api_key="secret-key", **given
    )
    found = embedder_from(settings)
    assert isinstance(found, EmbeddingServer)
    return found


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


# -- a server ----------------------------------------------------------------------------------------------------


async def test_a_server_s_vectors_come_in_the_order_of_the_texts_and_with_length_one(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server)
    await embedder.prepare()
    vectors = await embedder.embed_documents(["one", "two", "one"])
    assert embedder.dimensions == 8
    assert embedder.name == "openai:small"
    assert vectors[0] == vectors[2]
    for text, vector in zip(["one", "two"], vectors, strict=False):
        assert vector == pytest.approx(unit(vector_of(text, 8)), abs=1e-6)
    await embedder.aclose()


async def test_texts_go_in_batches_and_each_only_once(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_batch=3)
    await embedder.prepare()
    server.asked.clear()
    await embedder.embed_documents([f"text {number % 7}" for number in range(20)])
    assert [len(body["input"]) for body in server.asked] == [3, 3, 1]
    await embedder.embed_query("text 3")
    assert len(server.asked) == 3
    await embedder.aclose()


async def test_dimensions_that_are_set_are_asked_for_and_part_of_the_name(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=4)
    await embedder.prepare()
    assert server.asked == []
    (vector,) = await embedder.embed_documents(["one"])
    assert server.asked[0]["dimensions"] == len(vector) == embedder.dimensions == 4
    assert embedder.name == "openai:small@4"
    await embedder.aclose()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_fails_for_a_moment_is_asked_again(server: EmbeddingsServer, status: int) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [(status, {"error": {"message": "later"}}), (200, b"no json")]
    assert len(await embedder.embed_documents(["one"])) == 1
    assert len(server.asked) == 3
    await embedder.aclose()


@pytest.mark.parametrize(
    ("status", "temporary", "advice"),
    [
        (401, False, "MEMSCHED_EMBEDDING_API_KEY"), (404, False, "MEMSCHED_EMBEDDING_MODEL"), (400, False, "400"),
        (503, True, "503"),
    ],
)  # fmt: skip
async def test_an_error_says_what_to_do_and_whether_waiting_helps(
    server: EmbeddingsServer, status: int, temporary: bool, advice: str
) -> None:
    embedder = embedder_at(server, embedding_dimensions=8, embedding_timeout_seconds=0.5)
    server.next_replies = [(status, {"error": {"message": "no"}})] * 9
    with pytest.raises(EmbeddingError, match=advice) as caught:
        await embedder.embed_documents(["one"])
    assert caught.value.temporary is temporary
    assert "secret-key" not in str(caught.value)
    await embedder.aclose()


async def test_a_server_that_is_not_there_is_a_temporary_failure() -> None:
    settings = Settings.load(
        embedding_model="openai:small", embedding_base_url="http://127.0.0.1:9/v1", embedding_timeout_seconds=0.3
    )
    embedder = embedder_from(settings)
    with pytest.raises(EmbeddingError, match="cannot be reached|no answer") as caught:
        await embedder.prepare()
    assert caught.value.temporary
    await embedder.aclose()


@pytest.mark.parametrize("wrong", ["too few", "dimensions", "zeros", "nan"])
async def test_an_answer_of_the_wrong_shape_is_refused(server: EmbeddingsServer, wrong: str) -> None:
    embedder = embedder_at(server, embedding_timeout_seconds=0.5)
    await embedder.prepare()

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        answer = server.vectors(body)
        if wrong == "too few":
            answer["data"].pop()
        else:
            bad = {"dimensions": [1.0], "zeros": [0.0] * 8, "nan": [float("nan")] * 8}[wrong]
            answer["data"][0]["embedding"] = bad
        return 200, answer

    server.next_replies = [reply] * 9
    with pytest.raises(EmbeddingError):
        await embedder.embed_documents(["a", "b"])
    await embedder.aclose()


async def test_an_empty_text_is_not_sent_as_such(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    await embedder.embed_documents(["", "x" * 100_000])
    first, second = server.asked[0]["input"]
    assert first == " "
    assert len(second) == 24_000
    await embedder.aclose()


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = EmbeddingCache(max_bytes=3 * 4 * 2)
    for name in "abc":
        cache.put(name, [1.0, 2.0])
    assert cache.get("a") == [1.0, 2.0]
    cache.put("d", [3.0, 4.0])
    assert cache.get("b") is None
    assert cache.get("a") is not None


# -- a folder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("cls", [False, True])
async def test_a_folder_s_vectors_are_those_of_the_model(tmp_path: Path, prefix: str, cls: bool) -> None:
    folder = write_model(tmp_path / "tiny", prefix=prefix)
    if cls:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(
            '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
        )
    embedder = FolderEmbedder(folder, batch=4)
    await embedder.prepare()
    texts = {
        "Max loves peanut butter": [2, 4, 5, 6, 7, 3],
        "we live in Rome": [2, 8, 9, 10, 11, 3],
        "maxs": [2, 4, 12, 3],
    }
    together = await embedder.embed_documents(list(texts))
    assert embedder.dimensions == 8
    for vector, (text, ids) in zip(together, texts.items(), strict=True):
        assert vector == pytest.approx(expected_vector(folder, ids, cls=cls), abs=2e-5)
        assert await embedder.embed_query(text) == pytest.approx(vector, abs=1e-5)


async def test_half_precision_weights_give_nearly_the_same(tmp_path: Path) -> None:
    full = FolderEmbedder(write_model(tmp_path / "full"), batch=4)
    half = FolderEmbedder(write_model(tmp_path / "half", dtype=np.float16), batch=4)
    await full.prepare()
    await half.prepare()
    (one,), (other,) = await full.embed_documents(["Max"]), await half.embed_documents(["Max"])
    assert one == pytest.approx(other, abs=5e-3)
    assert full.name != half.name


async def test_another_model_in_the_same_folder_has_another_name(tmp_path: Path) -> None:
    names = []
    for seed in (1, 2):
        embedder = FolderEmbedder(write_model(tmp_path / "tiny", seed=seed), batch=4)
        await embedder.prepare()
        names.append(embedder.name)
    assert names[0] != names[1]


async def test_a_long_text_is_cut_at_what_the_model_takes(tmp_path: Path) -> None:
    embedder = FolderEmbedder(write_model(tmp_path / "tiny"), batch=4)
    await embedder.prepare()
    assert len((await embedder.embed_documents(["max " * 500]))[0]) == 8


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_type": "gpt2"}, "gpt2"), ({"hidden_act": "swish"}, "swish"),
        ({"position_embedding_type": "relative_key"}, "relative"), ({"num_hidden_layers": 3}, "lack"),
    ],
)  # fmt: skip
async def test_a_model_that_cannot_be_run_says_why(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        await FolderEmbedder(write_model(tmp_path / "tiny", **change), batch=4).prepare()


async def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(SettingsError, match="safetensors"):
        await FolderEmbedder(folder, batch=4).prepare()


async def test_an_onnx_model_gets_what_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(b"onnx")
    fed: list[dict[str, Any]] = []

    class Session:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def get_inputs(self) -> list[Any]:
            return [types.SimpleNamespace(name=name) for name in ("input_ids", "attention_mask")]

        def run(self, _: Any, given: dict[str, Any]) -> list[Any]:
            fed.append(given)
            return [np.repeat(given["input_ids"][:, :, None].astype(np.float32), 3, axis=2)]

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    embedder = FolderEmbedder(folder, batch=4)
    await embedder.prepare()
    await embedder.embed_documents(["max", "max loves rome"])
    assert set(fed[-1]) == {"input_ids", "attention_mask"}
    assert embedder.dimensions == 3


async def test_a_file_that_is_no_onnx_model_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(SettingsError, match=r"model\.onnx"):
        await FolderEmbedder(folder, batch=4).prepare()


# -- fastembed, which is not installed here ------------------------------------------------------------------------


async def test_fastembed_s_vectors_are_taken_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    class TextEmbedding:
        def __init__(self, model_name: str) -> None:
            if model_name != "known":
                raise ValueError(model_name)

        def embed(self, texts: list[str], batch_size: int) -> Iterator[Any]:
            return (np.array([len(text), 1.0]) for text in texts)

        def query_embed(self, texts: list[str]) -> Iterator[Any]:
            return (np.array([1.0, len(text)]) for text in texts)

    monkeypatch.setitem(sys.modules, "fastembed", types.SimpleNamespace(TextEmbedding=TextEmbedding))
    embedder = embedder_from(Settings.load(embedding_model="fastembed:known"))
    await embedder.prepare()
    assert embedder.dimensions == 2
    assert (await embedder.embed_documents(["abc"]))[0] == pytest.approx(unit([3.0, 1.0]))
    assert await embedder.embed_query("abc") == pytest.approx(unit([1.0, 3.0]))
    with pytest.raises(SettingsError, match="has no model 'other'"):
        await embedder_from(Settings.load(embedding_model="fastembed:other")).prepare()


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(SettingsError, match=r"pip install 'memsched\[fastembed\]'"):
        await embedder_from(Settings.load(embedding_model="fastembed:any")).prepare()


# -- the choice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "word2vec", "openai:", "/no/such/folder"])
def test_an_unknown_model_is_a_clear_error(name: str) -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_EMBEDDING_MODEL"):
        embedder_from(Settings.load(embedding_model=name))


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.onnx"):
        embedder_from(Settings.load(embedding_model=str(tmp_path)))
