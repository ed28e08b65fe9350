"""Lua scripts: how a ``*.lua`` file is read, composed, addressed by its SHA-1, and called.

A script says ``-- include: a b`` in its head to have the files ``a.lua`` and ``b.lua`` put before it, so that no
Lua stands in two places.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Argument = str | bytes | int | float

_INCLUDE = re.compile(r"^-- include: (.+)$", re.MULTILINE)
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999."""


@dataclass(slots=True, eq=False)
class Command(Generic[T]):
    """One Redis command that waits to be sent, and the function that understands its reply.

    ``script`` is set for an EVALSHA, so that whoever sends it can load the script where it is missing.
    """

    args: tuple[Any, ...]
    parse: Callable[[Any], T]
    script: Script | None = None


class Script:
    """A Lua file, addressed by its SHA-1."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        text = path.read_text(encoding="utf-8")
        includes = _INCLUDE.search(text)
        names = includes.group(1).split() if includes else []
        parts = [(path.parent / f"{name}.lua").read_text(encoding="utf-8") for name in names]
        self.source = "\n".join([*parts, text])
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str], args: Sequence[Argument], parse: Callable[[Any], T]) -> Command[T]:
        """The call of this script with these KEYS and ARGV; ``parse`` gets its raw reply (bytes, ints, lists)."""
        return Command(("EVALSHA", self.sha, len(keys), *keys, *args), parse, self)

    def in_full(self, command: Command[Any]) -> tuple[Any, ...]:
        """The same call with the source in it, for a server that does not have the script."""
        return ("EVAL", self.source, *command.args[2:])


def script(name: str, room: str = "queue") -> Script:
    """The script in ``memsched/<room>/scripts/<name>.lua``."""
    return Script(Path(__file__).parents[1] / room / "scripts" / f"{name}.lua")


def as_text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def as_texts(reply: Any) -> list[str]:
    return [as_text(item) for item in reply or ()]


def as_int(reply: Any) -> int:
    return int(reply)


def as_ms(given: Any) -> int:
    """A time in ms since the epoch, which any program may have written; 0 for what no calendar has."""
    try:
        ms = float(given)
    except (ValueError, TypeError, OverflowError):
        return 0
    return int(ms) if 0 < ms <= _LAST_MS else 0
