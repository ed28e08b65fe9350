"""Fairness: one user has at most so many messages in a lane's stream; the rest is parked, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.messages import LABEL, contents, message, messages
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, Handler, HandlerContext, QueueFull, ScheduleMessageItem, TaskState
from memsched.broker.keys import GROUP
from memsched.queue.dead_letters import DeadFilter
from memsched.queue.delayed import promote

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


class Lane:
    """What a lane holds, as the server says."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler
        self.keys = scheduler.keys.lane(LABEL, "", "")

    async def execute(self, *args: Any) -> Any:
        return await (await self._scheduler.server()).execute(*args)

    async def in_stream(self) -> int:
        return int(await self.execute("XLEN", self.keys.stream))

    async def parked(self, user: str = "alice") -> int:
        return int(await self.execute("LLEN", self.keys.parked_of(user)))

    async def numbers(self) -> dict[str, int]:
        status = (await self._scheduler.get_tasks_status())["labels"].get(LABEL, {})
        return {name: status[name] for name in ("backlog", "parked", "delayed", "ready") if status.get(name)}

    async def promote(self) -> float | None:
        server = await self._scheduler.server()
        return await server.call(promote(self.keys, self._scheduler.settings.max_per_user))

    async def unfinished(self, user: str = "alice") -> int:
        return await self._scheduler.unfinished(user)


