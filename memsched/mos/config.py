"""What a MOS is told: settings, a YAML file or a mapping of the original system's shape, single values."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memsched.errors import SettingsError
from memsched.messages import Id
from memsched.settings import YAML_IGNORED, YAML_NAMES, Settings, url_for_switch

log = structlog.get_logger(__name__)

Config = Settings | str | os.PathLike[str] | Mapping[str, Any] | None


class MosOptions(BaseModel):
    """What a MOS has beside the settings; the names are the original system's.

    user_id, session_id: of calls that name none. top_k: memories of a search; None: MEMSCHED_TOP_K.
    enable_mem_scheduler: run the workers in this process. Without, somebody else must (``memsched worker``).
    enable_textual_memory: chat with memories; without, only the model is asked, and nothing is remembered.
    max_turns_window: questions and answers of a session that the next prompt repeats.
    temperature, max_tokens: of the chat model; max_tokens None: its own limit.
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
        place, document = "", {}
    elif isinstance(config, Mapping):
        place, document = "config", dict(config)
    else:
        place, document = os.fspath(config), _read_yaml(config)
    told, told_options = _Reading(place).read(document)
    return Settings.load(**told | values), _options(told_options | options, place)


def _read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError([f"{os.fspath(path)}: {error}"]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError([f"{os.fspath(path)}: expected a mapping with user_id, chat_model, mem_scheduler, ..."])
    return document


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


class _Reading:
    """One configuration while it is read: what it says, and what is wrong with it."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._problems: list[str] = []
        self._settings: dict[str, Any] = {}
        self._options: dict[str, Any] = {}
        self._left_out: list[str] = []

    def read(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values of settings, and of options. Raises SettingsError for all problems together."""
        for key, value in document.items():
            if key == "chat_model":
                self._section(key, value, self._chat_key)
            elif key == "mem_scheduler":
                self._section(key, value, self._scheduler_key)
            elif key in MosOptions.model_fields:
                self._options[key] = value
            elif key in Settings.model_fields:
                self._settings[key] = value
            elif key in _MEAN_NOTHING_HERE:
                self._left_out.append(key)
            else:
                self._unknown(str(key), {*MosOptions.model_fields, *Settings.model_fields, *_SECTIONS})
        if self._problems:
            raise SettingsError(self._problems)
        if self._settings.pop("one_by_one", False):  # whatever the number of threads, before or after it in the file
            self._settings["concurrency"] = 1
        if self._left_out:
            log.info("keys that mean nothing here were left out", action="mos.keys_left_out", keys=self._left_out)
        return self._settings, self._options

    def _section(self, name: str, section: Any, take: Callable[[str, Any], bool]) -> None:
        """``{backend: ..., config: {...}}``; null is as if it were not there."""
        if section is None:
            return
        config = section.get("config", {}) if isinstance(section, Mapping) else None
        if not isinstance(config, Mapping):
            self._problems.append(f"{self._place}: expected {name}: {{backend: ..., config: {{...}}}}.")
            return
        backend = section.get("backend")
        if name == "chat_model" and backend not in (None, _OPENAI):
            self._problems.append(
                f"{self._place}: chat_model.backend {backend!r} cannot be used here. Any server that speaks OpenAI's "
                "protocol can (vLLM, Ollama, ...), with backend: openai and its address as api_base; without "
                "chat_model, chat answers with what it remembers."
            )
            return
        for key, value in config.items():
            if not take(str(key), value):
                known = (
                    {*_OF_THE_CHAT_MODEL, *_CHAT_OPTIONS}
                    if name == "chat_model"
                    else {*YAML_NAMES, *Settings.model_fields, "enable_parallel_dispatch", "use_redis_queue"}
                )
                self._unknown(f"{name}.config.{key}", known, str(key))

    def _chat_key(self, key: str, value: Any) -> bool:
        if key in _OF_THE_CHAT_MODEL:
            self._settings[_OF_THE_CHAT_MODEL[key]] = value
        elif key in _CHAT_OPTIONS:
            self._options[key] = value
        elif key in _CHAT_IGNORED:
            self._left_out.append(f"chat_model.config.{key}")
        else:
            return False
        return True

    def _scheduler_key(self, key: str, value: Any) -> bool:
        if key in YAML_NAMES:
            self._settings[YAML_NAMES[key]] = value
        elif key in Settings.model_fields:
            self._settings[key] = value
        elif key == "enable_parallel_dispatch":
            self._settings["one_by_one"] = not value
        elif key == "use_redis_queue":
            self._settings["redis_url"] = url_for_switch(key, str(value), self._problems)
        else:
            return key in YAML_IGNORED
        return True

    def _unknown(self, shown: str, known: Collection[str], key: str = "") -> None:
        close = difflib.get_close_matches(key or shown, list(known), n=1)
        where = f"{self._place}: " if self._place else ""
        suggestion = f"; did you mean {close[0]}?" if close else "."
        self._problems.append(f"{where}unknown key {shown!r}{suggestion}")
