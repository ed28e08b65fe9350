"""A label is paused on the server: no worker takes its messages, nothing is lost, and all of it goes on at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from support.conditions import until
from support.messages import contents, message, messages

from memsched import AsyncMemScheduler, Handler, ScheduleMessageItem

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


class Work:
    """What ran, and a gate for what runs."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.gate = asyncio.Event()

    async def __call__(self, batch: Messages) -> None:
        self.begun += contents(batch)
        await self.gate.wait()
        self.ended += contents(batch)


async def started(make_scheduler: MakeScheduler, handlers: dict[str, Any], **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers(handlers)
    await scheduler.start()
    return scheduler


async def test_a_paused_label_keeps_what_comes_and_others_go_on(make_scheduler: MakeScheduler) -> None:
    paused, other = Work(), Work()
    paused.gate.set()
    other.gate.set()
    scheduler = await started(make_scheduler, {"paused": paused, "other": other})

    assert await scheduler.pause("paused")
    assert not await scheduler.pause("paused")
    await asyncio.sleep(0.1)
    await scheduler.submit_messages([message(str(number), label="paused") for number in range(5)])
    await scheduler.submit_messages(message("late", label="paused"), delay=0.05)
    await scheduler.submit_messages(message("other", label="other"))
    await until(lambda: other.ended == ["other"])
    # A worker that starts later knows it too.
    second = await started(make_scheduler, {"paused": paused})
    await asyncio.sleep(0.3)
    assert paused.begun == []
    status = await scheduler.get_tasks_status()
    assert (status["paused"], status["labels"]["paused"]["backlog"], status["labels"]["paused"]["running"]) == (
        ["paused"],
        6,
        0,
    )

    assert await scheduler.resume("paused")
    assert not await scheduler.resume("paused")
    await until(lambda: len(paused.ended) == 6, seconds=5)
    assert (await second.get_tasks_status())["paused"] == []


async def test_what_runs_ends_and_what_waits_in_a_worker_is_handed_back(make_scheduler: MakeScheduler) -> None:
    work = Work()
    scheduler = await started(make_scheduler, {"slow": Handler(work, concurrency=1)}, prefetch_max=50)
    await scheduler.submit_messages(messages(10, label="slow"))
    await until(lambda: work.begun)

    await scheduler.pause("slow")

    async def running() -> int:
        return (await scheduler.read_status()).labels["slow"].running

    async def only_one_runs() -> bool:
        return await running() == 1

    await until(only_one_runs, seconds=5)
    work.gate.set()
    await until(lambda: len(work.ended) == 1)
    await asyncio.sleep(0.2)
    assert len(work.begun) == 1
    assert (await scheduler.read_status()).labels["slow"].backlog == 9

    await scheduler.resume("slow")
    await scheduler.wait(timeout=10)
    assert len(work.ended) == 10


async def test_a_worker_that_missed_the_hint_learns_it_with_its_next_beat(make_scheduler: MakeScheduler) -> None:
    work = Work()
    work.gate.set()
    scheduler = await started(make_scheduler, {"paused": work}, beat_seconds=0.2)
    server = await scheduler.server()
    await server.execute("HSET", scheduler.keys.paused, "paused", 1)
    await asyncio.sleep(0.5)

    await scheduler.submit_messages(message("kept", label="paused"))
    await asyncio.sleep(0.3)
    assert work.begun == []

    await server.execute("DEL", scheduler.keys.paused)
    await until(lambda: work.ended == ["kept"], seconds=5)
