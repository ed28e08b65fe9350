"""A label may be split into several lanes, and into another number of them later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.messages import LABEL, message

from memsched import AsyncMemScheduler, Handler, ScheduleMessageItem
from memsched.worker.janitor import Janitor
from memsched.worker.worker import Worker

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


async def started(make_scheduler: MakeScheduler, handle: Any, **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    return scheduler


def items_of(users: int, count: int) -> Messages:
    return [message(str(number), user=f"user-{number % users}") for number in range(count)]


async def test_each_cube_stays_in_order_over_all_partitions(make_scheduler: MakeScheduler) -> None:
    order: dict[str, list[int]] = defaultdict(list)

    async def handle(batch: Messages) -> None:
        await asyncio.sleep(0)
        order[batch[0].user_id] += [int(item.content) for item in batch]

    scheduler = await started(make_scheduler, Handler(handle, ordered=True), partitions=8)
    await scheduler.submit_messages(items_of(users=20, count=300))
    await scheduler.wait(timeout=30)

    assert sum(map(len, order.values())) == 300
    assert all(numbers == sorted(numbers) for numbers in order.values())
    names = await (await scheduler.server()).execute("SMEMBERS", scheduler.keys.lanes)
    assert len(names) == 8


async def test_the_status_adds_the_partitions_of_a_label_up(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(partitions=5)
    await scheduler.submit_messages(items_of(users=30, count=60))

    status = await scheduler.get_tasks_status()

    assert list(status["labels"]) == [LABEL]
    assert status["labels"][LABEL]["backlog"] == 60
    assert await scheduler.clear(LABEL) == 60


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (1, 3), (3, 1)])
async def test_what_was_submitted_under_another_number_of_partitions_is_handled(
    make_scheduler: MakeScheduler, before: int, after: int
) -> None:
    seen: list[str] = []

    async def handle(batch: Messages) -> None:
        seen.extend(item.content for item in batch)

    producer = make_scheduler(partitions=before)
    await producer.submit_messages(items_of(users=12, count=24))
    await producer.submit_messages(message("delayed"), delay=0.05)
    worker = await started(make_scheduler, handle, partitions=after)
    await worker.submit_messages(message("new"))
    await producer.wait(timeout=30)
    await worker.wait(user_id="user-3", timeout=30)

    assert sorted(seen) == sorted([*map(str, range(24)), "delayed", "new"])


async def test_lanes_that_appear_while_a_worker_runs_are_found(make_scheduler: MakeScheduler) -> None:
    seen: list[str] = []

    async def handle(batch: Messages) -> None:
        seen.extend(item.content for item in batch)

    worker = await started(make_scheduler, handle, partitions=1)
    producer = make_scheduler(partitions=4)
    await producer.submit_messages(items_of(users=12, count=24))

    # The janitor does this every few seconds.
    await janitor_of(worker).tidy()

    await until(lambda: len(seen) == 24)


def janitor_of(scheduler: AsyncMemScheduler) -> Janitor:
    worker = scheduler._worker
    assert isinstance(worker, Worker)
    return Janitor(worker._server, worker._keys, worker._registry, worker.cycle, [LABEL])


async def test_more_lanes_than_connections_are_no_problem(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages) -> None: ...

    scheduler = await started(make_scheduler, handle, partitions=300)
    await scheduler.submit_messages(items_of(users=50, count=50))
    await scheduler.wait(timeout=30)
