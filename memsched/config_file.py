"""The configuration file of the original system: YAML, and which of its keys is which setting here."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from memsched.errors import SettingsError

YAML_NAMES = {
    "thread_pool_max_workers": "concurrency",
    "max_internal_message_queue_size": "max_backlog",
    "context_window_size": "query_window",
    "working_mem_monitor_capacity": "working_set_size",
    "act_mem_update_interval": "activation_interval_seconds",
}
_BLOCK = "what stands in the activation block has limits of its own (MEMSCHED_ACTIVATION_MAX_MEMBERS)"
SO_ANYWAY = {
    "consume_interval_seconds": "memsched waits at the server instead of polling, and takes a message when it comes",
    "top_n": "the working set has MEMSCHED_WORKING_SET_SIZE places, all of which prompts have",
    "activation_mem_size": _BLOCK,
    "activation_mem_monitor_capacity": _BLOCK,
    "enable_activation_memory": "the activation block stands at the head of every prompt",
    "act_mem_dump_path": "the activation block is a text on the queue's server, and needs no file",
    "auth_config_path": "where the servers are is said by MEMSCHED_REDIS_URL and MEMSCHED_QDRANT_URL",
    "model_schema": "it names a class of the original",
}
"""Keys that change nothing here, and why."""
_MERGED = "tag:yaml.org,2002:merge"
"""The key <<, which may be there several times."""
_ONE_BY_ONE, _USE_REDIS = "enable_parallel_dispatch", "use_redis_queue"
_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class StrictLoader(yaml.SafeLoader):
    """YAML's plain values; a key that a mapping has twice is refused, where YAML's own loader takes the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The node of one mapping. Raises MarkedYAMLError for a key that it has already."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, Any], int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGED:
                continue
            if first := lines.get((key.tag, key.value)):
                twice = f"the key {key.value!r} is there already, in line {first}; keep one of the two"
                raise yaml.MarkedYAMLError(problem=twice, problem_mark=key.start_mark)
            lines[key.tag, key.value] = line
        return node


YamlPath: TypeAlias = tuple[str | int, ...]
"""Where in a document something is: names of keys and numbers of items."""


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The document in a YAML file. Raises SettingsError for a file that cannot be read."""
    return read_yaml_with_lines(path)[0]


def read_yaml_with_lines(path: str | os.PathLike[str]) -> tuple[Any, Callable[[YamlPath], int]]:
    """The same, and in which line a part of it is, or else the nearest part around it."""
    name = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        # JSON is YAML, unless tabs indent it: within its texts there are none.
        loader = StrictLoader(text.replace("\t", " ") if name.endswith(".json") else text)
        try:
            node = loader.get_single_node()
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
        return document, lambda at: _line_of(node, at)
    except OSError as error:
        raise SettingsError([f"{name}: it cannot be read: {error.strerror or error}."]) from error
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise SettingsError([f"{name}: {place}{error.problem or error}."]) from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise SettingsError([f"{name}: it is no YAML: {error}"]) from error


def _line_of(node: yaml.Node | None, at: YamlPath) -> int:
    line = 1
    for part in at:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def scheduler_file(path: str | os.PathLike[str], settings: Iterable[str]) -> dict[str, Any]:
    """The values of settings in a file: ``mem_scheduler: {backend, config: {...}}``, or that ``config`` alone.

    Raises SettingsError, one sentence per problem.

    Args:
        settings: the names of all settings; each may be a key too.
    """
    document = read_yaml(path)
    section = document.get("mem_scheduler", document) if isinstance(document, dict) else None
    config = section.get("config", section) if isinstance(section, dict) else None
    if not isinstance(config, dict):
        raise SettingsError([f"{path}: expected mem_scheduler: {{backend: ..., config: {{...}}}}."])
    problems: list[str] = []
    values = scheduler_settings(config, settings, problems, place=str(path))
    if problems:
        raise SettingsError(problems)
    return values


def scheduler_settings(
    config: Mapping[Any, Any], settings: Iterable[str], problems: list[str], *, place: str, section: str = ""
) -> dict[str, Any]:
    """The values of settings in the original's ``mem_scheduler.config``; what is wrong is added to ``problems``.

    Args:
        place: where it was read, for people.
        section: the part of it that ``config`` is.
    """
    known = {*settings}
    values: dict[str, Any] = {}
    for key, value in config.items():
        if key in YAML_NAMES:
            values[YAML_NAMES[key]] = value
        elif key in known:
            values[key] = value
        elif key == _USE_REDIS:
            values["redis_url"] = url_for_switch(key, str(value), problems)
        elif key != _ONE_BY_ONE and key not in SO_ANYWAY:
            problems.append(unknown_key(key, {*YAML_NAMES, *known, _ONE_BY_ONE, _USE_REDIS}, place, section))
    if not config.get(_ONE_BY_ONE, True):  # whatever the number of threads, before or after it in the file
        values["concurrency"] = 1
    return values


def url_for_switch(name: str, value: str, problems: list[str]) -> str:
    """The queue that the original's switch ``name`` means: true is a Redis server, false is inside the process."""
    if value.lower() not in _TRUTH:
        problems.append(f"{name}: must be true or false.")
        return "memory://"
    return "redis://localhost:6379/0" if _TRUTH[value.lower()] else "memory://"


def unknown_key(key: object, known: Iterable[str], place: str, section: str = "") -> str:
    """What is said of a key that nobody knows."""
    where = f"{place}: " if place else ""
    shown = f"{section}.{key}" if section else str(key)
    return f"{where}unknown key {shown!r}{suggestion(str(key), known) or '.'}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """What was probably meant, as the end of a sentence; empty if nothing is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
