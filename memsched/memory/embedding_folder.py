"""An embedding model in a folder, as sentence-transformers writes it: ONNX, or safetensors of a BERT encoder."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsched.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]

_ONNX = ("onnx/model.onnx", "model.onnx")
_SAFETENSORS = "model.safetensors"
_THREADS = 2
_USUAL_LONGEST = 256
_CHUNK = 1 << 20


class FolderEmbedder:
    """The model in ``folder``; ``prepare`` loads it. One text at a time per process, in a thread."""

    def __init__(self, folder: Path, batch: int) -> None:
        self._folder = folder
        self._batch = batch
        self._weights = _weights_file(folder)
        self.name = f"folder:{folder.resolve().name}"
        self.dimensions = 0
        self._tokenizer: Any = None
        self._encode: Encode | None = None
        self._first_token = False
        self._one_at_a_time = asyncio.Lock()

    async def prepare(self) -> None:
        await asyncio.to_thread(self._load)
        (vector,) = await self.embed_documents(["memory"])
        self.dimensions = len(vector)

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        async with self._one_at_a_time:
            for at in range(0, len(texts), self._batch):
                vectors += await asyncio.to_thread(self._embed, list(texts[at : at + self._batch]))
        return vectors

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        (vector,) = await self.embed_documents([text])
        return vector

    async def aclose(self) -> None:
        self._encode = self._tokenizer = None

    # -- in a thread ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        try:
            import numpy  # noqa: F401
            from tokenizers import Tokenizer
        except ImportError as error:
            raise SettingsError(
                ["MEMSCHED_EMBEDDING_MODEL: a folder needs: pip install 'memsched[models]'."]
            ) from error
        config = _json(self._folder / "config.json")
        pooling = _json(self._folder / "1_Pooling" / "config.json", {})
        self._first_token = bool(pooling.get("pooling_mode_cls_token"))
        if not self._first_token and not pooling.get("pooling_mode_mean_tokens", True):
            raise SettingsError(["MEMSCHED_EMBEDDING_MODEL: the model pools neither by mean nor by its first token."])
        longest = int(_json(self._folder / "sentence_bert_config.json", {}).get("max_seq_length") or _USUAL_LONGEST)
        if self._weights.suffix == ".onnx":
            self._encode = _onnx(self._weights)
        else:
            from memsched.memory.bert import Bert

            kind = config.get("model_type", "bert")
            if kind != "bert":
                raise SettingsError(
                    [f"MEMSCHED_EMBEDDING_MODEL: safetensors of {kind!r} cannot be run here (bert can); ONNX can."]
                )
            bert = Bert.load(self._weights, config)
            self._encode, longest = bert, min(longest, bert.longest)
        file = self._folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more precise
            raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {file} is no tokenizer ({error})."]) from error
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.enable_padding()
        self.name = f"folder:{self._folder.resolve().name}-{_fingerprint(self._weights, file)}"

    def _embed(self, texts: list[str]) -> list[list[float]]:
        import numpy as np

        assert self._encode is not None
        encoded = self._tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in encoded], dtype=np.int64)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        hidden = self._encode(ids, mask)
        if hidden.ndim == 3:
            if self._first_token:
                hidden = hidden[:, 0]
            else:
                weights = mask[:, :, None].astype(np.float32)
                hidden = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        vectors: Any = hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-12)
        return [[round(value, 6) for value in row] for row in vectors.tolist()]


def _weights_file(folder: Path) -> Path:
    for name in (*_ONNX, _SAFETENSORS):
        if (folder / name).is_file():
            return folder / name
    raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {folder} has none of {', '.join((*_ONNX, _SAFETENSORS))}."])


def _onnx(file: Path) -> Encode:
    """The session of an ONNX model, as a function of token ids and mask."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SettingsError(["MEMSCHED_EMBEDDING_MODEL: ONNX needs: pip install 'memsched[models]'."]) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library has a class of its own for each reason, without a common one
        raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {file} cannot be loaded ({type(error).__name__})."]) from error
    wanted = {each.name for each in session.get_inputs()}

    def encode(ids: Any, mask: Any) -> Any:
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        return session.run(None, {name: value for name, value in given.items() if name in wanted})[0]

    return encode


def _json(file: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    if default is not None and not file.is_file():
        return default
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {file} cannot be read ({error})."]) from error
    if not isinstance(found, dict):
        raise SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {file} holds no object."])
    return found


def _fingerprint(*files: Path) -> str:
    """Of what the vectors depend on: another model in the same folder must not be mistaken for this one."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    return digest.hexdigest()[:12]
