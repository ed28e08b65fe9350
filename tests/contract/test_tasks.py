"""One message: what is known about it, and taking it off the queue wherever it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.conditions import until
from support.messages import LABEL, message

from memsched import AsyncMemScheduler, HandlerContext, ScheduleMessageItem, TaskState
from memsched.broker.keys import GROUP

MakeScheduler = Callable[..., AsyncMemScheduler]


async def test_a_message_that_waits_is_cancelled_and_never_runs(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    ran: list[str] = []

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        ran.extend(item.content for item in batch)

    kept, cancelled, later = message("kept"), message("cancelled"), message("later")
    await scheduler.submit_messages([kept, cancelled])
    await scheduler.submit_messages(later, delay=0.3)

    assert await scheduler.cancel_task(cancelled)
    assert await scheduler.cancel_task(later.item_id, user_id=later.user_id)
    assert not await scheduler.cancel_task(cancelled), "it is one no more"
    assert not await scheduler.cancel_task("never heard of", user_id="alice")

    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    await scheduler.wait(user_id="alice", timeout=10)
    await asyncio.sleep(0.4)
    assert ran == ["kept"]
    for item in (cancelled, later):
        status = await scheduler.get_task_status(item)
        assert status is not None
        assert (status.state, status.error) == (TaskState.FAILED, "cancelled")
        assert await scheduler.get_task_status(item.item_id, user_id=item.user_id) == status
    assert await scheduler.get_task_status("never heard of", user_id="alice") is None
    assert (await scheduler.read_status()).total.backlog == 0
    assert not await scheduler.cancel_task(kept), "what is done cannot be cancelled"


@pytest.mark.parametrize("after", ["cancel", "end"])
async def test_a_message_that_runs_is_cancelled_at_once_and_leaves_nothing(
    after: str, make_scheduler: MakeScheduler
) -> None:
    scheduler = make_scheduler(min_idle_ms=60_000)
    begun, ended = asyncio.Event(), asyncio.Event()
    go = asyncio.Event()

    async def handle(batch: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        begun.set()
        try:
            if after == "cancel":
                await asyncio.sleep(60)
            await go.wait()
            ctx.submit(message("a follow-up", label="other"))
        finally:
            ended.set()

    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    item = message("long")
    await scheduler.submit_messages(item)
    await begun.wait()

    assert await scheduler.cancel_task(item)
    if after == "end":
        go.set()
    await asyncio.wait_for(ended.wait(), 5)
    await scheduler.wait(timeout=5)
    await until(lambda: scheduler.get_task_status(item))
    status = await scheduler.get_task_status(item)
    assert status is not None
    assert (status.state, status.error) == (TaskState.FAILED, "cancelled")
    assert "other" not in (await scheduler.read_status()).labels


async def test_only_the_one_of_the_label_is_cancelled(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    one, other = message("one", item_id="same", label="one"), message("other", item_id="same", label="other")
    await scheduler.submit_messages([one, other])

    assert await scheduler.cancel_task("same", user_id="alice", label="one")

    status = await scheduler.read_status()
    assert (status.labels["one"].backlog, status.labels["other"].backlog) == (0, 1)
    assert await scheduler.cancel_task("same", user_id="alice")


async def test_a_foreign_producers_message_is_cancelled_once_it_has_begun(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    stream = scheduler.keys.lane(LABEL, "u", "c").stream
    fields = ("item_id", "foreign", "user_id", "u", "mem_cube_id", "c", "content", "x")
    await (await scheduler.server()).execute("XADD", stream, "*", *fields)
    await begun.wait()

    assert await until(lambda: scheduler.cancel_task("foreign", user_id="u", label=LABEL), seconds=5)
    await asyncio.wait_for(ended.wait(), 5)
    pending = await (await scheduler.server()).execute("XPENDING", stream, GROUP)
    assert pending[0] == 0
