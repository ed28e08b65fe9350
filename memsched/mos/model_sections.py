"""The sections of the original's YAML that name models: ``chat_model``; ``mem_reader`` with model, embedder, chunker.

Every key is in effect, is refused with a sentence, or, where what it is for is so anyway, is told with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from memsched.config_file import unknown_key
from memsched.errors import SettingsError
from memsched.settings import Settings

BACKENDS = {
    "openai": "",
    "ollama": "http://localhost:11434/v1",
    "vllm": "http://localhost:8088/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "qwen": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
}
"""Servers that speak OpenAI's protocol, and where they are unless ``api_base`` says otherwise; "": OpenAI's own."""
_LOCAL = ("ollama", "vllm")
"""Their addresses are often written without the /v1 under which they speak it."""
_CHATS_ONLY = frozenset({"top_k", "seed", "stop", "presence_penalty", "frequency_penalty", "reasoning_effort"})
"""Sent as they are."""
_SO_ANYWAY = {
    "model_schema": "it names a class of the original",
    "created_at": "it says when the configuration was made",
    "remove_prompt_example": "the prompt's example is short, and always sent",
}
_REFUSED = {
    "do_sample": "only a model in this process has it; a server samples as temperature says",
    "add_generation_prompt": "only a model in this process has it; a server does so anyway",
    "api_version": "give Azure's own address that speaks OpenAI's protocol as api_base, which ends with /openai/v1",
    "backup_client": "memsched asks one server; when it fails, the chat tells what is remembered",
    "trust_remote_code": "memsched runs no code of a model",
    "extra_params": "an embedding model is asked for vectors, and for embedding_dims",
}
_NAMELESS = "it names no model; write its name, or leave the section out"
_MODELS_IN_THIS_PROCESS = ("huggingface", "huggingface_singleton", "hf")


@dataclass(slots=True)
class Found:
    """What a configuration says.

    Args:
        place: where it was read, for people.
        so_anyway: keys that change nothing, with the reason.
        models: for each model that has a section, its setting, and the key that names it.
    """

    place: str
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    so_anyway: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def refuse(self, key: str, why: str) -> None:
        self.problems.append(f"{self.place}: {key}: {why}.")

    def config_of(self, name: str, section: Any) -> Mapping[Any, Any]:
        """The ``config`` of ``{backend: ..., config: {...}}``; null is as if it were not there."""
        config = {} if section is None else section.get("config", {}) if isinstance(section, Mapping) else None
        if not isinstance(config, Mapping):
            self.problems.append(f"{self.place}: expected {name}: {{backend: ..., config: {{...}}}}.")
            return {}
        if section is not None:
            for key in section:
                if key not in ("backend", "config"):
                    self.problems.append(unknown_key(key, ("backend", "config"), self.place, name))
        return config


def check_models(settings: Settings, found: Found) -> None:
    """Raises SettingsError for a section of a model that nothing names: neither the section, nor the environment."""
    for setting, key in found.models.items():
        if not getattr(settings, setting):
            found.refuse(key, _NAMELESS)
    if found.problems:
        raise SettingsError(found.problems)


def read_chat_model(section: Any, found: Found) -> None:
    """``chat_model``: the model of all tasks, and how a chat asks it."""
    name = "chat_model"
    config = found.config_of(name, section)
    backend = _backend(name, section, config, found)
    if backend is None or section is None:
        return
    request: dict[str, Any] = {}
    body: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("temperature", "max_tokens", "top_p", "remove_think_prefix"):
            found.options[key] = value
        elif key in _CHATS_ONLY:
            request |= {} if value is None else {key: value}
        elif key == "timeout":
            found.settings["llm_budget_seconds"] = value
        elif key == "max_retries":
            found.settings["llm_max_retries"] = value
        else:
            _read_key(name, "llm", key, value, backend, body, found)
    _place(name, "llm", backend, config, body, found)
    if request:
        found.options["request"] = request


def read_mem_reader(section: Any, found: Found) -> None:
    """``mem_reader``: a model of its own for what reads, the embedder, and how long a memory may be."""
    config = found.config_of("mem_reader", section)
    backend = section.get("backend") if isinstance(section, Mapping) else None
    if backend not in (None, "simple_struct"):
        found.refuse("mem_reader.backend", f"{backend!r} is not here; write simple_struct")
    for key, value in config.items():
        if key == "llm":
            _read_reader(value, found)
        elif key == "embedder":
            _read_embedder(value, found)
        elif key == "chunker":
            _read_chunker(value, found)
        else:
            _without_effect("mem_reader.config", key, found, ("llm", "embedder", "chunker"))


def _read_reader(section: Any, found: Found) -> None:
    name = "mem_reader.config.llm"
    config = found.config_of(name, section)
    backend = _backend(name, section, config, found)
    if backend is None or section is None:
        return
    body: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("temperature", "max_tokens", "top_p", *_CHATS_ONLY):
            body |= {} if value is None else {key: value}
        elif key == "remove_think_prefix":
            found.so_anyway[f"{name}.{key}"] = "what a model thinks is never read as its answer"
        elif key in ("timeout", "max_retries"):
            found.refuse(f"{name}.{key}", "it is one for all models; give it in chat_model.config")
        else:
            _read_key(name, "reader", key, value, backend, body, found)
    _place(name, "reader", backend, config, body, found)


def _backend(name: str, section: Any, config: Mapping[Any, Any], found: Found) -> str | None:
    """One of BACKENDS; None for one that is refused."""
    given = section.get("backend") if isinstance(section, Mapping) else None
    if given is None:
        return "openai"
    backend = str(given).lower()
    if backend in BACKENDS:
        return backend
    model = config.get("model_name_or_path", "MODEL")
    if backend in _MODELS_IN_THIS_PROCESS:
        line = f"{{backend: vllm, config: {{model_name_or_path: {model}, api_base: {BACKENDS['vllm']}}}}}"
        found.problems.append(
            f"{found.place}: {name}.backend {given!r} cannot be used here: memsched loads no language model into its "
            f"process. Serve it (vllm serve {model} --port 8088), and write instead: {name}: {line}."
        )
    else:
        found.problems.append(
            f"{found.place}: {name}.backend {given!r} cannot be used here; it may be {', '.join(BACKENDS)}. Any server "
            "that speaks OpenAI's protocol can, with backend: openai and its address as api_base."
        )
    return None


def _read_key(name: str, prefix: str, key: Any, value: Any, backend: str, body: dict[str, Any], found: Found) -> None:
    """A key that means the same for both models."""
    if key in ("model_name_or_path", "api_base"):
        return
    if key == "api_key":
        found.settings[f"{prefix}_api_key"] = value
    elif key in ("default_headers", "headers"):
        found.settings[f"{prefix}_headers"] = value
    elif key == "extra_body":
        if isinstance(value, Mapping):
            _merge(body, value)
        elif value is not None:
            found.refuse(f"{name}.config.{key}", "it must be a mapping of what is sent beside the rest")
    elif key == "enable_thinking":
        if value is not None:
            _think(name, bool(value), backend, body, found)
    else:
        known = ("model_name_or_path", "api_key", "api_base", "temperature", "max_tokens", "top_p", "extra_body")
        _without_effect(f"{name}.config", key, found, known)


def _think(name: str, thinks: bool, backend: str, body: dict[str, Any], found: Found) -> None:
    """Servers have words of their own for it."""
    if backend == "deepseek":
        found.refuse(
            f"{name}.config.enable_thinking",
            "DeepSeek has a model for each: deepseek-reasoner thinks, deepseek-chat does not",
        )
    elif backend == "qwen":
        body["enable_thinking"] = thinks
    elif backend == "ollama":
        body["reasoning_effort"] = "medium" if thinks else "none"
    else:
        _merge(body, {"chat_template_kwargs": {"enable_thinking": thinks}})


def _merge(body: dict[str, Any], more: Mapping[Any, Any]) -> None:
    """Add to a request's body; what both say of the chat's template counts together."""
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(body.get(key), Mapping)
        body[key] = {**body[key], **value} if both else value


def _without_effect(section: str, key: Any, found: Found, known: tuple[str, ...]) -> None:
    if key in _SO_ANYWAY:
        found.so_anyway[f"{section}.{key}"] = _SO_ANYWAY[key]
    elif key in _REFUSED:
        found.refuse(f"{section}.{key}", _REFUSED[key])
    else:
        found.problems.append(unknown_key(key, known, found.place, section))


def _place(name: str, prefix: str, backend: str, config: Mapping[Any, Any], body: dict[str, Any], found: Found) -> None:
    found.models[f"{prefix}_model"] = f"{name}.config.model_name_or_path"
    if model := config.get("model_name_or_path"):
        found.settings[f"{prefix}_model"] = model
    if url := address(backend, config.get("api_base")):
        found.settings[f"{prefix}_base_url"] = url
    if body:
        found.settings[f"{prefix}_extra_body"] = body


def address(backend: str, given: Any) -> str:
    """The URL of a server that speaks OpenAI's protocol; "": OpenAI's own."""
    url = str(given or BACKENDS[backend])
    if backend in _LOCAL and url.startswith("http") and urlsplit(url).path in ("", "/"):
        return f"{url.rstrip('/')}/v1"
    return url


def _read_embedder(section: Any, found: Found) -> None:
    name = "mem_reader.config.embedder"
    config = found.config_of(name, section)
    if section is None:
        return
    backend = str((section.get("backend") if isinstance(section, Mapping) else None) or "universal_api").lower()
    model = config.get("model_name_or_path")
    if backend == "sentence_transformer":
        found.refuse(
            f"{name}.backend",
            f"'sentence_transformer' is not here; write instead embedding_model: fastembed:{model} at the top of the "
            "file, or the folder of its ONNX form",
        )
        return
    if backend not in (*BACKENDS, "universal_api"):
        found.refuse(
            f"{name}.backend",
            f"{backend!r} is not here; write universal_api, with its address as base_url, for any server that speaks "
            "OpenAI's protocol",
        )
        return
    if not model:
        found.refuse(f"{name}.config.model_name_or_path", _NAMELESS)
    for key, value in config.items():
        if key == "model_name_or_path":
            found.settings["embedding_model"] = f"openai:{value}"
        elif key == "embedding_dims":
            found.settings["embedding_dimensions"] = value or 0
        elif key == "api_key":
            found.settings["embedding_api_key"] = value
        elif key == "provider":
            if str(value).lower() != "openai":
                found.refuse(f"{name}.config.provider", f"{value!r} is not here; write openai, and its base_url")
        elif key not in ("api_base", "base_url"):
            known = ("model_name_or_path", "embedding_dims", "api_key", "api_base", "base_url", "provider")
            _without_effect(f"{name}.config", key, found, known)
    server = "openai" if backend == "universal_api" else backend
    if url := address(server, config.get("api_base") or config.get("base_url")):
        found.settings["embedding_base_url"] = url


def _read_chunker(section: Any, found: Found) -> None:
    name = "mem_reader.config.chunker"
    config = found.config_of(name, section)
    backend = section.get("backend") if isinstance(section, Mapping) else None
    if backend not in (None, "sentence"):
        found.refuse(f"{name}.backend", f"{backend!r} is not here; write sentence: texts are cut where sentences end")
    for key, value in config.items():
        place = f"{name}.config.{key}"
        if key == "chunk_size":
            found.settings["chunk_tokens"] = value
        elif key in ("tokenizer_or_token_counter", "tokenizer"):
            found.so_anyway[place] = "a token is counted as four characters, whatever the model"
        elif key == "chunk_overlap":
            found.so_anyway[place] = "parts do not overlap: each is searched with what stands before and after it"
        elif key == "min_sentences_per_chunk":
            if value != 1:
                found.refuse(place, "a part has at least one sentence; write 1")
        else:
            _without_effect(f"{name}.config", key, found, ("chunk_size", "chunk_overlap", "min_sentences_per_chunk"))
