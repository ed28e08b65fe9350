"""Handlers of the benchmarks' worker processes; what they saw is written to BENCH_FOLDER when the process ends."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import time
from pathlib import Path
from typing import Any

from memsched import Handler, ScheduleMessageItem, TaskPriorityLevel

_folder = Path(os.environ.get("BENCH_FOLDER", "."))
_seen: dict[str, Any] = {"first": [], "last": [], "count": [0], "started": {}}


def _dump() -> None:
    if _seen["count"][0]:
        (_folder / f"worker-{os.getpid()}.json").write_text(json.dumps(_seen), encoding="utf-8")


atexit.register(_dump)


def _note(messages: list[ScheduleMessageItem], now: float) -> None:
    if not _seen["first"]:
        _seen["first"].append(now)
        (_folder / "first").write_text(str(now), encoding="utf-8")
    _seen["last"] = [now]
    _seen["count"][0] += len(messages)


async def noop(messages: list[ScheduleMessageItem]) -> None:
    _note(messages, time.time())


async def start(messages: list[ScheduleMessageItem]) -> None:
    now = time.time()
    _note(messages, now)
    _seen["started"] |= {message.item_id: now for message in messages}


async def sleep10(messages: list[ScheduleMessageItem]) -> None:
    _note(messages, time.time())
    await asyncio.sleep(0.010)
    _seen["last"] = [time.time()]


async def crash(messages: list[ScheduleMessageItem]) -> None:
    """The first run of a message hangs, to be killed; the next one says when it began."""
    mark = _folder / messages[0].item_id
    try:
        mark.with_suffix(".running").touch(exist_ok=False)
    except FileExistsError:
        mark.with_suffix(".again").write_text(str(time.time()), encoding="utf-8")
        return
    mark.with_suffix(".pid").write_text(str(os.getpid()), encoding="utf-8")
    await asyncio.sleep(600)


def _mark(mark: str, messages: list[ScheduleMessageItem]) -> None:
    now = time.time()
    with (_folder / mark).open("a", encoding="utf-8") as marks:
        marks.writelines(f"{message.item_id} {now}\n" for message in messages)


async def nap(messages: list[ScheduleMessageItem]) -> None:
    _mark("begun", messages)
    await asyncio.sleep(0.2)
    _mark("done", messages)


async def slow(messages: list[ScheduleMessageItem]) -> None:
    _mark("begun", messages)
    await asyncio.sleep(1)


async def urgent(messages: list[ScheduleMessageItem]) -> None:
    await asyncio.sleep(0.01)
    _mark("done", messages)


handlers = {
    "nap": nap,
    "one_at_a_time": Handler(slow, concurrency=1),
    "urgent": Handler(urgent, priority=TaskPriorityLevel.LEVEL_1),
    "noop": noop,
    "start": start,
    "sleep10": sleep10,
    "crash": crash,
}
