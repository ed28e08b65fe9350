"""The configuration in a model's folder: the files that sentence-transformers writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from memsched.errors import SettingsError

SUPPORTED = (
    "Supported are folders as sentence-transformers writes them, with onnx/model.onnx or model.onnx (any encoder that "
    "takes input_ids and attention_mask), config.json, tokenizer.json or vocab.txt, and pooling by mean or cls"
)
_ONNX = ("onnx/model.onnx", "model.onnx")
_NOT_EXPORTED = ("model.safetensors", "pytorch_model.bin")
"""Weights for PyTorch, which is not run here."""
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""The names under which sentence-transformers looks for what to put before a text."""
_DEFAULT_TOKENS = 512
_UNREAD = frozenset({"tokenizer", "modules"})
"""Roles of files that others read."""


class Pooling(Enum):
    """How the vectors of a text's tokens become one."""

    MEAN = "mean"
    CLS = "cls"


@dataclass(frozen=True)
class ModelFolder:
    """A model's parts.

    Args:
        max_tokens: of a text, with the special ones.
        files: all that its vectors depend on, by role.
    """

    path: Path
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    weights: Path
    tokenizer: Path
    pooling: Pooling
    max_tokens: int
    lowercase: bool
    query_prompt: str
    document_prompt: str
    files: Mapping[str, Path]

    @property
    def dimensions(self) -> int:
        """0 when config.json does not say it."""
        return next((self.config[key] for key in ("hidden_size", "dim", "d_model") if _count(self.config.get(key))), 0)

    def fingerprint(self) -> str:
        """Return twelve hexadecimal digits that change with what the vectors depend on. Reads all of the weights."""
        digest = hashlib.sha256()
        for role, path in sorted(self.files.items()):
            with path.open("rb") as file:
                digest.update(f"{role}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()[:12]


def unusable(path: Path, problem: str) -> SettingsError:
    """Return a SettingsError that says what is wrong with the folder, and which folders are good."""
    return SettingsError([f"MEMSCHED_EMBEDDING_MODEL: {path}: {problem}. {SUPPORTED}."])


def read_folder(path: Path) -> ModelFolder:
    """Return what the folder says. Raises SettingsError when its model cannot be run. Reads no weights."""
    transformer, pooling_folder = _modules(path)
    weights = _first(transformer, _ONNX)
    if weights is None:
        raise _without_onnx(path, _first(transformer, _NOT_EXPORTED))
    tokenizer = _first(transformer, _TOKENIZERS) or _first(path, _TOKENIZERS)
    if tokenizer is None:
        raise unusable(path, "there is no tokenizer in it")
    files = {
        "config": transformer / "config.json",
        "tokenizer_config": tokenizer.parent / "tokenizer_config.json",
        "sentence_bert_config": transformer / "sentence_bert_config.json",
        "modules": path / "modules.json",
        "prompts": path / "config_sentence_transformers.json",
        "pooling": pooling_folder / "config.json",
        "tokenizer": tokenizer,
        "weights": weights,
        "more_weights": weights.with_name("model.onnx_data"),
        "even_more_weights": weights.with_name("model.onnx.data"),
    }
    files = {role: file for role, file in files.items() if file.is_file()}
    if "config" not in files:
        raise unusable(path, "there is no config.json in it")
    read = {role: _read(path, file) for role, file in files.items() if file.suffix == ".json" and role not in _UNREAD}
    config, tokenizer_config = read["config"], read.get("tokenizer_config", {})
    sentences, prompts = read.get("sentence_bert_config", {}), read.get("prompts", {})
    return ModelFolder(
        path=path,
        config=config,
        tokenizer_config=tokenizer_config,
        weights=weights,
        tokenizer=tokenizer,
        pooling=_pooling(path, read.get("pooling", {})),
        max_tokens=_max_tokens(config, tokenizer_config, sentences),
        lowercase=bool(sentences.get("do_lower_case")),
        query_prompt=_prompt(prompts, _QUERY_PROMPTS),
        document_prompt=_prompt(prompts, _DOCUMENT_PROMPTS),
        files=files,
    )


def _without_onnx(path: Path, weights: Path | None) -> SettingsError:
    if weights is None:
        return unusable(path, "there is no model.onnx in it")
    return unusable(
        path,
        f"there is no model.onnx in it, only {weights.name}. Export it to ONNX, with pip install "
        "'sentence-transformers[onnx]' and then, in Python, SentenceTransformer(FOLDER, "
        "backend='onnx').save_pretrained(FOLDER)",
    )


def _modules(path: Path) -> tuple[Path, Path]:
    """The folders of the transformer and of the pooling."""
    transformer, pooling = path, path / "1_Pooling"
    if not (path / "modules.json").is_file():
        return transformer, pooling
    modules = _json(path, path / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise unusable(path, "modules.json is not a list of modules")
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _MODULES:
            raise unusable(path, f"modules.json has a module {kind!r}")
        if kind == "Transformer":
            transformer = path / str(module.get("path", ""))
        elif kind == "Pooling":
            pooling = path / str(module.get("path", ""))
    return transformer, pooling


def _pooling(path: Path, config: Mapping[str, Any]) -> Pooling:
    """Mean, unless the folder says otherwise."""
    chosen = {
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value
    }
    named = config.get("pooling_mode")
    chosen |= {str(each) for each in (named if isinstance(named, list) else [named]) if each is not None}
    if not chosen:
        return Pooling.MEAN
    supported = {pooling.value: pooling for pooling in Pooling}
    if len(chosen) != 1 or not chosen <= supported.keys():
        raise unusable(path, f"it pools by {' and '.join(sorted(chosen))}")
    return supported[chosen.pop()]


def _max_tokens(config: Mapping[str, Any], tokenizer: Mapping[str, Any], sentences: Mapping[str, Any]) -> int:
    wanted = sentences.get("max_seq_length")
    if not _count(wanted):
        wanted = tokenizer.get("model_max_length")  # 10**30, or a float, where nobody said it
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and "roberta" in str(config.get("model_type")):
        positions -= 1 + pad_token(config)  # it numbers them from after the padding's id
    limits = [limit for limit in (wanted, positions) if isinstance(limit, int) and _count(limit)]
    return min(limits) if limits else _DEFAULT_TOKENS


def _prompt(config: Mapping[str, Any], names: tuple[str, ...]) -> str:
    prompts = config.get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    for name in (*names, config.get("default_prompt_name")):
        if isinstance(prompt := prompts.get(name), str) and prompt:
            return prompt
    return ""


def pad_token(config: Mapping[str, Any]) -> int:
    value = config.get("pad_token_id")
    return value if isinstance(value, int) else 0


def _count(value: Any) -> bool:
    return type(value) is int and 0 < value < 10**6


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path, file: Path) -> Mapping[str, Any]:
    value = _json(path, file)
    if not isinstance(value, dict):
        raise unusable(path, f"{file.name} is not a JSON object")
    return value


def _json(path: Path, file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unusable(path, f"{file.name} cannot be read ({type(error).__name__})") from error
