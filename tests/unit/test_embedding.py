"""Embedders: chosen by the settings, tried again where that helps, and clear about what is wrong."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.embedding_server import EmbeddingsServer, vector_of
from support.tiny_model import WORDS, expected_vector, write_model

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.embedding import Embedder, EmbeddingError, embedder_from
from memsched.memory.embedding_cache import EmbeddingCache
from memsched.memory.embedding_openai import OpenAIEmbedder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingsServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = EmbeddingsServer()
    yield server
    server.close()


def embedder_at(server: EmbeddingsServer, **given: Any) -> OpenAIEmbedder:
    settings = Settings.load(
        embedding_model="openai:small", embedding_base_url=server.url, embedding_api_key="secret-key", **given
    )
    found = embedder_from(settings)
    assert isinstance(found, OpenAIEmbedder)
    return found


def embedder_in(folder: Path) -> Embedder:
    return embedder_from(Settings.load(embedding_model=str(folder), embedding_batch=4))


async def name_of(folder: Path) -> str:
    embedder = embedder_in(folder)
    await embedder.prepare()
    return embedder.name


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
    assert sorted(len(body["input"]) for body in server.asked) == [1, 3, 3]
    await embedder.embed_query("text 3")
    assert len(server.asked) == 3
    await embedder.aclose()


async def test_dimensions_that_are_set_are_asked_for(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=4)
    await embedder.prepare()
    assert server.asked == []
    (vector,) = await embedder.embed_documents(["one"])
    assert server.asked[0]["dimensions"] == len(vector) == embedder.dimensions == 4
    await embedder.aclose()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_fails_for_a_moment_is_asked_again(server: EmbeddingsServer, status: int) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [(status, {"error": {"message": "later"}})]
    assert len(await embedder.embed_documents(["one"])) == 1
    assert len(server.asked) == 2
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
    with pytest.raises(EmbeddingError, match="MEMSCHED_EMBEDDING_BASE_URL") as caught:
        await embedder.prepare()
    assert caught.value.temporary
    await embedder.aclose()


@pytest.mark.parametrize("wrong", ["too few", "dimensions", "nan", "numbered alike", "no JSON", "no list"])
async def test_an_answer_of_the_wrong_shape_is_refused(server: EmbeddingsServer, wrong: str) -> None:
    embedder = embedder_at(server, embedding_timeout_seconds=0.5)
    await embedder.prepare()

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        answer = server.vectors(body)
        if wrong == "too few":
            answer["data"].pop()
        elif wrong == "numbered alike":
            for row in answer["data"]:
                row["index"] = 0
        elif wrong in ("no JSON", "no list"):
            return 200, b"<html>" if wrong == "no JSON" else {"data": "none"}
        else:
            answer["data"][0]["embedding"] = {"dimensions": [1.0], "nan": [float("nan")] * 8}[wrong]
        return 200, answer

    server.next_replies = [reply] * 9
    with pytest.raises(EmbeddingError):
        await embedder.embed_documents(["a", "b"])
    await embedder.aclose()


async def test_an_empty_text_is_not_sent_as_such(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    await embedder.embed_documents(["", "x" * 100_000])
    first, second = server.asked[0]["input"]
    assert first == "."
    assert len(second) == 8_000
    await embedder.aclose()


async def test_half_a_surrogate_pair_does_not_stop_a_text(server: EmbeddingsServer, tmp_path: Path) -> None:
    for embedder in (embedder_at(server), embedder_in(write_model(tmp_path / "tiny")), embedder_from(Settings.load())):
        await embedder.prepare()
        (vector,) = await embedder.embed_documents(["a \ud83d b"])
        assert len(vector) == embedder.dimensions
        await embedder.aclose()
    assert server.asked[-1]["input"] == ["a ? b"]


async def test_who_asks_for_the_same_text_at_the_same_time_shares_a_call(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)

    # when one of those who wait does so no longer
    callers = [asyncio.create_task(embedder.embed_query("same")) for _ in range(5)]
    await asyncio.sleep(0)
    callers[0].cancel()
    _, *vectors = await asyncio.gather(*callers, return_exceptions=True)

    assert len(server.asked) == 1
    assert all(isinstance(vector, list) and vector == vectors[0] for vector in vectors)
    await embedder.aclose()


async def test_a_text_that_is_too_long_for_the_model_does_not_fail_the_others(server: EmbeddingsServer) -> None:
    def no_more_than_512_tokens(body: dict[str, Any]) -> tuple[int, Any]:
        if any(len(text) > 2000 for text in body["input"]):
            return 400, {"error": {"message": "This model's maximum context length is 512 tokens"}}
        return 200, server.vectors(body)

    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [no_more_than_512_tokens] * 9

    short, long = await embedder.embed_documents(["short", "x " * 2000])

    assert short == pytest.approx(unit(vector_of("short", 8)), abs=1e-6)
    assert long == pytest.approx(unit(vector_of(("x " * 1000), 8)), abs=1e-6)
    await embedder.aclose()


async def test_a_server_s_wish_to_wait_is_respected(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8, embedding_timeout_seconds=0.5)
    server.next_replies = [(429, {"error": {"message": "in a minute"}})]
    server.headers = {"Retry-After": "60"}
    with pytest.raises(EmbeddingError) as caught:  # it would be too late
        await embedder.embed_documents(["one"])
    assert caught.value.temporary
    assert len(server.asked) == 1
    await embedder.aclose()


@pytest.mark.parametrize("given", [{"embedding_base_url": "no url"}, {"embedding_api_key": "two words"}])
def test_an_address_or_key_that_is_none_is_a_clear_error(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"MEMSCHED_{next(iter(given)).upper()}"):
        embedder_from(Settings.load(embedding_model="openai:small", **given))


async def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    asked: list[str] = []

    async def embed(texts: list[str]) -> list[bytes]:
        asked.extend(texts)
        return [text.encode() * 100 for text in texts]

    cache = EmbeddingCache("model", embed, lambda texts: [list(texts)], max_bytes=3 * (256 + 100))
    for text in ("a", "b", "c", "a", "d", "a", "b"):
        assert await cache.vectors([text]) == [text.encode() * 100]

    assert asked == ["a", "b", "c", "d", "b"]
    await cache.aclose()


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
    embedder = embedder_in(folder)
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
    full = embedder_in(write_model(tmp_path / "full"))
    half = embedder_in(write_model(tmp_path / "half", dtype=np.float16))
    await full.prepare()
    await half.prepare()
    (one,), (other,) = await full.embed_documents(["Max"]), await half.embed_documents(["Max"])
    assert one == pytest.approx(other, abs=5e-3)
    assert full.name != half.name


async def test_another_model_in_the_same_folder_has_another_name(tmp_path: Path) -> None:
    names = []
    for seed in (1, 2):
        embedder = embedder_in(write_model(tmp_path / "tiny", seed=seed))
        await embedder.prepare()
        names.append(embedder.name)
    assert names[0] != names[1]


async def test_whatever_changes_the_vectors_changes_the_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    names = [await name_of(folder)]
    assert await name_of(folder) == names[0]

    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    names.append(await name_of(folder))
    write_model(folder, num_attention_heads=4)
    names.append(await name_of(folder))

    assert len(set(names)) == 3


async def test_layers_after_the_pooling_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SettingsError, match="Dense"):
        await embedder_in(folder).prepare()


async def test_a_vocabulary_is_enough_for_a_tokenizer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    with_tokenizer = embedder_in(folder)
    await with_tokenizer.prepare()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    embedder = embedder_in(folder)
    await embedder.prepare()
    assert await embedder.embed_query("Max loves Rome") == await with_tokenizer.embed_query("Max loves Rome")


async def test_a_long_text_is_cut_at_what_the_model_takes(tmp_path: Path) -> None:
    embedder = embedder_in(write_model(tmp_path / "tiny"))
    await embedder.prepare()
    assert len((await embedder.embed_documents(["max " * 500]))[0]) == 8


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_type": "gpt2"}, "gpt2"), ({"hidden_act": "swish"}, "swish"),
        ({"position_embedding_type": "relative_key"}, "relative"), ({"num_hidden_layers": 3}, "no encoder.layer.2"),
        ({"num_attention_heads": None}, "num_attention_heads"),
    ],
)  # fmt: skip
async def test_a_model_that_cannot_be_run_says_why(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        await embedder_in(write_model(tmp_path / "tiny", **change)).prepare()


async def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(SettingsError, match="safetensors"):
        await embedder_in(folder).prepare()


async def test_an_onnx_model_gets_what_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "tiny", hidden_size=3)
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(b"onnx")
    fed: list[dict[str, Any]] = []

    class Session:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def get_outputs(self) -> list[Any]:
            return [types.SimpleNamespace(name="last_hidden_state")]

        def get_inputs(self) -> list[Any]:
            return [types.SimpleNamespace(name=name) for name in ("input_ids", "attention_mask")]

        def run(self, _: Any, given: dict[str, Any]) -> list[Any]:
            fed.append(given)
            return [np.repeat(given["input_ids"][:, :, None].astype(np.float32), 3, axis=2)]

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    embedder = embedder_in(folder)
    await embedder.prepare()
    await embedder.embed_documents(["max", "max loves rome"])
    assert set(fed[-1]) == {"input_ids", "attention_mask"}
    assert embedder.dimensions == 3


async def test_a_file_that_is_no_onnx_model_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(SettingsError, match=r"model\.onnx"):
        await embedder_in(folder).prepare()


# -- fastembed, which is not installed here ------------------------------------------------------------------------


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
    with pytest.raises(EmbeddingError) as caught:  # it could not be downloaded
        await embedder_from(Settings.load(embedding_model="fastembed:absent")).prepare()
    assert caught.value.temporary


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(SettingsError, match=r"pip install 'memsched\[fastembed\]'"):
        await embedder_from(Settings.load(embedding_model="fastembed:any")).prepare()


# -- the choice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "word2vec", "openai:", "/no/such/folder"])
def test_an_unknown_model_is_a_clear_error(name: str) -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_EMBEDDING_MODEL"):
        embedder_from(Settings.load(embedding_model=name))


def test_dimensions_are_for_models_that_can_be_asked_for_them() -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_EMBEDDING_DIMENSIONS"):
        embedder_from(Settings.load(embedding_dimensions=77))


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.onnx"):
        embedder_from(Settings.load(embedding_model=str(tmp_path)))
