"""How messages meet their handlers: order, batches, priorities, contexts, follow-ups, checkpoints, events."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.conditions import until
from support.messages import LABEL, contents, message, messages
from support.outcome import dead_letters

from memsched import (
    AsyncMemScheduler,
    Handler,
    HandlerContext,
    Middleware,
    ScheduleLogForWebItem,
    ScheduleMessageItem,
    SyncHandlerContext,
    TaskPriorityLevel,
)
from memsched.errors import InvalidMessage
from memsched.queue.delivery import Entry
from memsched.worker import reader
from memsched.worker.cycle import Cycle

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


async def started(make_scheduler: MakeScheduler, handlers: dict[str, Any], **settings: Any) -> AsyncMemScheduler:
    scheduler = make_scheduler(**settings)
    scheduler.register_handlers(handlers)
    await scheduler.start()
    return scheduler


async def test_a_cubes_messages_are_handled_in_order_whatever_the_load(make_scheduler: MakeScheduler) -> None:
    order: dict[str, list[int]] = defaultdict(list)
    busy: set[str] = set()

    async def handle(batch: Messages) -> None:
        (cube,) = {item.mem_cube_id for item in batch}
        assert cube not in busy
        busy.add(cube)
        await asyncio.sleep(0)
        order[cube] += [int(item.content) for item in batch]
        busy.discard(cube)

    scheduler = await started(make_scheduler, {LABEL: Handler(handle, batch_size=3, ordered=True)}, concurrency=4)
    for at in range(0, 200, 20):
        await scheduler.submit_messages(messages(200, cubes=7)[at : at + 20])
    await scheduler.wait(timeout=30)

    assert {cube: len(numbers) for cube, numbers in order.items()} == {
        f"cube-{cube}": len(range(cube, 200, 7)) for cube in range(7)
    }
    assert all(numbers == sorted(numbers) for numbers in order.values())


async def test_a_burst_that_waited_costs_one_call_up_to_the_limit(make_scheduler: MakeScheduler) -> None:
    sizes: list[int] = []
    producer = make_scheduler()
    await producer.submit_messages(messages(10, cubes=1))

    async def handle(batch: Messages) -> None:
        sizes.append(len(batch))

    await started(make_scheduler, {LABEL: Handler(handle, batch_size=4, ordered=True)})
    await producer.wait(timeout=30)

    assert sizes == [4, 4, 2]


async def test_messages_of_different_cubes_are_never_in_one_call(make_scheduler: MakeScheduler) -> None:
    cubes: list[set[tuple[str, str]]] = []

    async def handle(batch: Messages) -> None:
        cubes.append({(item.user_id, item.mem_cube_id) for item in batch})

    producer = make_scheduler()
    await producer.submit_messages([message(user=f"u{n % 3}", cube=f"c{n % 2}") for n in range(30)])
    await started(make_scheduler, {LABEL: handle})
    await producer.wait(timeout=30)

    assert all(len(found) == 1 for found in cubes)


async def test_while_all_levels_wait_they_are_handled_by_weight(make_scheduler: MakeScheduler) -> None:
    order: list[str] = []

    async def handle(batch: Messages) -> None:
        order.append(batch[0].label)

    levels = {"low": TaskPriorityLevel.LEVEL_3, "middle": TaskPriorityLevel.LEVEL_2, "high": TaskPriorityLevel.LEVEL_1}
    producer = make_scheduler()
    for label in levels:
        await producer.submit_messages(messages(84, label=label))
    handlers = {label: (handle, level, 60_000) for label, level in levels.items()}
    await started(make_scheduler, handlers, concurrency=1, prefetch_ms=0)
    await producer.wait(timeout=30)

    first = Counter(order[:63])
    assert first["high"] >= 40
    assert first["middle"] >= 8
    assert first["low"] >= 2, "the lowest level is slowed, never starved"
    assert len(order) == 3 * 84


async def test_a_full_label_does_not_keep_others_waiting(make_scheduler: MakeScheduler) -> None:
    quick: list[str] = []
    gate = asyncio.Event()

    async def slow(batch: Messages) -> None:
        await gate.wait()

    async def handle(batch: Messages) -> None:
        quick.append(batch[0].content)

    handlers = {"slow": Handler(slow, concurrency=1), "quick": Handler(handle, TaskPriorityLevel.LEVEL_1)}
    scheduler = await started(make_scheduler, handlers)
    await scheduler.submit_messages(messages(80, label="slow"))
    await until(lambda: held(scheduler, "slow"))
    await scheduler.submit_messages(messages(80, label="quick"))
    await until(lambda: len(quick) == 80, seconds=3)

    assert held(scheduler, "slow") == 1
    gate.set()
    await scheduler.wait(timeout=30)


async def test_a_worker_takes_no_more_of_many_lanes_than_it_may_start(make_scheduler: MakeScheduler) -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        await gate.wait()

    scheduler = await started(make_scheduler, {LABEL: Handler(handle, concurrency=2)}, partitions=16)
    await scheduler.submit_messages(messages(60, cubes=60))
    await until(lambda: held(scheduler, LABEL))
    await asyncio.sleep(0.2)

    assert held(scheduler, LABEL) == 2
    gate.set()
    await scheduler.wait(timeout=30)


def held(scheduler: AsyncMemScheduler, label: str) -> int:
    """How many messages of a label the worker in here owns."""
    assert scheduler._worker is not None
    return sum(delivery.lane.label == label for delivery in scheduler._worker.cycle.dispatcher.held.values())


async def test_a_flood_of_low_priority_does_not_keep_a_high_one_waiting(make_scheduler: MakeScheduler) -> None:
    order: list[str] = []

    async def handle(batch: Messages) -> None:
        order.append(batch[0].label)
        await asyncio.sleep(0.002)

    handlers = {
        "low": (handle, TaskPriorityLevel.LEVEL_3, 60_000),
        "high": (handle, TaskPriorityLevel.LEVEL_1, 60_000),
    }
    scheduler = await started(make_scheduler, handlers, concurrency=2)
    await scheduler.submit_messages(messages(400, label="low"))
    await until(lambda: len(order) > 20)

    at = len(order)
    await scheduler.submit_messages(message(label="high"))
    await until(lambda: "high" in order)

    assert order.index("high") - at < 120
    await scheduler.wait(timeout=30)


async def test_sync_handlers_run_beside_each_other_in_threads(make_scheduler: MakeScheduler) -> None:
    together = threading.Barrier(4)
    threads: set[str] = set()

    def handle(batch: Messages) -> None:
        together.wait(5)
        threads.add(threading.current_thread().name)

    scheduler = await started(make_scheduler, {LABEL: handle}, max_errors=0)
    await scheduler.submit_messages(messages(4))
    await scheduler.wait(timeout=30)

    assert len(threads) == 4
    assert threading.current_thread().name not in threads
    assert (await scheduler.get_tasks_status())["dead"] == 0


async def test_the_total_and_the_labels_concurrency_hold(make_scheduler: MakeScheduler) -> None:
    running, most = Counter[str](), Counter[str]()

    async def handle(batch: Messages) -> None:
        for name in (batch[0].label, "all"):
            running[name] += 1
            most[name] = max(most[name], running[name])
        await asyncio.sleep(0.005)
        for name in (batch[0].label, "all"):
            running[name] -= 1

    handlers = {"narrow": Handler(handle, concurrency=2), "wide": handle}
    scheduler = await started(make_scheduler, handlers, concurrency=6)
    await scheduler.submit_messages(messages(40, label="narrow") + messages(40, label="wide"))
    await scheduler.wait(timeout=30)

    assert most["narrow"] == 2
    assert 4 <= most["all"] <= 6


async def test_a_worker_reads_only_labels_it_has_handlers_for(make_scheduler: MakeScheduler) -> None:
    seen: Messages = []

    async def handle(batch: Messages) -> None:
        seen.extend(batch)

    scheduler = await started(make_scheduler, {"mine": handle})
    await scheduler.submit_messages([message("a", label="mine"), message("b", label="others")])
    await until(lambda: contents(seen) == ["a"])

    status = await scheduler.get_tasks_status()
    assert status["labels"]["others"]["remaining"] == 1
    assert status["labels"]["others"]["running"] == 0


# -- follow-ups ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_follow_ups_are_submitted_with_the_acknowledgement(make_scheduler: MakeScheduler, kind: str) -> None:
    seen: Messages = []
    during: list[int] = []
    gate = threading.Event()

    async def first(batch: Messages, ctx: HandlerContext) -> None:
        ctx.submit([message("then", label="second", task_id=item.item_id) for item in batch])
        during.append((await scheduler.get_tasks_status())["labels"].get("second", {}).get("backlog", 0))

    def first_in_thread(batch: Messages, ctx: SyncHandlerContext) -> None:
        ctx.submit([message("then", label="second", task_id=item.item_id) for item in batch])
        gate.wait(5)

    async def second(batch: Messages) -> None:
        seen.extend(batch)

    scheduler = await started(make_scheduler, {LABEL: first if kind == "async" else first_in_thread, "second": second})
    sent = message()
    await scheduler.submit_messages(sent)
    if kind == "sync":
        await until(lambda: scheduler.get_task_status(sent))
        during.append((await scheduler.get_tasks_status())["labels"]["second"]["backlog"])
        gate.set()
    await scheduler.wait(timeout=30)

    assert during == [0], "nothing before the handler has returned"
    assert [item.task_id for item in seen] == [sent.item_id]


async def test_a_call_that_fails_submits_nothing(make_scheduler: MakeScheduler) -> None:
    attempts: list[int] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        attempts.append(1)
        ctx.submit(message(label="effect"))
        if len(attempts) < 4:
            raise ValueError("not yet")

    scheduler = await started(make_scheduler, {LABEL: handle})
    await scheduler.submit_messages(message())
    await until(lambda: len(attempts) == 4)
    await until(lambda: _backlog_is(scheduler, LABEL, 0))

    assert (await scheduler.get_tasks_status())["labels"]["effect"]["backlog"] == 1


async def _backlog_is(scheduler: AsyncMemScheduler, label: str, count: int) -> bool:
    return bool((await scheduler.get_tasks_status())["labels"].get(label, {}).get("backlog", 0) == count)


async def test_a_follow_up_to_a_new_label_is_seen_by_the_status(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        ctx.submit(message(label="never heard of"))

    scheduler = await started(make_scheduler, {LABEL: handle})
    await scheduler.submit_messages(message())
    await until(lambda: _backlog_is(scheduler, LABEL, 0))

    assert (await scheduler.get_tasks_status())["labels"]["never heard of"]["backlog"] == 1


async def test_a_follow_up_may_wait(make_scheduler: MakeScheduler) -> None:
    times: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        times[batch[0].content] = loop.time()
        if batch[0].content == "first":
            ctx.submit(message("second"), delay_ms=200)

    scheduler = await started(make_scheduler, {LABEL: handle})
    await scheduler.submit_messages(message("first"))
    await scheduler.wait(timeout=30)

    assert times["second"] - times["first"] >= 0.2


async def test_a_follow_up_is_never_refused_for_a_full_lane(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        ctx.submit(messages(5, label="effect"))

    scheduler = await started(make_scheduler, {LABEL: handle}, max_backlog=2)
    await scheduler.submit_messages(message())
    await until(lambda: _backlog_is(scheduler, "effect", 5))


async def test_waiting_for_everything_includes_the_follow_ups(make_scheduler: MakeScheduler) -> None:
    handled: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        handled.append(batch[0].label)
        number = int(batch[0].content)
        if number:
            # Back and forth between two labels: whichever is looked at first, the other may hold it by then.
            ctx.submit(message(str(number - 1), label="b" if batch[0].label == "a" else "a"))

    for round_number in range(5):
        scheduler = await started(make_scheduler, {"a": handle, "b": handle})
        handled.clear()
        await scheduler.submit_messages(message("60", label="ab"[round_number % 2]))
        if round_number % 3 == 2:
            await scheduler.wait(user_id="alice", timeout=30)
        else:
            await scheduler.wait(timeout=30)
        assert len(handled) == 61
        await scheduler.stop()


# -- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_retried_message_goes_on_from_its_checkpoint(make_scheduler: MakeScheduler, kind: str) -> None:
    resumed: list[Any] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        resumed.append(ctx.resume)
        step = (ctx.resume or {"step": 0})["step"] + 1
        await ctx.checkpoint({"step": step, "text": "é\0"})
        if step < 3:
            raise ValueError("again")

    def handle_in_thread(batch: Messages, ctx: SyncHandlerContext) -> None:
        resumed.append(ctx.resume)
        step = (ctx.resume or {"step": 0})["step"] + 1
        ctx.checkpoint({"step": step, "text": "é\0"})
        if step < 3:
            raise ValueError("again")

    scheduler = await started(make_scheduler, {LABEL: handle if kind == "async" else handle_in_thread})
    await scheduler.submit_messages(message())
    await scheduler.wait(timeout=30)

    assert resumed == [None, {"step": 1, "text": "é\0"}, {"step": 2, "text": "é\0"}]


async def test_each_message_of_a_batch_resumes_on_its_own(make_scheduler: MakeScheduler) -> None:
    resumed: dict[str, list[Any]] = defaultdict(list)

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for item in batch:
            resumed[item.content].append(ctx.resume)
        if len(batch) > 1:
            await ctx.checkpoint("all")
            await ctx.checkpoint("only the second", batch[1])
            raise ValueError("again")
        assert len(batch) == 1

    scheduler = make_scheduler()
    await scheduler.submit_messages(messages(3, cubes=1))
    worker = await started(make_scheduler, {LABEL: Handler(handle, batch_size=32)})
    await worker.wait(timeout=30)

    assert resumed == {"0": [None, "all"], "1": [None, "only the second"], "2": [None, "all"]}


async def test_a_message_that_is_handed_back_goes_on_from_its_checkpoint(make_scheduler: MakeScheduler) -> None:
    resumed: list[Any] = []
    kept = asyncio.Event()

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        resumed.append(ctx.resume)
        if ctx.resume is None:
            await ctx.checkpoint([1, 2])
            kept.set()
            await asyncio.sleep(60)

    first = await started(make_scheduler, {LABEL: handle})
    await first.submit_messages(message())
    await kept.wait()
    await first.stop(grace_seconds=0)
    second = await started(make_scheduler, {LABEL: handle})
    await second.wait(timeout=30)

    assert resumed == [None, [1, 2]]


# -- events ----------------------------------------------------------------------------------------------------------


async def test_events_are_kept_in_order_and_bounded(make_scheduler: MakeScheduler) -> None:
    def event(text: str) -> ScheduleLogForWebItem:
        return ScheduleLogForWebItem(
            user_id="alice",
            mem_cube_id="home",
            label=LABEL,
            from_memory_type="LongTermMemory",
            to_memory_type="WorkingMemory",
            log_content=text,
            metadata={"score": 0.5},
        )

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        for number in range(20):
            ctx.log(event(str(number)))

    scheduler = await started(make_scheduler, {LABEL: handle}, events_maxlen=5)
    await scheduler.submit_messages(message())
    await scheduler.wait(timeout=30)
    await until(lambda: scheduler.get_web_log_messages(3))

    async def last() -> list[str]:
        return [item.log_content for item in await scheduler.get_web_log_messages(3)]

    await until(lambda: last_is(last, ["17", "18", "19"]))
    (newest,) = await scheduler.get_web_log_messages(1)
    assert newest.metadata == {"score": 0.5}
    assert newest.memory_capacities["working_memory_capacity"] == 20


async def last_is(last: Callable[[], Any], wanted: list[str]) -> bool:
    return bool(await last() == wanted)


# -- several workers ---------------------------------------------------------------------------------------------------


async def test_several_workers_share_the_work_and_none_is_done_twice(make_scheduler: MakeScheduler) -> None:
    done: Counter[str] = Counter()
    who: Counter[int] = Counter()

    def handler_of(number: int) -> Any:
        async def handle(batch: Messages) -> None:
            who[number] += len(batch)
            for item in batch:
                done[item.content] += 1
            await asyncio.sleep(0.002)

        return handle

    producer = make_scheduler()
    await producer.submit_messages(messages(300, cubes=100))
    for number in range(3):
        await started(make_scheduler, {LABEL: handler_of(number)}, concurrency=4)
    await producer.wait(timeout=30)

    assert len(done) == 300
    assert set(done.values()) == {1}
    assert len(who) == 3


class Noted(Middleware):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before(self, batch: Messages) -> None:
        TRACE.set(batch[0].trace_id)
        self.seen.append("before")

    async def after(self, batch: Messages) -> None:
        await asyncio.sleep(0)
        self.seen.append(("after", TRACE.get()))

    def failed(self, batch: Messages, error: BaseException) -> None:
        self.seen.append(("failed", str(error)))
        sys.exit("a hook harms nobody")

    async def dead(self, item: ScheduleMessageItem, reason: str, error: str) -> None:
        self.seen.append(("dead", reason, item.content))
        raise ValueError("nor does this one")


TRACE: contextvars.ContextVar[str | None] = contextvars.ContextVar("TRACE", default=None)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_middleware_sees_each_call_and_harms_none(make_scheduler: MakeScheduler, kind: str) -> None:
    traces: list[str | None] = []

    def work(batch: Messages) -> None:
        traces.append(TRACE.get())
        if batch[0].content == "bad":
            raise ValueError("no")

    async def work_on_loop(batch: Messages) -> None:
        work(batch)

    noted = Noted()
    scheduler = make_scheduler(max_errors=0)
    scheduler.add_middleware(noted)
    scheduler.register_handlers({LABEL: work if kind == "sync" else work_on_loop})
    await scheduler.start()
    await scheduler.submit_messages(message("good", trace_id="trace of good"))
    await scheduler.wait(timeout=30)
    await scheduler.submit_messages(message("bad"))
    await scheduler.wait(timeout=30)
    await until(lambda: len(noted.seen) == 5)

    after_good = ["before", ("after", "trace of good")]
    assert noted.seen == [*after_good, "before", ("failed", "no"), ("dead", "errors", "bad")]
    assert traces == ["trace of good", None]


async def test_large_messages_are_read_a_few_at_a_time(
    make_scheduler: MakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_CHARACTERS_AT_ONCE", 16_000)
    at_once: list[int] = []

    async def handle(batch: Messages) -> None: ...

    producer = make_scheduler()
    await producer.submit_messages([message("x" * 4000, user=f"u{number}") for number in range(60)])
    scheduler = make_scheduler()
    scheduler.register_handlers({LABEL: handle})
    received = Cycle._received

    def note(cycle: Cycle, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        at_once.extend([len(entries)] if entries else [])
        received(cycle, entries)

    monkeypatch.setattr(Cycle, "_received", note)
    await scheduler.start()
    await producer.wait(timeout=30)

    assert sum(at_once) == 60
    assert at_once[0] <= 16
    assert max(at_once[1:]) <= 4


async def test_a_message_above_the_limit_is_refused_wherever_it_is_submitted(make_scheduler: MakeScheduler) -> None:
    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        ctx.submit(message("x" * 2000, label="next"))

    scheduler = await started(make_scheduler, {LABEL: handle}, max_message_bytes=2000, max_errors=0)
    with pytest.raises(InvalidMessage, match=r"the limit is 2,000 \(MEMSCHED_MAX_MESSAGE_BYTES\)"):
        await scheduler.submit_messages(message("x" * 2000))
    await scheduler.submit_messages(message("small"))
    await scheduler.wait(timeout=30)

    (letter,) = await dead_letters(scheduler)
    assert "MEMSCHED_MAX_MESSAGE_BYTES" in letter.error


async def test_what_has_expired_when_its_turn_comes_is_a_dead_letter(make_scheduler: MakeScheduler) -> None:
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(contents(batch))

    now = datetime.now()  # noqa: DTZ005 -- a naive one is local time
    scheduler = await started(make_scheduler, {LABEL: Handler(handle, batch_size=8, ordered=True)})
    await scheduler.submit_messages(message("past", expires_at=now - timedelta(hours=1)))
    await scheduler.submit_messages(message("promoted", expires_at=now + timedelta(seconds=0.1)), delay=0.3)
    await scheduler.submit_messages(message("in time", expires_at=now + timedelta(hours=1)))
    await scheduler.wait(timeout=30)

    letters = await dead_letters(scheduler)
    assert {(letter.fields["content"], letter.reason) for letter in letters} == {
        ("past", "expired"),
        ("promoted", "expired"),
    }
    assert done == ["in time"]