async def started(make_scheduler: MakeScheduler, handle: Any, **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers({LABEL: handle})
    await scheduler.start()
    return scheduler


async def test_what_a_user_submits_beyond_their_part_of_the_stream_is_parked(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=3)
    lane = Lane(scheduler)
    burst = messages(10, cubes=4)

    results = await scheduler.submit_messages(burst)
    await scheduler.submit_messages(message(user="bob"))
    again = await scheduler.submit_messages([burst[0], burst[9]])

    assert {result.outcome for result in results} == {"queued"}
    assert {result.outcome for result in again} == {"duplicate"}
    assert (await lane.in_stream(), await lane.parked()) == (4, 7)
    assert await lane.numbers() == {"backlog": 11, "parked": 7, "ready": 11}
    assert await scheduler.memos_message_queue.qsize() == 11
    assert (await lane.unfinished(), await lane.unfinished("bob")) == (10, 1)
    status = await scheduler.get_task_status(burst[9])
    assert status is not None
    assert status.state is TaskState.WAITING


async def test_each_that_is_finished_moves_the_next_one_in_and_all_run_in_order(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_per_user=3)
    lane = Lane(producer)
    await producer.submit_messages(messages(50, cubes=1))
    done: list[str] = []
    most = 0

    async def handle(batch: Messages) -> None:
        nonlocal most
        most = max(most, await lane.in_stream())
        done.extend(contents(batch))

    await started(make_scheduler, Handler(handle, batch_size=2, ordered=True), max_per_user=3)
    await producer.wait(user_id="alice", timeout=30)

    assert done == [str(number) for number in range(50)]
    assert most <= 3
    assert await lane.numbers() == {}
    assert await lane.execute("EXISTS", lane.keys.parked, lane.keys.users, lane.keys.entries_of("alice")) == 0


async def test_others_do_not_wait_behind_one_users_burst(make_scheduler: MakeScheduler) -> None:
    producer = make_scheduler(max_per_user=2)
    await producer.submit_messages(messages(30, cubes=30))
    await producer.submit_messages([message("other", user="bob")])
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    await started(make_scheduler, handle, max_per_user=2, concurrency=1, prefetch_ms=0)
    await producer.wait(timeout=30)

    assert done.index("other") <= 4
    assert len(done) == 31


async def test_a_limit_of_zero_parks_nothing_and_lets_in_what_was_parked(make_scheduler: MakeScheduler) -> None:
    before, scheduler = make_scheduler(max_per_user=2), make_scheduler(max_per_user=0)
    lane = Lane(scheduler)
    await before.submit_messages(messages(5))
    await scheduler.submit_messages(messages(5))
    parked = await lane.parked()
    await lane.promote()

    assert (parked, await lane.parked(), await lane.in_stream()) == (3, 0, 10)
    assert await lane.unfinished() == 10


async def test_a_full_lane_counts_what_is_parked(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=2, max_backlog=5)

    with pytest.raises(QueueFull) as raised:
        await scheduler.submit_messages(messages(7))

    assert [result.outcome for result in raised.value.results] == ["queued"] * 5 + ["full"] * 2


async def test_retries_delays_and_dead_letters_let_the_next_ones_in(make_scheduler: MakeScheduler) -> None:
    ended: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for item in batch:
            number = int(item.content)
            if number % 3 == 1 and item.content not in ended:
                ctx.retry(item, 0.01)
            elif number % 3 == 2:
                ctx.fail(item, "no")
            ended.append(item.content)

    scheduler = await started(make_scheduler, handle, max_per_user=2)
    lane = Lane(scheduler)
    await scheduler.submit_messages(messages(12, cubes=3))
    await scheduler.submit_messages([message(str(number)) for number in (12, 15, 18)], delay=0.05)
    await scheduler.wait(user_id="alice", timeout=30)

    assert sorted(set(ended), key=int) == [*map(str, range(13)), "15", "18"]
    assert len(await dead_letters(scheduler)) == 4
    assert await lane.numbers() == {}
    assert await lane.execute("EXISTS", lane.keys.parked, lane.keys.users, lane.keys.entries_of("alice")) == 0


async def test_what_becomes_due_beyond_the_limit_is_parked(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=2)
    lane = Lane(scheduler)
    await scheduler.submit_messages(messages(5), delay=0.001)
    before = await lane.unfinished()
    await until(lambda: _all_due(lane))

    assert (before, await lane.unfinished()) == (5, 5)
    assert (await lane.in_stream(), await lane.parked()) == (2, 3)
    assert await lane.numbers() == {"backlog": 5, "parked": 3, "ready": 5}


async def _all_due(lane: Lane) -> bool:
    await lane.promote()
    return int(await lane.execute("ZCARD", lane.keys.delayed)) == 0


async def test_dead_letters_that_are_redriven_are_parked_beyond_the_limit(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for item in batch:
            ctx.fail(item, "no")

    scheduler = await started(make_scheduler, handle, max_per_user=2)
    await scheduler.submit_messages(messages(5))
    await scheduler.wait(timeout=30)
    await scheduler.stop()
    again = make_scheduler(max_per_user=2)
    lane = Lane(again)

    sent = await (await again.dead_letters()).redrive(DeadFilter())

    assert sent == 5
    assert (await lane.in_stream(), await lane.parked(), await lane.unfinished()) == (2, 3, 5)


async def test_follow_ups_beyond_the_limit_are_parked_and_run(make_scheduler: MakeScheduler) -> None:
    handled: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        handled.extend(contents(batch))
        if batch[0].content == "parent":
            ctx.submit(messages(10, cubes=2))

    scheduler = await started(make_scheduler, handle, max_per_user=2)
    await scheduler.submit_messages(message("parent"))
    await scheduler.wait(user_id="alice", timeout=30)

    assert sorted(handled) == sorted(["parent", *map(str, range(10))])


async def test_a_plain_xadd_is_never_parked_and_never_counted(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=2)
    lane = Lane(scheduler)
    await scheduler.submit_messages(messages(2))
    for number in range(5):
        await lane.execute(
            "XADD", lane.keys.stream, "*", "user_id", "alice", "mem_cube_id", "home", "content", f"foreign {number}"
        )
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    assert (await lane.in_stream(), await lane.parked(), await lane.unfinished()) == (7, 0, 2)
    await started(make_scheduler, handle, max_per_user=2)
    await scheduler.wait(timeout=30)
    assert len(done) == 7


async def test_ids_of_any_form_are_parked_and_come_back(make_scheduler: MakeScheduler) -> None:
    users = ["a:b", "a}b{c", "zoë ü 漢字", "%41", "", "\n", "-", "x" * 500]
    producer = make_scheduler(max_per_user=1)
    lane = Lane(producer)
    sent = [message(f"{user}/{number}", user=user) for user in users if user for number in range(3)]
    await producer.submit_messages(sent)
    parked = [await lane.parked(user) for user in users if user]
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    await started(make_scheduler, handle, max_per_user=1)
    await producer.wait(timeout=30)

    assert parked == [2] * len(parked)
    assert sorted(done) == sorted(item.content for item in sent)


async def test_a_cancelled_message_that_is_parked_never_runs(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=1)
    sent = messages(4, cubes=1)
    await scheduler.submit_messages(sent)
    cancelled = [await scheduler.cancel_task(item) for item in sent[1:3]]
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    await started(make_scheduler, Handler(handle, ordered=True), max_per_user=1)
    await scheduler.wait(user_id="alice", timeout=30)

    assert cancelled == [True, True]
    assert done == ["0", "3"]


async def test_clearing_drops_what_is_parked_and_leaves_the_counters_right(make_scheduler: MakeScheduler) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def handle(batch: Messages) -> None:
        begun.set()
        await gate.wait()

    scheduler = await started(make_scheduler, handle, max_per_user=3, min_idle_ms=300)
    lane = Lane(scheduler)
    burst = [*messages(700, cubes=3), *messages(3, user="bob")]
    await scheduler.submit_messages(burst)
    await scheduler.submit_messages(messages(450), delay=60)
    await begun.wait()

    dropped = await scheduler.clear()
    await scheduler.submit_messages(messages(5))
    left = (await lane.unfinished(), await lane.unfinished("bob"))
    gate.set()
    await scheduler.wait(timeout=30)

    assert dropped == 1153
    assert left == (5, 0)
    assert await scheduler.get_task_status(burst[600]) is None
    assert await lane.unfinished() == 0
    assert await lane.execute("EXISTS", lane.keys.parked, lane.keys.users, lane.keys.entries_of("alice")) == 0


# -- when somebody changes a lane by hand ------------------------------------------------------------------------------


async def _delete_the_stream(lane: Lane) -> None:
    await lane.execute("DEL", lane.keys.stream)


async def _trim_the_stream(lane: Lane) -> None:
    await lane.execute("XADD", lane.keys.stream, "*", "user_id", "bob", "mem_cube_id", "c", "content", "foreign")
    await lane.execute("XTRIM", lane.keys.stream, "MAXLEN", "=", 1)


async def _delete_entries(lane: Lane) -> None:
    for entry_id, _ in (await lane.execute("XRANGE", lane.keys.stream, "-", "+"))[:2]:
        await lane.execute("XDEL", lane.keys.stream, entry_id)


async def _lose_the_counters_of_entries(lane: Lane) -> None:
    await lane.execute("DEL", lane.keys.entries_of("alice"))


async def _count_entries_that_are_not_there(lane: Lane) -> None:
    await lane.execute("SADD", lane.keys.entries_of("alice"), *(f"1-{number}" for number in range(50)))


async def _lose_the_counters_of_what_is_parked(lane: Lane) -> None:
    await lane.execute("DEL", lane.keys.parked)


async def _count_too_much_that_is_parked(lane: Lane) -> None:
    await lane.execute("HSET", lane.keys.parked, "", 999, "alice", 99, "nobody", 5)


async def _nothing(lane: Lane) -> None: ...


@pytest.mark.parametrize(
    ("accident", "lost"),
    [
        (_nothing, 0),
        (_delete_the_stream, 3),
        (_trim_the_stream, 3),
        (_delete_entries, 2),
        (_lose_the_counters_of_entries, 0),
        (_count_entries_that_are_not_there, 0),
        (_lose_the_counters_of_what_is_parked, 0),
        (_count_too_much_that_is_parked, 0),
    ],
)
async def test_no_accident_leaves_parked_messages_for_ever(
    make_scheduler: MakeScheduler, accident: Callable[[Lane], Any], lost: int
) -> None:
    producer = make_scheduler(max_per_user=3)
    lane = Lane(producer)
    await producer.submit_messages(messages(20, cubes=1))
    await accident(lane)
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(content for content in contents(batch) if content != "foreign")

    await started(make_scheduler, Handler(handle, ordered=True), max_per_user=3)
    await producer.wait(timeout=30)
    await producer.wait(user_id="alice", timeout=5)

    assert done == [str(number) for number in range(lost, 20)]
    assert await lane.execute("EXISTS", lane.keys.parked) == 0


async def test_a_stream_that_is_deleted_while_its_messages_run_is_filled_again(make_scheduler: MakeScheduler) -> None:
    first, gate = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        first.set()
        await gate.wait()
        done.extend(contents(batch))

    scheduler = await started(make_scheduler, Handler(handle, batch_size=1), max_per_user=3, min_idle_ms=500)
    lane = Lane(scheduler)
    await scheduler.submit_messages(messages(9, cubes=9))
    await first.wait()
    await lane.execute("DEL", lane.keys.stream)
    gate.set()
    await scheduler.wait(timeout=30)
    assert {str(number) for number in range(3, 9)} <= set(done), "the parked ones ran"


async def test_an_entry_that_nobody_has_counted_is_no_obstacle(make_scheduler: MakeScheduler) -> None:
    """A worker of this version finishes what one of the last version submitted, and a counter is never below zero."""
    scheduler = make_scheduler(max_per_user=2)
    lane = Lane(scheduler)
    fields = [*message("old").to_wire(), "submitted", "1"]
    await lane.execute("XADD", lane.keys.stream, "*", *fields)
    await lane.execute("HSET", lane.keys.users, "alice", 1)
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    await started(make_scheduler, handle, max_per_user=2)
    await scheduler.wait(timeout=30)
    await scheduler.wait(user_id="alice", timeout=5)

    assert done == ["old"]


async def test_what_is_parked_by_hand_and_is_no_message_becomes_a_dead_letter(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=1)
    lane = Lane(scheduler)
    await scheduler.submit_messages(messages(2, cubes=1))
    await lane.execute("LPUSH", lane.keys.parked_of("alice"), "no json", json.dumps(["k", "a", {}]))
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    await started(make_scheduler, handle, max_per_user=1)
    await until(lambda: len(done) == 2)
    await scheduler.wait(timeout=30)

    assert len(await dead_letters(scheduler, reason="malformed")) == 2


async def test_a_promotion_is_bounded_in_bytes_and_in_messages(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(max_per_user=0)
    lane = Lane(scheduler)
    await scheduler.submit_messages([message("x" * 200_000) for _ in range(4)], delay=0.001)
    await scheduler.submit_messages(messages(150), delay=0.002)
    await until(lambda: _ready(scheduler, 154))
    steps = []
    while (await lane.promote()) == 0.0:
        steps.append(await lane.in_stream())

    assert steps[0] == 2
    assert len(steps) >= 3
    assert await lane.in_stream() == 154


async def _ready(scheduler: AsyncMemScheduler, count: int) -> bool:
    return bool((await scheduler.get_tasks_status())["ready"] == count)


async def test_the_status_of_a_large_oldest_message_is_read_once(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    lane = Lane(scheduler)
    await scheduler.submit_messages(message("old"))
    first = (await scheduler.get_tasks_status())["oldest_seconds"]
    remembered = await lane.execute("GET", lane.keys.oldest)
    ((entry_id, _),) = await lane.execute("XRANGE", lane.keys.stream, "-", "+")
    await lane.execute("XGROUP", "CREATE", lane.keys.stream, GROUP, "0")
    await lane.execute("XREADGROUP", "GROUP", GROUP, "someone", "COUNT", 1, "STREAMS", lane.keys.stream, ">")
    before_the_new = time.time()
    await scheduler.submit_messages(message("new"))
    second = (await scheduler.get_tasks_status())["oldest_seconds"]
    await lane.execute("XACK", lane.keys.stream, GROUP, entry_id)
    await lane.execute("XDEL", lane.keys.stream, entry_id)
    third = (await scheduler.get_tasks_status())["oldest_seconds"]

    assert remembered.endswith(entry_id)
    assert first <= second
    assert third is not None
    assert third <= time.time() - before_the_new + 0.01  # of the new one, though both are but moments old
