"""What was counted is in the server: it outlives the workers, costs an idle one nothing, and is of each lane's slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.conditions import until
from support.messages import LABEL, message, messages

from memsched import AsyncMemScheduler, HandlerContext, ScheduleMessageItem
from memsched.errors import InvalidArgument
from memsched.queue.statistics import LabelStatistics

MakeScheduler = Callable[..., AsyncMemScheduler]


async def statistics(scheduler: AsyncMemScheduler, minutes: int | None = None) -> LabelStatistics:
    return (await scheduler.statistics(minutes))[LABEL]


async def flaky(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
    if batch[0].content.startswith("bad"):
        raise ValueError("bad")
    await asyncio.sleep(0.02)


async def test_what_came_of_messages_is_known_after_their_worker(make_scheduler: MakeScheduler) -> None:
    worker = make_scheduler(max_errors=1)
    worker.register_handlers({LABEL: flaky})
    producer = make_scheduler()
    again = message("hello")
    await producer.submit_messages([again, message("bad one"), *messages(3)])
    await producer.submit_messages(again)
    await worker.start()
    await producer.wait(timeout=30)
    await worker.stop()

    for minutes in (None, 5, 600):
        found = await statistics(producer, minutes)
        assert found.submitted == 5, minutes
        assert found.outcomes == {"done": 4, "retried": 1, "dead": 1}
        assert found.run.count == found.wait.count == 6
        assert 0.08 < found.run.sum_seconds < 10
        assert 0.016 < (found.run.quantile(0.5) or 0) < 2
        assert 0 <= found.wait.sum_seconds < 60


async def test_follow_ups_count_for_their_own_label(make_scheduler: MakeScheduler) -> None:
    async def parent(batch: list[ScheduleMessageItem], context: HandlerContext) -> None:
        context.submit(message("child", label="child"))

    scheduler = make_scheduler()
    scheduler.register_handlers({LABEL: parent, "child": flaky})
    await scheduler.start()
    await scheduler.submit_messages(messages(2))
    await scheduler.wait(timeout=30)
    await scheduler.stop()

    found = await make_scheduler().statistics()
    assert {label: (each.submitted, each.outcomes["done"]) for label, each in found.items()} == {
        LABEL: (2, 2),
        "child": (2, 2),
    }


async def test_a_running_worker_tells_within_a_second_and_an_idle_one_says_nothing(
    make_scheduler: MakeScheduler,
) -> None:
    scheduler = make_scheduler()
    scheduler.register_handlers({LABEL: flaky})
    await scheduler.start()
    await scheduler.submit_messages(messages(3))

    async def told() -> bool:
        return (await statistics(scheduler)).outcomes["done"] == 3

    await until(told)
    worker = scheduler._worker
    assert worker is not None
    pending = worker.cycle._metrics.statistics
    await until(lambda: not pending.pending)
    assert pending.next_at() == float("inf")


async def test_a_key_of_another_program_in_their_place_holds_nobody_up(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    scheduler.register_handlers({LABEL: flaky})
    server = await scheduler.server()
    await server.execute("SET", scheduler.keys.lane(LABEL, "", "").stats, "theirs")
    await scheduler.start()
    await scheduler.submit_messages(messages(3))
    await scheduler.wait(timeout=30)
    await scheduler.stop()

    assert (await statistics(make_scheduler())).submitted == 0


async def test_minutes_are_at_least_one(make_scheduler: MakeScheduler) -> None:
    with pytest.raises(InvalidArgument):
        await make_scheduler().statistics(0)


async def test_what_workers_are_needed_for_is_known_without_any(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=2)
    await scheduler.submit_messages(messages(5))
    await scheduler.submit_messages(message("soon", label="other"), delay=0.05)
    await scheduler.submit_messages(message("tomorrow", label="other"), delay=86_400)
    await asyncio.sleep(0.1)

    found = await scheduler.scaling()
    assert (found["ready"], found["backlog"], found["delayed"]) == (6, 7, 2)
    assert 0 < found["oldest_age_seconds"] < 60
    assert await scheduler.scaling(["other"]) == {"ready": 1, "backlog": 2, "delayed": 2, "oldest_age_seconds": 0.0}
    assert (await scheduler.scaling(["unheard of"]))["ready"] == 0


def test_buckets_double() -> None:
    found = LabelStatistics()
    found.add({"run:0": 5, "run:3": 4, "run:99": 7, "run:sum": 2_000_000, "later": 1})
    assert (found.run.count, found.run.sum_seconds) == (9, 2.0)
    assert [found.run.quantile(share) for share in (0.5, 0.9)] == [0.001, 0.008]
    assert LabelStatistics().run.quantile(0.5) is None
