"""What a duty has to say to the server in the next round trip, and who understands the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memsched.broker.scripting import Command


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command, and what is done with its parsed reply. Not called when the server refused the command."""

    command: Command[Any]
    receive: Callable[[Any], None]


def unanswered(command: Command[Any]) -> Exchange:
    """A command whose reply says nothing."""
    return Exchange(command, lambda _: None)
