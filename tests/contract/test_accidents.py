"""What people do to a server by hand while workers run: delete streams, groups, entries, scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from support.conditions import until
from support.messages import LABEL, contents, message, messages

from memsched import AsyncMemScheduler, HandlerContext, LeaseLost, ScheduleMessageItem
from memsched.broker.keys import GROUP

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


async def started(make_scheduler: MakeScheduler, handle: Any, **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    return scheduler


class Recorder:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, batch: Messages) -> None:
        self.seen += contents(batch)
        await self.gate.wait()


async def by_hand(scheduler: AsyncMemScheduler, *command: Any) -> Any:
    return await (await scheduler.server()).execute(*command)


def stream_of(scheduler: AsyncMemScheduler) -> str:
    return scheduler.keys.lane(LABEL, "", "").stream


async def test_a_worker_survives_that_its_stream_is_deleted(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    scheduler = await started(make_scheduler, handle)
    await scheduler.submit_messages(message("before"))
    await scheduler.wait(timeout=30)

    await by_hand(scheduler, "DEL", stream_of(scheduler))
    await scheduler.submit_messages(message("after"))

    await until(lambda: handle.seen == ["before", "after"])
    await scheduler.wait(timeout=30)


async def test_a_worker_survives_that_its_group_is_deleted(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    scheduler = await started(make_scheduler, handle)
    await scheduler.submit_messages(message("before"))
    await scheduler.wait(timeout=30)

    await by_hand(scheduler, "XGROUP", "DESTROY", stream_of(scheduler), GROUP)
    await scheduler.submit_messages(messages(3))

    await until(lambda: sorted(handle.seen) == ["0", "1", "2", "before"])
    await scheduler.wait(timeout=30)


async def test_what_ran_while_its_group_was_deleted_is_not_lost(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    handle.gate.clear()
    scheduler = await started(make_scheduler, handle, min_idle_ms=300)
    await scheduler.submit_messages(messages(3))
    await until(lambda: len(handle.seen) == 3)

    await by_hand(scheduler, "XGROUP", "DESTROY", stream_of(scheduler), GROUP)
    handle.gate.set()
    await scheduler.wait(timeout=30)

    assert {"0", "1", "2"} == set(handle.seen)


async def test_a_group_of_the_wrong_place_is_no_problem(make_scheduler: MakeScheduler) -> None:
    # Somebody made the group beforehand, beginning with new entries only, and has read from it under another name.
    handle = Recorder()
    scheduler = make_scheduler()
    await scheduler.submit_messages(message("early"))
    await by_hand(scheduler, "XGROUP", "CREATE", stream_of(scheduler), "another group", "0")
    worker = await started(make_scheduler, handle)
    await worker.wait(timeout=30)

    assert handle.seen == ["early"]


async def test_a_message_whose_entry_was_deleted_may_be_submitted_again(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    scheduler, sent = make_scheduler(), message("again")
    await scheduler.submit_messages(sent)
    await by_hand(scheduler, "DEL", stream_of(scheduler))

    (result,) = await scheduler.submit_messages(sent)
    worker = await started(make_scheduler, handle)
    await worker.wait(user_id="alice", timeout=30)

    assert result.outcome == "queued"
    assert handle.seen == ["again"]


async def test_a_message_that_ran_when_its_entry_was_deleted_may_be_submitted_again(
    make_scheduler: MakeScheduler,
) -> None:
    handle = Recorder()
    handle.gate.clear()
    scheduler, sent = await started(make_scheduler, handle, min_idle_ms=300), message("again")
    await scheduler.submit_messages(sent)

    async def in_progress() -> bool:
        status = await scheduler.get_task_status(sent)
        return status is not None and status.state == "in_progress"

    await until(in_progress)
    await by_hand(scheduler, "DEL", stream_of(scheduler))

    (result,) = await scheduler.submit_messages(sent)
    handle.gate.set()
    await until(lambda: handle.seen == ["again", "again"])
    await scheduler.wait(timeout=30)

    assert result.outcome == "queued"


async def test_a_resubmitted_message_counts_as_its_users(make_scheduler: MakeScheduler) -> None:
    scheduler, sent = make_scheduler(), message()
    await scheduler.submit_messages(sent)
    await by_hand(scheduler, "DEL", stream_of(scheduler))
    await scheduler.wait(user_id="alice", timeout=1)  # nothing is there: the counters are put right
    await scheduler.submit_messages(sent)

    assert await scheduler.unfinished("alice") == 1


async def test_a_handler_whose_entry_was_deleted_is_told(make_scheduler: MakeScheduler) -> None:
    told: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        await by_hand(scheduler, "XTRIM", stream_of(scheduler), "MAXLEN", 0)
        try:
            await ctx.renew()
            await ctx.renew()
        except LeaseLost as error:
            told.append(error.item_id)

    scheduler = await started(make_scheduler, handle)
    sent = message()
    await scheduler.submit_messages(sent)
    await until(lambda: told == [sent.item_id])


async def test_forgotten_scripts_are_sent_again(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    scheduler = await started(make_scheduler, handle)
    for number in range(5):
        await by_hand(scheduler, "SCRIPT", "FLUSH")
        await scheduler.submit_messages(message(str(number)))
        await by_hand(scheduler, "SCRIPT", "FLUSH")
        await scheduler.wait(timeout=30)
        await by_hand(scheduler, "SCRIPT", "FLUSH")
        assert (await scheduler.get_tasks_status())["backlog"] == 0

    assert handle.seen == ["0", "1", "2", "3", "4"]


async def test_everything_deleted_at_once_and_it_goes_on(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    scheduler = await started(make_scheduler, handle, beat_seconds=0.1)
    await scheduler.submit_messages(messages(3))
    await scheduler.wait(timeout=30)

    await by_hand(scheduler, "FLUSHALL")
    await scheduler.submit_messages(message("after the flood"))

    await until(lambda: "after the flood" in handle.seen)
    await until(lambda: _workers(scheduler))


async def _workers(scheduler: AsyncMemScheduler) -> int:
    return len((await scheduler.get_tasks_status())["workers"])


async def test_many_callers_at_once_share_the_connections(make_scheduler: MakeScheduler) -> None:
    handle = Recorder()
    scheduler = await started(make_scheduler, handle)

    await asyncio.gather(*(scheduler.submit_messages(message(str(number))) for number in range(400)))
    await scheduler.wait(timeout=30)

    assert sorted(map(int, handle.seen)) == list(range(400))
