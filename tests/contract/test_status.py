"""The numbers are the truth: at every instant, for every lane, in total, and after every accident."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.messages import LABEL, contents, message, messages

from memsched import AsyncMemScheduler, HandlerContext, MemScheduler, ScheduleMessageItem, TaskState, WaitTimeout
from memsched.broker.keys import GROUP
from memsched.queue.leases import Leases
from memsched.queue.status import Status
from memsched.queue.workers import NUMBERS, WorkerRegistry
from memsched.worker.reporter import Tally

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]
NAMES = ("backlog", "remaining", "running", "orphaned", "delayed", "dead")


async def started(make_scheduler: MakeScheduler, handlers: dict[str, Any], **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers(handlers)
    await scheduler.start()
    return scheduler


async def numbers(scheduler: AsyncMemScheduler, label: str | None = None) -> dict[str, int]:
    status = await scheduler.get_tasks_status()
    found = status if label is None else status["labels"][label]
    return {name: found[name] for name in NAMES if found[name]}


class Impostor:
    """A worker that exists at the server only, in whatever state a test needs."""

    def __init__(self, scheduler: AsyncMemScheduler, name: str) -> None:
        self._scheduler = scheduler
        self._lane = scheduler.keys.lane(LABEL, "", "")
        self.name = name

    async def lives(self) -> None:
        await (await self._registry()).register(self.name, {"host": "here"})

    async def dies(self) -> None:
        await (await self._registry()).declare_dead(self.name)

    async def takes(self, count: int) -> None:
        server = await self._scheduler.server()
        reply = await server.execute(*Leases(self._scheduler.keys, self.name).read([self._lane], count))
        assert reply

    async def hands_back(self) -> None:
        server = await self._scheduler.server()
        await server.call(Leases(self._scheduler.keys, self.name).release_held(self._lane))

    async def _registry(self) -> WorkerRegistry:
        return WorkerRegistry(await self._scheduler.server(), self._scheduler.keys, 10)


async def with_group(scheduler: AsyncMemScheduler) -> None:
    stream = scheduler.keys.lane(LABEL, "", "").stream
    await (await scheduler.server()).execute("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")


async def test_nothing_at_all_is_all_zero(make_scheduler: MakeScheduler) -> None:
    status = await make_scheduler().get_tasks_status()

    assert all(status[name] == 0 for name in NAMES)
    assert status["oldest_seconds"] is None
    assert (status["labels"], status["workers"]) == ({}, [])


async def test_every_message_is_counted_where_it_is(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    await with_group(scheduler)
    live, dead, leaving = (Impostor(scheduler, name) for name in ("live", "dead", "leaving"))
    for worker in (live, dead, leaving):
        await worker.lives()
    await scheduler.submit_messages(messages(20))
    await scheduler.submit_messages(messages(3), delay=60)
    await live.takes(4)
    await dead.takes(5)
    await leaving.takes(2)
    await dead.dies()
    await leaving.hands_back()

    found = await numbers(scheduler)

    assert found == {"backlog": 23, "running": 4, "remaining": 19, "orphaned": 5, "delayed": 3}
    assert await numbers(scheduler, LABEL) == found
    workers = (await scheduler.get_tasks_status())["workers"]
    assert {worker["worker_id"] for worker in workers} == {"live", "leaving"}
    assert workers[0]["host"] == "here"


async def test_a_worker_that_was_silent_too_long_counts_as_dead(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler(beat_seconds=0.1, worker_ttl_seconds=0.2)
    await with_group(scheduler)
    worker = Impostor(scheduler, "silent")
    await worker.lives()
    await scheduler.submit_messages(message())
    await worker.takes(1)

    assert (await numbers(scheduler))["running"] == 1
    await until(lambda: _is(scheduler, {"backlog": 1, "remaining": 1, "orphaned": 1}))


async def _is(scheduler: AsyncMemScheduler, wanted: dict[str, int]) -> bool:
    return await numbers(scheduler) == wanted


async def test_an_entry_that_was_deleted_while_it_ran_makes_no_number_negative(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    await with_group(scheduler)
    worker = Impostor(scheduler, "live")
    await worker.lives()
    await scheduler.submit_messages(messages(2))
    await worker.takes(2)
    server = await scheduler.server()
    stream = scheduler.keys.lane(LABEL, "", "").stream
    ((entry_id, _), _) = await server.execute("XRANGE", stream, "-", "+")
    await server.execute("XDEL", stream, entry_id)

    status = await scheduler.get_tasks_status()

    assert status["backlog"] == 1
    assert status["remaining"] >= 0
    assert status["running"] + status["remaining"] == status["backlog"]


async def test_the_numbers_of_a_worker_are_numbers_and_can_be_read_back(make_scheduler: MakeScheduler) -> None:
    scheduler = await started(make_scheduler, {LABEL: lambda batch: None})

    told = await scheduler.get_tasks_status()

    (worker,) = told["workers"]
    assert (worker["pid"], worker["labels"]) == (os.getpid(), LABEL)
    assert {*Tally().as_numbers()} < {*NUMBERS}
    assert Status.from_dict(told).workers[0].about["pid"] == str(os.getpid())


async def test_the_oldest_age_is_of_the_oldest_unfinished_message(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    await scheduler.submit_messages(message("old"))
    await until(lambda: _older_than(scheduler, 0.3))
    await scheduler.submit_messages(message("new"))

    status = await scheduler.get_tasks_status()

    assert 0.3 <= status["oldest_seconds"] < 10
    assert status["labels"][LABEL]["oldest_seconds"] == status["oldest_seconds"]


@pytest.mark.parametrize("how", ["clear", "cancel"])
async def test_the_oldest_age_is_not_of_a_message_that_was_dropped(how: str, make_scheduler: MakeScheduler) -> None:
    scheduler, old = make_scheduler(), message("old")
    await scheduler.submit_messages(old)
    await until(lambda: _older_than(scheduler, 0.3))

    await (scheduler.clear() if how == "clear" else scheduler.cancel_task(old))
    await scheduler.submit_messages(message("new"))

    assert not await _older_than(scheduler, 0.3)


async def _older_than(scheduler: AsyncMemScheduler, seconds: float) -> bool:
    return bool((await scheduler.get_tasks_status())["oldest_seconds"] > seconds)


async def test_running_counts_what_runs_and_what_is_next_in_line(make_scheduler: MakeScheduler) -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        await gate.wait()

    scheduler = await started(make_scheduler, {LABEL: handle}, concurrency=3, prefetch_ms=0)
    await scheduler.submit_messages(messages(10))
    await until(lambda: _is(scheduler, {"backlog": 10, "running": 3, "remaining": 7}))
    gate.set()
    await scheduler.wait(timeout=30)

    assert await numbers(scheduler) == {}


async def test_the_total_is_right_while_messages_go_from_lane_to_lane(
    make_scheduler: MakeScheduler, any_url: str
) -> None:
    done: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        hops = int(batch[0].content)
        if hops:
            other = "b" if batch[0].label == "a" else "a"
            ctx.submit(message(str(hops - 1), label=other, user=batch[0].user_id))
        else:
            done.append(batch[0].user_id)

    # So many lanes that their question is more than the server takes in at once.
    lanes = 4 if any_url.startswith("memory://") else 100
    await started(make_scheduler, {"a": handle, "b": handle}, partitions=lanes)
    watcher = make_scheduler(partitions=lanes)
    await watcher.submit_messages([message("40", label="a", user=f"user-{number}") for number in range(8)])
    seen, own = set(), set()
    while not done:
        status = await watcher.read_status()
        unfinished = await watcher.unfinished("user-1")
        if not done:
            seen.add(status.total.backlog)
            own.add(unfinished)
        assert status.total.backlog == status.total.running + status.total.remaining
        assert sum(counts.backlog for counts in status.labels.values()) == status.total.backlog
    await watcher.wait(timeout=30)

    assert (seen, own) == ({8}, {1})


# -- one message -------------------------------------------------------------------------------------------------------


async def test_a_message_goes_from_waiting_over_in_progress_to_completed(make_scheduler: MakeScheduler) -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        await gate.wait()

    scheduler, sent = make_scheduler(), message()
    unknown = await scheduler.get_task_status(sent)
    await scheduler.submit_messages(sent)
    waiting = await scheduler.get_task_status(sent)
    worker = await started(make_scheduler, {LABEL: handle})

    async def in_progress() -> bool:
        status = await scheduler.get_task_status(sent)
        return status is not None and status.state is TaskState.IN_PROGRESS

    await until(in_progress)
    running = await scheduler.get_task_status(sent)
    gate.set()
    await scheduler.wait(timeout=30)
    completed = await worker.get_task_status(sent)

    assert unknown is None
    assert waiting is not None
    assert running is not None
    assert completed is not None
    assert (waiting.state, waiting.started_ms, waiting.finished_ms) == (TaskState.WAITING, 0, 0)
    assert running.worker
    assert 0 < running.submitted_ms <= running.started_ms + 1000
    assert completed.state is TaskState.COMPLETED
    assert completed.finished_ms >= completed.submitted_ms


async def test_a_delayed_message_says_when_it_is_due(make_scheduler: MakeScheduler) -> None:
    scheduler, sent = make_scheduler(), message()
    await scheduler.submit_messages(sent, delay=5)

    status = await scheduler.get_task_status(sent)

    assert status is not None
    assert (status.state, status.due_ms - status.submitted_ms) == (TaskState.WAITING, 5000)


async def test_the_status_of_a_finished_message_expires(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages) -> None: ...

    scheduler = await started(make_scheduler, {LABEL: handle}, task_ttl_seconds=1)
    sent = message()
    await scheduler.submit_messages(sent)
    await scheduler.wait(timeout=30)
    known = await scheduler.get_task_status(sent)

    async def forgotten() -> bool:
        return await scheduler.get_task_status(sent) is None

    assert known is not None
    await until(forgotten)


async def test_nothing_is_left_of_messages_that_were_done(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages) -> None: ...

    scheduler = await started(make_scheduler, {LABEL: handle}, task_ttl_seconds=1)
    for user in range(50):
        await scheduler.submit_messages(message(user=f"user-{user}"))
    await scheduler.wait(timeout=30)
    server = await scheduler.server()

    async def left() -> set[str]:
        return {key.decode() for key in await server.execute("KEYS", "*")}

    async def only_the_lanes() -> bool:
        return not any(":task:" in key for key in await left())

    await until(only_the_lanes)
    keys = scheduler.keys
    lane = keys.lane(LABEL, "", "")
    worker_keys = {key for key in await left() if key.startswith(f"{keys.prefix}:worker:")}
    # What is counted of a lane is as much for one user as for fifty.
    counted = {
        key for key in await left() if key.startswith((f"{lane.stream[:-7]}:stats", f"{keys.prefix}:statistics"))
    }
    assert len(counted) < 8
    assert await left() - worker_keys - counted == {keys.lanes, keys.workers, keys.epoch, lane.stream, lane.leases}
    assert await server.execute("XLEN", lane.stream) == 0


# -- waiting -----------------------------------------------------------------------------------------------------------


async def test_waiting_for_one_user_does_not_wait_for_another(make_scheduler: MakeScheduler) -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        if batch[0].user_id == "slow":
            await gate.wait()

    scheduler = await started(make_scheduler, {LABEL: handle})
    await scheduler.submit_messages([message(user="slow"), message(user="quick")])

    await scheduler.wait(user_id="quick", timeout=30)
    await scheduler.wait(user_id="unknown", timeout=30)
    with pytest.raises(WaitTimeout, match="1 unfinished after 0.05 s"):
        await scheduler.wait(user_id="slow", timeout=0.05)
    gate.set()
    await scheduler.wait(user_id="slow", timeout=30)


async def test_waiting_for_a_user_includes_retries_delays_and_follow_ups(make_scheduler: MakeScheduler) -> None:
    handled: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        handled.append(batch[0].content)
        if handled == ["first"]:
            raise ValueError("again")
        if batch[0].content == "first":
            ctx.submit(message("second"), delay_ms=100)

    scheduler = await started(make_scheduler, {LABEL: handle})
    await scheduler.submit_messages(message("first"), delay=0.05)
    await scheduler.wait(user_id="alice", timeout=30)

    assert handled == ["first", "first", "second"]


async def test_a_dead_letter_is_finished(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages) -> None:
        raise ValueError("no")

    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=0)
    await scheduler.submit_messages(message())
    await scheduler.wait(user_id="alice", timeout=30)

    assert await numbers(scheduler) == {"dead": 1}


async def test_waiting_after_somebody_deleted_the_stream_ends(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    await scheduler.submit_messages(messages(3))
    await (await scheduler.server()).execute("DEL", scheduler.keys.lane(LABEL, "", "").stream)

    await scheduler.wait(user_id="alice", timeout=5)
    await scheduler.wait(timeout=5)


# -- clearing ----------------------------------------------------------------------------------------------------------


async def test_clearing_drops_everything_unfinished_and_nothing_else(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    items = messages(1200)
    await scheduler.submit_messages(items)
    await scheduler.submit_messages(messages(5), delay=60)
    await scheduler.submit_messages(messages(2, label="other"))

    dropped = await scheduler.memos_message_queue.clear(LABEL)

    assert dropped == 1205
    assert await numbers(scheduler) == {"backlog": 2, "remaining": 2}
    await scheduler.wait(user_id="nobody", timeout=1)
    assert await scheduler.get_task_status(items[0]) is None
    assert await scheduler.clear() == 2
    assert await numbers(scheduler) == {}
    await scheduler.wait(user_id="alice", timeout=1)


async def test_a_cleared_message_may_be_submitted_again(make_scheduler: MakeScheduler) -> None:
    scheduler, sent, delayed = make_scheduler(), message(), message()
    await scheduler.submit_messages(sent)
    await scheduler.submit_messages(delayed, delay=60)
    await scheduler.clear()

    results = await scheduler.submit_messages([sent, delayed])

    assert [result.outcome for result in results] == ["queued", "queued"]


async def test_a_handler_whose_message_was_cleared_is_cancelled(make_scheduler: MakeScheduler) -> None:
    begun, ended = asyncio.Event(), []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(ctx.lost)

    scheduler = await started(make_scheduler, {LABEL: handle}, min_idle_ms=300)
    await scheduler.submit_messages(message())
    await begun.wait()
    dropped = await scheduler.clear()
    await until(lambda: ended)

    assert (dropped, ended) == (1, [True])
    assert await numbers(scheduler) == {}


async def test_an_empty_queue_can_be_cleared(make_scheduler: MakeScheduler) -> None:
    assert await make_scheduler().clear() == 0


# -- without await -----------------------------------------------------------------------------------------------------


def test_the_blocking_face_does_the_same(any_url: str, settings_at: Callable[..., Any]) -> None:
    done: list[str] = []

    def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    with MemScheduler(settings_at(any_url)) as producer:
        producer.submit_messages(message("early"))
        assert producer.memos_message_queue.qsize() == 1
        scheduler = MemScheduler(settings_at(any_url))
        scheduler.register_handlers({LABEL: handle})
        scheduler.start()
        sent = message("later")
        results = scheduler.memos_message_queue.submit_messages([sent], delay=0.05)
        scheduler.wait(timeout=30)
        scheduler.wait(user_id="alice", timeout=30)
        status = scheduler.get_tasks_status()
        state = scheduler.get_task_status(sent)
        scheduler.stop()
        scheduler.stop()

        assert sorted(done) == ["early", "later"]
        assert results[0].outcome == "delayed"
        assert (status["backlog"], len(status["workers"])) == (0, 1)
        assert state is not None
        assert state.state is TaskState.COMPLETED
        assert producer.memos_message_queue.clear() == 0
        assert producer.get_tasks_status()["workers"] == []
