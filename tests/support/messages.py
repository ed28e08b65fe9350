"""Messages for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from memsched import ScheduleMessageItem

LABEL = "task"


def message(content: str = "hello", *, user: str = "alice", cube: str = "home", **fields: Any) -> ScheduleMessageItem:
    return ScheduleMessageItem(**{"user_id": user, "mem_cube_id": cube, "label": LABEL, "content": content, **fields})


def messages(count: int, *, cubes: int = 0, **fields: Any) -> list[ScheduleMessageItem]:
    """``count`` messages whose content is their number; in turn of ``cubes`` cubes, or (0) each of its own."""
    return [message(str(number), cube=f"cube-{number % (cubes or count)}", **fields) for number in range(count)]


def contents(batch: Iterable[ScheduleMessageItem]) -> list[str]:
    return [item.content for item in batch]
