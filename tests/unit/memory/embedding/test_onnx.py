"""Models from a folder: what they compute, what changes their name, and what is refused with a reason."""

from __future__ import annotations

import json
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_model import INPUTS, WORDS, expected_vector, write_model

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.embedding.embedder import Embedder, EmbeddingError
from memsched.memory.embedding.factory import embedder_from


def embedder_in(folder: Path) -> Embedder:
    return embedder_from(Settings.load(embedding_model=str(folder), embedding_batch=4))


async def name_of(folder: Path) -> str:
    embedder = embedder_in(folder)
    await embedder.prepare()
    return embedder.name


@pytest.mark.parametrize("file", ["model.onnx", "onnx/model.onnx"])
@pytest.mark.parametrize("cls", [False, True])
async def test_a_folder_s_vectors_are_those_of_the_model(tmp_path: Path, file: str, cls: bool) -> None:
    folder = write_model(tmp_path / "tiny", file=file)
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
        assert vector == pytest.approx(expected_vector(ids, cls=cls), abs=2e-5)
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
    write_model(folder, max_position_embeddings=8)
    names.append(await name_of(folder))

    assert len(set(names)) == 3


async def test_the_name_stays_when_the_model_is_loaded(tmp_path: Path) -> None:
    embedder = embedder_in(write_model(tmp_path / "tiny"))
    before = embedder.name
    await embedder.prepare()
    assert embedder.name == before


async def test_half_a_surrogate_pair_does_not_stop_a_text(tmp_path: Path) -> None:
    embedder = embedder_in(write_model(tmp_path / "tiny"))
    vectors = await embedder.embed_documents(["max \ud83d rome", "max ? rome"])
    assert vectors[0] == vectors[1]
    assert await embedder.embed_query("max \ud83d rome") == vectors[0]


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


async def test_a_model_that_takes_what_is_not_there_says_so(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", inputs=(*INPUTS, "pixel_values"))
    with pytest.raises(SettingsError, match="takes .*pixel_values"):
        await embedder_in(folder).prepare()


async def test_the_dimensions_need_not_stand_in_config_json(tmp_path: Path) -> None:
    embedder = embedder_in(write_model(tmp_path / "tiny", hidden_size=None))
    await embedder.prepare()
    assert embedder.dimensions == 8


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_model_that_was_not_exported_says_how_to_export_it(tmp_path: Path, weights: str) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.onnx").rename(folder / weights)
    with pytest.raises(SettingsError, match=f"only {weights}. Export it to ONNX, .*backend='onnx'"):
        embedder_in(folder)


@pytest.mark.parametrize(("file", "what"), [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer")])
def test_a_file_that_is_missing_is_named(tmp_path: Path, file: str, what: str) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / file).unlink()
    with pytest.raises(SettingsError, match=what):
        embedder_in(folder)


async def test_what_goes_before_a_query_and_a_document_is_put_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    plain = embedder_in(folder)
    expected = [await plain.embed_query("we max"), *await plain.embed_documents(["in rome max"])]
    prompts = {"prompts": {"query": "we ", "passage": "in rome "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))

    embedder = embedder_in(folder)

    assert [await embedder.embed_query("max"), *await embedder.embed_documents(["max"])] == expected


async def test_a_vocabulary_without_its_special_tokens_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("max\nloves\n")
    with pytest.raises(SettingsError, match=r"vocab\.txt has no \[CLS\]"):
        await embedder_in(folder).prepare()


async def test_a_folder_that_disappears_may_come_back(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    embedder = embedder_in(folder)
    (folder / "model.onnx").rename(tmp_path / "elsewhere")
    (folder / "tokenizer.json").rename(tmp_path / "there")
    with pytest.raises(SettingsError, match=r"tokenizer\.json"):
        await embedder.prepare()
    (tmp_path / "elsewhere").rename(folder / "model.onnx")
    (tmp_path / "there").rename(folder / "tokenizer.json")
    await embedder.prepare()
    assert len(await embedder.embed_query("max")) == 8


async def test_a_failure_that_nobody_thought_of_is_one_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("memsched.memory.embedding.onnx._Encoder.__init__", full)
    with pytest.raises(EmbeddingError, match="MemoryError") as caught:
        await embedder_in(write_model(tmp_path / "tiny")).prepare()
    assert caught.value.temporary


async def test_an_onnx_model_gets_what_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "tiny", hidden_size=3)
    (folder / "model.onnx").write_bytes(b"onnx")
    fed: list[dict[str, Any]] = []

    class Session:
        def __init__(self, *_: Any, **__: Any) -> None:
            assert threading.current_thread() is not threading.main_thread()  # where the event loop is

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
