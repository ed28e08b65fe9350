"""What a worker does when it is told to stop; with real signals: integration/test_shutdown."""

from __future__ import annotations

import asyncio

import pytest
from support.conditions import until
from support.messages import LABEL, message

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.worker import shutdown


async def test_a_call_that_ends_at_the_last_moment_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # It looks in every step of the event loop, so also in those between the end of a call and the cycle's next turn.
    monkeypatch.setattr(shutdown, "_POLL_SECONDS", 0.0)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        begun.set()
        await gate.wait()

    scheduler = AsyncMemScheduler(redis_url="memory://at-the-last-moment", memory=False)
    watcher = AsyncMemScheduler(redis_url="memory://at-the-last-moment", memory=False)
    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    await scheduler.submit_messages(message())
    await until(begun.is_set)
    stopping = asyncio.create_task(scheduler.stop(grace_seconds=10))
    await asyncio.sleep(0.05)
    gate.set()
    await stopping

    assert (await watcher.read_status()).total.backlog == 0
    await watcher.stop()
