"""Handlers of the worker processes that the chaos tests kill.

Each run leaves a line in a file, appended in one write: that is what happened outside. Each run submits one follow-up
that nobody handles, through its context: those are counted, behind the fence.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from memsched import Handler, HandlerContext, LeaseLost, ScheduleMessageItem, SyncHandlerContext

FOLDER = Path(os.environ.get("CHAOS_FOLDER", "."))
COUNTED = "counted"


def note(name: str, text: str) -> None:
    """One line, whole or not at all."""
    descriptor = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def counted(message: ScheduleMessageItem) -> ScheduleMessageItem:
    return ScheduleMessageItem(
        user_id=message.user_id, mem_cube_id=message.mem_cube_id, label=COUNTED, content=message.item_id
    )


async def work(messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    await asyncio.sleep(0.005 * len(messages))
    for message in messages:
        note("runs", f"{message.item_id} {os.getpid()}")
        ctx.submit(counted(message))


def work_in_thread(messages: list[ScheduleMessageItem], ctx: SyncHandlerContext) -> None:
    time.sleep(0.005 * len(messages))
    for message in messages:
        note("runs", f"{message.item_id} {os.getpid()}")
        ctx.submit(counted(message))


async def steps(messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    """Ten steps with a checkpoint after each; goes on where its predecessor was."""
    (message,) = messages
    for step in range(ctx.resume or 0, 10):
        note("steps", f"{message.item_id} {step}")
        await asyncio.sleep(0.01)
        await ctx.checkpoint(step + 1)
    ctx.submit(counted(message))


async def poison(messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    for message in messages:
        if message.content == "poison":
            note("deaths", message.item_id)
            os.kill(os.getpid(), signal.SIGKILL)
    await work(messages, ctx)


async def fail(messages: list[ScheduleMessageItem]) -> None:
    note("runs", messages[0].item_id)
    raise RuntimeError("it never works")


async def zombie(messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
    """The first run waits for ``go``, which comes when it is long a zombie; the second waits for ``finish``."""
    (message,) = messages
    try:
        os.close(os.open(FOLDER / "first.started", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        note("second.started", json.dumps(ctx.resume))
        await _file("finish")
        ctx.submit(counted(message))
        return
    try:
        await _file("go")
        if message.content == "retry":
            note("zombie", "failed")
            raise RuntimeError("the zombie fails")
        if message.content == "checkpoint":
            await ctx.checkpoint("from the zombie")
        if message.content == "submit":
            ctx.submit(counted(message))
        note("zombie", "went on")
    except LeaseLost:
        note("zombie", "refused")
        raise
    except asyncio.CancelledError:
        note("zombie", "cancelled")
        raise


async def _file(name: str) -> None:
    while not (FOLDER / name).exists():
        await asyncio.sleep(0.005)


handlers = {
    "work": work,
    "thread": work_in_thread,
    "steps": Handler(steps, batch_size=1),
    "poison": poison,
    "fail": Handler(fail, batch_size=1),
    "zombie": Handler(zombie, batch_size=1),
}
