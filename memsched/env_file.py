"""The environment as settings read it: the process's variables, and a ``.env`` file under them."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Original, parse_stream

from memsched.errors import SettingsError

ENV_FILE = ".env"
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LINK_NAMES = {
    re.compile(r"_SERVICE_HOST$"): re.compile(r"[0-9A-Fa-f.:]+"),
    re.compile(r"_SERVICE_PORT(_[A-Z0-9_]+)?$"): re.compile(r"\d+"),
    re.compile(r"_PORT(_\d+_(TCP|UDP|SCTP))?$"): re.compile(r"(tcp|udp|sctp)://\S+"),
    re.compile(r"_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$"): re.compile(r"\S+"),
}
"""Kubernetes (and Docker's old links) put these into each container for every service of the namespace, whose name may
begin with ours: how the names end, and what their values look like.
"""


def environment(prefix: str) -> dict[str, str]:
    """What is set, without surrounding spaces; an empty variable is none. The process's own win over the file's.

    The names that begin with ``prefix`` are in capitals, whatever they were, and service links are not among them.
    Raises SettingsError for a file that cannot be read.
    """
    found: dict[str, str] = {}
    for place in (read_env_file(), os.environ):
        for name, value in place.items():
            ours = name.upper().startswith(prefix)
            text = value.strip()
            if text and not (ours and is_service_link(name.upper(), text)):
                found[name.upper() if ours else name] = text
    return found


def read_env_file() -> Mapping[str, str]:
    """The variables in ``.env``; empty if there is no such file.

    Raises SettingsError for one that cannot be read, or has a line that is none: who knows whose setting it was to be.
    """
    path = Path(ENV_FILE)
    if not path.is_file():
        # A folder of that name may be a virtual environment, and /dev/null is how some say that there is no file.
        if os.path.lexists(path) and not path.is_dir() and os.path.realpath(path) != os.devnull:
            raise SettingsError([f"{ENV_FILE} is neither a file nor a link to one: delete it, or put a file there."])
        return {}
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{ENV_FILE} cannot be read: {error.strerror or error}."]) from error
    text = _decoded(data)
    for line in parse_stream(StringIO(text)):
        name = line.key or ""
        if not name.isprintable():  # a byte order mark, a space without width
            raise _not_understood(line.original, f"begins with a character that nobody sees: {name!a}")
        if line.error or (line.value is None and name.upper().startswith("MEMSCHED_")):
            found = re.match(r"\w+(?=[\s=:]|$)", line.original.string.lstrip())
            name = found[0] if found else ""  # not what follows: it may be a password
            raise _not_understood(line.original, f"is not NAME=value{f': {name} ...' if name else '.'}")
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def _not_understood(line: Original, what: str) -> SettingsError:
    number = line.line + line.string[: -len(line.string.lstrip())].count("\n")
    return SettingsError([f"{ENV_FILE}: line {number} {what}"])


def is_service_link(name: str, value: str) -> bool:
    """Whether a variable is one that Kubernetes made from a service."""
    return any(end.search(name) and form.fullmatch(value) for end, form in _LINK_NAMES.items())


def _decoded(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError([f"{ENV_FILE} is not UTF-8 text (line {line}): save it as UTF-8."]) from error
    if "\0" in text:
        raise SettingsError([f"{ENV_FILE} is not UTF-8 text: save it as UTF-8."])
    return text
