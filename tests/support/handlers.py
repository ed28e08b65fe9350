"""Handlers that real worker processes run: MEMSCHED_APP=support.handlers:app.

Each run appends lines to a file (TEST_RECORD), outside of Redis and in one write each, so that they survive any
kill: ``begin``, ``end`` and others, with the item's id and the process's. Each call also submits one follow-up to a
label that nobody handles, with an id of its own: however often a message ran, it may leave only one of those.

What a message wants done stands in its ``info``: ``sleep`` (seconds), ``fail``, ``kill`` (its own process),
``cancel_all`` (all tasks of its loop but its own), ``gate`` (wait until that file exists, or the same with ``.`` and
the process id), ``then`` (what to try after the gate).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from memsched import Handler, HandlerContext, LeaseLost, ScheduleMessageItem, SyncHandlerContext

EFFECT = "effect"
RECORD = "TEST_RECORD"
_record = -1


def record(word: str, item: ScheduleMessageItem, more: str = "") -> None:
    global _record
    if _record < 0:
        _record = os.open(os.environ[RECORD], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_record, f"{word} {item.item_id} {os.getpid()} {more}\n".encode())


def effect(item: ScheduleMessageItem) -> ScheduleMessageItem:
    return ScheduleMessageItem(
        user_id=item.user_id, mem_cube_id=item.mem_cube_id, label=EFFECT, content=item.item_id, task_id=str(os.getpid())
    )


def _act(item: ScheduleMessageItem) -> None:
    wanted = item.info or {}
    if wanted.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if wanted.get("fail"):
        raise ValueError("it was told to fail")
    if wanted.get("cancel_all"):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def _open(item: ScheduleMessageItem) -> bool:
    """Whether the gate of this message is open for this process."""
    gate = (item.info or {}).get("gate")
    return not gate or Path(gate).exists() or Path(f"{gate}.{os.getpid()}").exists()


async def handle(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    for item in batch:
        record("begin", item)
    for item in batch:
        _act(item)
        await asyncio.sleep((item.info or {}).get("sleep", 0))
        while not _open(item):
            await asyncio.sleep(0.01)
        ctx.submit(effect(item))
        record("done", item)
    for item in batch:
        record("end", item)


def handle_in_thread(batch: list[ScheduleMessageItem], ctx: SyncHandlerContext) -> None:
    for item in batch:
        record("begin", item)
    for item in batch:
        _act(item)
        time.sleep((item.info or {}).get("sleep", 0))
        while not _open(item):
            time.sleep(0.01)
        ctx.submit(effect(item))
    for item in batch:
        record("end", item)


async def fan_out(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    """As many follow-ups as it says, whose ids are their own in every run."""
    for item in batch:
        record("begin", item)
        ctx.submit(
            ScheduleMessageItem(
                user_id=f"u{number}", mem_cube_id="home", label=EFFECT, content=f"{item.item_id}/{number}"
            )
            for number in range(int(item.content))
        )
        record("end", item)


async def ten_steps(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    """A checkpoint after each; goes on where its predecessor was."""
    (item,) = batch
    record("begin", item, repr(ctx.resume))
    for step in range(ctx.resume or 0, 10):
        record("step", item, str(step))
        await asyncio.sleep((item.info or {}).get("sleep", 0))
        await ctx.checkpoint(step + 1)
    ctx.submit(effect(item))
    record("end", item)


async def try_afterwards(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    (item,) = batch
    record("begin", item, repr(ctx.resume))
    while not _open(item):
        await asyncio.sleep(0.01)
    record("acts", item)
    match (item.info or {}).get("then"):
        case "checkpoint":
            await ctx.checkpoint({"by": os.getpid()})
            record("kept", item)
        case "renew":
            await ctx.renew()
            record("kept", item)
        case other:
            _try(item, ctx, other)


def try_afterwards_in_thread(batch: list[ScheduleMessageItem], ctx: SyncHandlerContext) -> None:
    """A thread cannot be cancelled: this one certainly acts, whatever its worker has learnt in the meantime."""
    (item,) = batch
    record("begin", item, repr(ctx.resume))
    while not _open(item):
        time.sleep(0.01)
    record("acts", item)
    match (item.info or {}).get("then"):
        case "checkpoint" | "renew" as then:
            try:
                ctx.checkpoint({"by": os.getpid()}) if then == "checkpoint" else ctx.renew()
                record("kept", item)
            except LeaseLost:
                record("refused", item)
                raise
        case other:
            _try(item, ctx, other)


def _try(item: ScheduleMessageItem, ctx: HandlerContext, then: Any) -> None:
    match then:
        case "submit":
            ctx.submit(effect(item))
        case "fail":
            ctx.fail(item, "given up")
        case "retry":
            ctx.retry(item, 3600)
        case "raise":
            raise ValueError("afterwards")


app = {
    "task": Handler(handle, batch_size=4, ordered=True),
    "threaded": Handler(handle_in_thread, batch_size=4, ordered=True),
    "single": handle,
    "fan": fan_out,
    "steps": ten_steps,
    "afterwards": try_afterwards,
    "afterwards in a thread": try_afterwards_in_thread,
}
