"""GeneralMemCube: one cube as an object, to be filled, dumped to a folder, and loaded from it.

It has the parts that the original system's cube has: text memory, activation memory, parameter memory. What runs in a
service is in Qdrant and Redis; this is the form in which a cube travels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from memsched.config_file import StrictLoader
from memsched.errors import CubeDumpError
from memsched.memory.transfer.dump_folder import BLOCK, BLOCK_ABOUT, CONFIG, PARTS, STANDING, Dump, DumpWriter, as_json
from memsched.messages import Id, describe_validation_error

_MAX_CONFIG_BYTES = 128 * 1024
"""Reading YAML takes ten seconds per MB."""
_MAX_CONFIG_NODES = 100_000
"""Aliases make a small YAML file mean a huge document; a configuration has a few hundred nodes."""

_NEXT_LINE = "\x85"
"""A line break for YAML's readers, which make a space of it; only escaped does it come back."""


class MemoryPartConfig(BaseModel):
    """One part of a cube: the name of what keeps it, and that one's configuration. Unknown keys are kept."""

    model_config = ConfigDict(extra="allow")

    backend: str = "uninitialized"
    config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("config", mode="before")
    @classmethod
    def _nothing_is_empty(cls, given: Any) -> Any:
        return {} if given is None else given


class GeneralMemCubeConfig(BaseModel):
    """What a cube is and how its parts are kept. Keys of the original system that mean nothing here are kept."""

    model_config = ConfigDict(extra="allow")

    user_id: Id = "default_user"
    cube_id: Id = Field(default_factory=lambda: str(uuid4()))
    name: str = ""
    description: str = ""
    config_filename: str = CONFIG
    text_mem: MemoryPartConfig = Field(default_factory=MemoryPartConfig)
    act_mem: MemoryPartConfig = Field(default_factory=MemoryPartConfig)
    para_mem: MemoryPartConfig = Field(default_factory=MemoryPartConfig)

    @field_validator("text_mem", "act_mem", "para_mem", mode="before")
    @classmethod
    def _nothing_is_uninitialized(cls, given: Any) -> Any:
        return {} if given is None else given

    @classmethod
    def from_yaml_file(cls, path: str | os.PathLike[str]) -> Self:
        """The configuration in a YAML file. Raises CubeDumpError, without repeating any value, if it is none."""
        try:
            with Path(path).open("rb") as file:
                text = file.read(_MAX_CONFIG_BYTES + 1)
        except OSError as error:
            raise CubeDumpError(f"{path}: {error.strerror}.") from error
        return cls._from_yaml(text, str(path))

    @classmethod
    def _from_yaml(cls, text: bytes, place: str) -> Self:
        if len(text) > _MAX_CONFIG_BYTES:
            raise CubeDumpError(f"{place} has more than {_MAX_CONFIG_BYTES:,} bytes.")
        try:
            document = yaml.load(text, Loader=StrictLoader)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
            raise CubeDumpError(f"{place}{line} is not YAML: {error.problem}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise CubeDumpError(f"{place} is not YAML.") from error
        if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
            raise CubeDumpError(f"{place} must be a mapping with text_mem, act_mem, para_mem.")
        if _nodes(document) > _MAX_CONFIG_NODES:
            raise CubeDumpError(f"{place} means a document of more than {_MAX_CONFIG_NODES:,} nodes.")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise CubeDumpError(f"{place}: {describe_validation_error(error)}.") from error

    def _to_yaml(self, place: str) -> bytes:
        try:
            text: str = yaml.safe_dump(self.model_dump(), allow_unicode=True, sort_keys=False)
            if _NEXT_LINE in text:
                text = yaml.safe_dump(self.model_dump(), sort_keys=False)
            content = text.encode()
        except (yaml.YAMLError, UnicodeEncodeError) as error:
            raise CubeDumpError(f"{place}: the configuration holds what YAML cannot say.") from error
        if len(content) > _MAX_CONFIG_BYTES:
            raise CubeDumpError(f"{place} would have {len(content):,} bytes, the limit is {_MAX_CONFIG_BYTES:,}.")
        return content


class TextMemory:
    """The memories of a cube as records: all payload fields, and ``memory_id``. One record per id, the last one."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._records: dict[str, dict[str, Any]] = {}
        self.add(records)

    def add(self, records: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> list[str]:
        """Add one record or many; a record without ``memory_id`` gets one. Returns their ids, in order."""
        ids = []
        for record in [records] if isinstance(records, Mapping) else records:
            if not isinstance(record, Mapping):
                raise TypeError(f"a memory is a dict, not {type(record).__name__}")
            memory_id = record.get("memory_id") or str(uuid4())
            if not isinstance(memory_id, str):
                raise TypeError(f"memory_id is text, not {type(memory_id).__name__}")
            self._records[memory_id] = {**record, "memory_id": memory_id}
            ids.append(memory_id)
        return ids

    def get(self, memory_id: str) -> dict[str, Any] | None:
        return self._records.get(memory_id)

    def all(self) -> list[dict[str, Any]]:
        """All records, in the order in which their ids were first added."""
        return list(self._records.values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)


@dataclass(slots=True)
class ActivationMemory:
    """The block of text at the start of the prompt, and the version of the cube's state that it belongs to."""

    text: str = ""
    version: int = 0


@dataclass(slots=True)
class Standing:
    """What stands where beside the memories themselves, by their ids.

    Args:
        pins: in the order in which they were pinned.
        log: what the last answers used: {"event_id", "at" (ms since the epoch), "credited"}, oldest first.
    """

    pins: list[str] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class GeneralMemCube:
    """One cube with its parts. ``para_mem`` holds named parts, each any JSON value."""

    config: GeneralMemCubeConfig
    text_mem: TextMemory = field(default_factory=TextMemory)
    act_mem: ActivationMemory = field(default_factory=ActivationMemory)
    para_mem: dict[str, Any] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)

    def dump(self, folder: str | os.PathLike[str], memories: Iterable[Mapping[str, Any]] | None = None) -> None:
        """Write the cube to a folder, all of it or nothing; an earlier dump there is replaced.

        The folder is for this user only, for the configuration may hold secrets. Raises CubeDumpError for what cannot
        be written, and for a folder with anything else in it.

        Args:
            memories: records with a ``memory_id``, taken one by one, in place of those in ``text_mem``.
        """
        with self.dumping(folder) as dump:
            for record in self.text_mem if memories is None else memories:
                dump.add(record)

    def dumping(self, folder: str | os.PathLike[str]) -> DumpWriter:
        """As ``dump``, for memories that arrive elsewhere: ``with cube.dumping(folder) as dump: dump.add(record)``.

        The other parts are written as they are now.
        """
        return DumpWriter(
            folder,
            {
                CONFIG: self.config._to_yaml(CONFIG),
                BLOCK: _encoded(self.act_mem.text, BLOCK),
                BLOCK_ABOUT: as_json({"version": self.act_mem.version}, BLOCK_ABOUT),
                PARTS: as_json(self.para_mem, PARTS),
                STANDING: as_json(asdict(self.standing), STANDING),
            },
        )

    @classmethod
    def init_from_dir(cls, folder: str | os.PathLike[str]) -> Self:
        """The original's name of ``load``."""
        return cls.load(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The cube in a folder. Raises CubeDumpError for damage, an unknown version, or what is no dump."""
        return cls._of(dump := Dump(folder), TextMemory(dump.records()))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> tuple[Self, Iterator[dict[str, Any]]]:
        """As ``load``, with the memories to be read one by one instead of held: ``text_mem`` is empty."""
        return cls._of(dump := Dump(folder), TextMemory()), dump.records()

    @classmethod
    def _of(cls, dump: Dump, text_mem: TextMemory) -> Self:
        config = GeneralMemCubeConfig._from_yaml(dump.read(CONFIG), str(dump.folder / CONFIG))
        about, parts = dump.read_json(BLOCK_ABOUT), dump.read_json(PARTS)
        version = about.get("version") if isinstance(about, dict) else None
        if type(version) is not int or version < 0:
            raise CubeDumpError(f"{dump.folder / BLOCK_ABOUT} must give the version, a number.")
        if not isinstance(parts, dict):
            raise CubeDumpError(f"{dump.folder / PARTS} must be an object of named parts.")
        try:
            text = dump.read(BLOCK).decode()
        except UnicodeDecodeError as error:
            raise CubeDumpError(f"{dump.folder / BLOCK} is not UTF-8 text.") from error
        standing = _standing(dump.read_json(STANDING)) if dump.has(STANDING) else Standing()
        if standing is None:
            raise CubeDumpError(f"{dump.folder / STANDING} must list pins, which are ids, and a log of objects.")
        return cls(config, text_mem, ActivationMemory(text, version), parts, standing)


def _standing(document: Any) -> Standing | None:
    if not isinstance(document, dict):
        return None
    pins, log = document.get("pins"), document.get("log")
    if not (isinstance(pins, list) and all(isinstance(each, str) for each in pins)):
        return None
    return Standing(pins, log) if isinstance(log, list) and all(isinstance(each, dict) for each in log) else None


def _encoded(text: str, place: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise CubeDumpError(f"{place} is not Unicode text: {error}.") from error


def _nodes(document: Any) -> int:
    """How many values a document consists of with its aliases spelled out; counting ends above the limit."""
    count, waiting = 0, [document]
    while waiting and count <= _MAX_CONFIG_NODES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return count
