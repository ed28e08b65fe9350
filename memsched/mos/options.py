"""What a MOS is told: settings, a YAML file or a mapping of the original system's shape, single values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memsched.config_file import SO_ANYWAY, read_yaml, scheduler_settings, unknown_key
from memsched.errors import SettingsError
from memsched.logs import get_logger
from memsched.messages import Id
from memsched.mos.model_sections import Found, check_models, read_chat_model, read_mem_reader
from memsched.settings import Settings

log = get_logger(__name__)

Config = Settings | str | os.PathLike[str] | Mapping[str, Any] | None


class MOSConfig(dict[str, Any]):
    """A configuration as the original's scripts make one: a mapping, which MOS reads."""

    @classmethod
    def from_yaml_file(cls, path: str | os.PathLike[str]) -> Self:
        """What a YAML file says, or a JSON file. Raises SettingsError."""
        return cls(_document(path))

    from_json_file = from_yaml_file


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
        top_p: of the chat model; None: its own.
        request: what else a chat's request to the model says, in the server's words: ``{"seed": 1}``.
        remove_think_prefix: what becomes of a model's thinking in an answer. None: it is left out; of thinking that has
            an end and no beginning, only from the second streamed answer on. True: of every answer, which comes in one
            piece then, until three in a row were without thinking. False: the answer has it. Neither memory nor later
            prompts ever do.
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
    top_p: float | None = Field(default=None, ge=0, le=1)
    request: dict[str, Any] = Field(default_factory=dict)
    remove_think_prefix: bool | None = None


_SECTIONS = ("mem_scheduler", "chat_model", "mem_reader")
_SCHEDULERS = ("general_scheduler", "optimized_scheduler")
_SO_ANYWAY = {
    "user_manager": "users and cubes are kept on the queue's server",
    "enable_activation_memory": "the activation block stands at the head of every prompt",
    "enable_preference_memory": "preferences are always remembered",
    "model_schema": "it names a class of the original",
}
_NOT_HERE = {
    "enable_parametric_memory": "memsched trains no model",
    "PRO_MODE": "memsched does not take questions apart",
}
"""What may only be false."""


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
    settings = Settings.load(**reader.settings | values)
    check_models(settings, reader.found)
    return settings, _options(reader.options | options, reader.place)


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
    """Reads one configuration: ``found`` is what it says, ``settings`` and ``options`` the values in it.

    Raises SettingsError for all that is wrong with it together.
    """

    def __init__(self, place: str, document: Mapping[Any, Any]) -> None:
        self.place = place
        self.found = found = Found(place)
        self.settings, self.options = found.settings, found.options
        for key, value in document.items():
            if key in MosOptions.model_fields:
                found.options[key] = value
            elif key in Settings.model_fields:
                found.settings[key] = value
            elif key in _SO_ANYWAY:
                found.so_anyway[key] = _SO_ANYWAY[key]
            elif key in _NOT_HERE:
                if value:
                    found.refuse(key, f"{_NOT_HERE[key]}; write false")
            elif key not in _SECTIONS:
                known = {*MosOptions.model_fields, *Settings.model_fields, *_SECTIONS}
                found.problems.append(unknown_key(key, known, place))
        read_chat_model(document.get("chat_model"), found)
        read_mem_reader(document.get("mem_reader"), found)
        scheduler = found.config_of("mem_scheduler", document.get("mem_scheduler"))
        section = document.get("mem_scheduler")
        backend = section.get("backend") if isinstance(section, Mapping) else None
        if backend not in (None, *_SCHEDULERS):
            found.refuse("mem_scheduler.backend", f"{backend!r} is not here; write {_SCHEDULERS[0]}")
        section = "mem_scheduler.config"
        found.settings |= scheduler_settings(
            scheduler, Settings.model_fields, found.problems, place=place, section=section
        )
        found.so_anyway |= {f"{section}.{key}": SO_ANYWAY[key] for key in scheduler if key in SO_ANYWAY}
        if found.problems:
            raise SettingsError(found.problems)
        if found.so_anyway:
            log.info("keys that change nothing here", action="mos.keys_without_effect", keys=found.so_anyway)
