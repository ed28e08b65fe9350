"""The tags that bind a memory to a role or a task: what its message's ``info`` said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from memsched.errors import InvalidMessage
from memsched.messages import MAX_ID_CHARACTERS

_KINDS = ("role", "task")


def tags_of(info: Mapping[str, Any] | None) -> tuple[str, ...]:
    """``role:nurse`` and ``task:move``; none for an ``info`` that binds to nothing. Raises InvalidMessage."""
    given = [(kind, (info or {}).get(kind)) for kind in _KINDS]
    for kind, name in given:
        if not isinstance(name, str | None):
            raise InvalidMessage(f"info.{kind} must be a text, not {type(name).__name__}")
    named = [(kind, (name or "").strip().casefold()) for kind, name in given]
    if any(len(name) > MAX_ID_CHARACTERS for _, name in named):  # every memory of the message has it
        raise InvalidMessage(f"info.role and info.task have at most {MAX_ID_CHARACTERS} characters")
    return tuple(f"{kind}:{name}" for kind, name in named if name)


def bound_to(tags: Iterable[str]) -> frozenset[str]:
    """Those of a memory's tags that bind it."""
    return frozenset(tag for tag in tags if tag.startswith(tuple(f"{kind}:" for kind in _KINDS)))
