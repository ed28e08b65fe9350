"""What a MOS is told: settings, a YAML file or a mapping of the original system's shape, single values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memsched.config_file import read_yaml, scheduler_settings, unknown_key
from memsched.errors import SettingsError
from memsched.logs import get_logger
from memsched.messages import Id
from memsched.settings import Settings

log = get_logger(__name__)

Config = Settings | str | os.PathLike[str] | Mapping[str, Any] | None


class MosOptions(BaseModel):
    """What a MOS has beside the settings; the names are the original system's.

    Attributes:
        user_id: the user of calls that name none.
        session_id: the session of calls that name none.
        top_k: memories of a search; None: MEMSCHED_TOP_K.
        enable_mem_scheduler: run the workers in this process. Without, somebody else must (``memsched worker``).
        enable_textual_memory: chat with memories; without, only the model is asked, and nothing is remembered.
        max_turns_window: questions and answers of a session that the next prompt repeats.
        temperature: of the chat model.
        max_tokens: of the chat model; None: its own limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: Id = "root"
    session_id: Id = Field(default_factory=lambda: str(uuid4()))
    top_k: int | None = Field(default=None, ge=1, le=1000)
    enable_mem_scheduler: bool = True
    enable_textual_memory: bool = True
    max_turns_window: int = Field(default=20, ge=0, le=1000)
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)


_SECTIONS = ("mem_scheduler", "chat_model")
_MEAN_NOTHING_HERE = frozenset(
    {
        "mem_reader",
        "user_manager",
        "enable_activation_memory",
        "enable_parametric_memory",
        "enable_preference_memory",
        "PRO_MODE",
    }
)
_OF_THE_CHAT_MODEL = {"model_name_or_path": "llm_model", "api_key": "llm_api_key", "api_base": "llm_base_url"}
_CHAT_OPTIONS = ("temperature", "max_tokens")
_CHAT_IGNORED = frozenset(
    {
        "remove_think_prefix",
        "top_p",
        "top_k",
        "extra_body",
        "extra",
        "default_headers",
        "headers",
        "model_schema",
        "enable_thinking",
        "do_sample",
    }
)
_OPENAI = "openai"


def read_config(config: Config, given: Mapping[str, Any]) -> tuple[Settings, MosOptions]:
    """The settings and options in ``config``, with single values ``given`` over it, both over the environment.

    Raises SettingsError, one sentence per problem, for what is unknown or wrong; TypeError for settings given twice.
    """
    options = {name: value for name, value in given.items() if name in MosOptions.model_fields}
    values = {name: value for name, value in given.items() if name not in options}
    if isinstance(config, Settings):
        if values:
            raise TypeError("give settings or single values, not both")
        return config, _options(options, "")
    if config is None:
        reader = _Reader("", {})
    elif isinstance(config, Mapping):
        reader = _Reader("config", config)
    else:
        reader = _Reader(os.fspath(config), _document(config))
    return Settings.load(**reader.settings | values), _options(reader.options | options, reader.place)


def _document(path: str | os.PathLike[str]) -> Mapping[Any, Any]:
    document = read_yaml(path)
    if document is not None and not isinstance(document, dict):
        raise SettingsError([f"{os.fspath(path)}: expected a mapping with user_id, chat_model, mem_scheduler, ..."])
    return document or {}


def _options(values: Mapping[str, Any], place: str) -> MosOptions:
    try:
        return MosOptions.model_validate(values)
    except ValidationError as error:
        where = f"{place}: " if place else ""
        raise SettingsError(
            [
                f"{where}{problem['loc'][0]}: {problem['msg'][0].lower()}{problem['msg'][1:]}."
                for problem in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from error


class _Reader:
    """Reads one configuration: ``settings`` and ``options`` are the values in it.

    Raises SettingsError for all that is wrong with it together.
    """

    def __init__(self, place: str, document: Mapping[Any, Any]) -> None:
        self.place = place
        self.settings: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self._problems: list[str] = []
        self._left_out: list[str] = []
        for key, value in document.items():
            if key in MosOptions.model_fields:
                self.options[key] = value
            elif key in Settings.model_fields:
                self.settings[key] = value
            elif key in _MEAN_NOTHING_HERE:
                self._left_out.append(key)
            elif key not in _SECTIONS:
                known = {*MosOptions.model_fields, *Settings.model_fields, *_SECTIONS}
                self._problems.append(unknown_key(key, known, place))
        self._chat_model(document.get("chat_model"))
        scheduler = self._section("mem_scheduler", document.get("mem_scheduler"))
        self.settings |= scheduler_settings(
            scheduler, Settings.model_fields, self._problems, place=place, section="mem_scheduler.config"
        )
        if self._problems:
            raise SettingsError(self._problems)
        if self._left_out:
            log.info("keys that mean nothing here were left out", action="mos.keys_left_out", keys=self._left_out)

    def _section(self, name: str, section: Any) -> Mapping[Any, Any]:
        """The ``config`` of ``{backend: ..., config: {...}}``; null is as if it were not there."""
        config = {} if section is None else section.get("config", {}) if isinstance(section, Mapping) else None
        if isinstance(config, Mapping):
            return config
        self._problems.append(f"{self.place}: expected {name}: {{backend: ..., config: {{...}}}}.")
        return {}

    def _chat_model(self, section: Any) -> None:
        config = self._section("chat_model", section)
        backend = section.get("backend") if isinstance(section, Mapping) else None
        if backend not in (None, _OPENAI):
            self._problems.append(
                f"{self.place}: chat_model.backend {backend!r} cannot be used here. Any server that speaks OpenAI's "
                "protocol can (vLLM, Ollama, ...), with backend: openai and its address as api_base; without "
                "chat_model, chat answers with what it remembers."
            )
            return
        for key, value in config.items():
            if key in _OF_THE_CHAT_MODEL:
                self.settings[_OF_THE_CHAT_MODEL[key]] = value
            elif key in _CHAT_OPTIONS:
                self.options[key] = value
            elif key in _CHAT_IGNORED:
                self._left_out.append(f"chat_model.config.{key}")
            else:
                known = {*_OF_THE_CHAT_MODEL, *_CHAT_OPTIONS}
                self._problems.append(unknown_key(key, known, self.place, "chat_model.config"))
