"""The dispatcher alone: deliveries in, calls of handlers, their outcomes out. No server anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.deliveries import contents, delivery
from support.dispatching import Bench

from memsched import (
    CallEnded,
    Handler,
    HandlerContext,
    HandlerTimeout,
    LeaseLost,
    SyncHandlerContext,
    TaskPriorityLevel,
)
from memsched.errors import HandlersStuck
from memsched.messages import ScheduleMessageItem
from memsched.queue.delivery import Delivery
from memsched.worker import dispatcher as dispatcher_module
from memsched.worker.call import CallResult

Messages = list[ScheduleMessageItem]


async def test_a_cubes_burst_is_one_call_in_order() -> None:
    calls: list[list[str]] = []

    async def handle(batch: Messages) -> None:
        calls.append([one.content for one in batch])

    bench = Bench({"task": Handler(handle, batch_size=32)})
    bench.give(*(delivery(str(number)) for number in range(5)))
    (call,) = await bench.ended(1)

    assert calls == [["0", "1", "2", "3", "4"]]
    assert call.result is CallResult.DONE
    assert bench.changes > 0


async def test_a_cube_never_runs_twice_at_the_same_time() -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def handle(batch: Messages) -> None:
        cube = batch[0].mem_cube_id
        running[cube] += 1
        most[cube] = max(most[cube], running[cube])
        await asyncio.sleep(0.001)
        running[cube] -= 1

    bench = Bench({"task": Handler(handle, ordered=True)})
    bench.give(*(delivery(str(number), cube=f"cube-{number % 3}") for number in range(30)))
    await bench.ended(30)

    assert most == {"cube-0": 1, "cube-1": 1, "cube-2": 1}


async def test_the_same_cube_may_run_under_two_labels() -> None:
    both = asyncio.Barrier(2)

    async def handle(batch: Messages) -> None:
        await asyncio.wait_for(both.wait(), 5)

    bench = Bench({"one": handle, "two": handle})
    bench.give(delivery(label="one"), delivery(label="two"))

    assert [call.result for call in await bench.ended(2)] == [CallResult.DONE, CallResult.DONE]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_no_more_calls_run_than_the_limits_allow(kind: str) -> None:
    lock = threading.Lock()
    running, most = Counter[str](), Counter[str]()

    def enter(label: str) -> None:
        with lock:
            running[label] += 1
            running["all"] += 1
            most[label] = max(most[label], running[label])
            most["all"] = max(most["all"], running["all"])

    def leave(label: str) -> None:
        with lock:
            running[label] -= 1
            running["all"] -= 1

    async def handle(batch: Messages) -> None:
        enter(batch[0].label)
        await asyncio.sleep(0.002)
        leave(batch[0].label)

    def handle_in_thread(batch: Messages) -> None:
        enter(batch[0].label)
        threading.Event().wait(0.002)
        leave(batch[0].label)

    function = handle if kind == "async" else handle_in_thread
    bench = Bench({"one": Handler(function, concurrency=2), "two": function}, concurrency=5, label_concurrency=4)
    bench.give(*(delivery(label=label, cube=str(number)) for label in ("one", "two") for number in range(20)))
    await bench.ended(40)

    assert most["one"] == 2
    assert most["two"] <= 4
    assert most["all"] == 5


async def test_higher_levels_start_first_and_lower_ones_are_not_starved() -> None:
    order: list[str] = []

    async def handle(batch: Messages) -> None:
        order.append(batch[0].label)

    levels = {"high": TaskPriorityLevel.LEVEL_1, "middle": TaskPriorityLevel.LEVEL_2, "low": TaskPriorityLevel.LEVEL_3}
    bench = Bench({label: Handler(handle, level) for label, level in levels.items()}, concurrency=1)
    bench.give(
        *(delivery(label=label, cube=str(number)) for number in range(40) for label in ("low", "middle", "high"))
    )
    await bench.ended(120)

    assert order[0] == "high"
    assert Counter(order[:21]) == {"high": 16, "middle": 4, "low": 1}


async def test_a_message_with_a_past_is_begun_and_gets_its_checkpoint() -> None:
    resumed: list[Any] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        resumed.append(ctx.resume)

    bench = Bench({"task": handle})
    bench.give(delivery("new"), delivery("old", owner="dead"))
    await bench.ended(2)

    assert resumed == [None, {"step": 1}]
    assert contents(bench.begun) == ["old"]


async def test_a_message_that_was_lost_before_it_began_is_not_run() -> None:
    called: list[str] = []

    async def handle(batch: Messages) -> None:
        called.append(batch[0].content)

    bench = Bench({"task": handle})
    bench.ours = False
    bench.give(delivery(owner="dead"))
    (call,) = await bench.ended(1)

    assert called == []
    assert call.result is CallResult.LOST


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(1), StopIteration(), asyncio.CancelledError(), KeyError(), GeneratorExit()]
)
async def test_whatever_a_handler_raises_is_an_error_of_its_own(kind: str, error: BaseException) -> None:
    async def handle(batch: Messages) -> None:
        raise error

    def handle_in_thread(batch: Messages) -> None:
        raise error

    bench = Bench({"task": handle if kind == "async" else handle_in_thread})
    bench.give(delivery())
    (call,) = await bench.ended(1)

    assert call.result is CallResult.ERROR
    assert call.error is not None
    assert bench.dispatcher.running() == []


async def test_a_handler_that_waits_for_something_cancelled_has_failed() -> None:
    async def handle(batch: Messages) -> None:
        inner = asyncio.ensure_future(asyncio.sleep(60))
        inner.cancel()
        await inner

    bench = Bench({"task": handle})
    bench.give(delivery())
    (call,) = await bench.ended(1)

    assert call.result is CallResult.ERROR


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_call_that_runs_too_long_is_a_timeout(kind: str) -> None:
    release = threading.Event()

    async def handle(batch: Messages) -> None:
        await asyncio.sleep(60)

    def handle_in_thread(batch: Messages) -> None:
        release.wait(60)

    bench = Bench({"task": Handler(handle if kind == "async" else handle_in_thread, timeout_seconds=0.05)})
    bench.give(delivery())
    (call,) = await bench.ended(1)
    release.set()

    assert call.result is CallResult.TIMEOUT
    assert isinstance(call.error, HandlerTimeout)


async def test_an_outage_before_the_handler_begins_is_not_the_handlers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench({"task": Handler(lambda batch: None, timeout_seconds=0.05)})
    server_is_back = asyncio.Event()
    monkeypatch.setattr(bench.dispatcher, "_begin", lambda _: server_is_back.wait())
    bench.give(delivery(owner="dead"))
    await asyncio.sleep(0.1)

    assert 0 < bench.dispatcher.watch() <= 0.05  # it may begin at any moment
    assert bench.dispatcher.take_ended() == []

    server_is_back.set()
    (call,) = await bench.ended(1)
    assert call.result is CallResult.DONE


async def test_what_goes_on_after_its_call_is_refused_by_the_context() -> None:
    release, said = threading.Event(), []

    def handle(batch: Messages, ctx: SyncHandlerContext) -> None:
        release.wait(10)
        try:
            ctx.submit(batch)
        except CallEnded as error:
            said.append(error)

    def leaves_a_thread(batch: Messages, ctx: SyncHandlerContext) -> None:
        threading.Thread(target=handle, args=(batch, ctx)).start()

    bench = Bench({"late": Handler(handle, timeout_seconds=0.05), "left": leaves_a_thread})
    bench.give(delivery(label="late"), delivery(label="left"))
    await bench.ended(2)
    release.set()

    await until(lambda: len(said) == 2, "both to be refused")


async def test_a_thread_that_runs_too_long_keeps_its_place_and_neither_its_label_nor_its_cube() -> None:
    release, calls = threading.Event(), []

    def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        if batch[0].content.startswith("slow"):
            release.wait(10)

    handler = Handler(handle, timeout_seconds=0.05, concurrency=1, ordered=True)
    bench = Bench({"task": handler}, concurrency=2)
    bench.give(delivery("slow"))
    await bench.ended(1)
    bench.give(delivery("same cube"), delivery("slow too"))
    await bench.ended(3)
    bench.give(delivery("no place"))
    while_stuck = list(calls)
    release.set()
    await bench.ended(4)

    assert while_stuck == ["slow", "same cube", "slow too"]
    assert calls[-1] == "no place"


async def test_more_stuck_handlers_than_half_of_the_places_are_the_end_of_their_worker() -> None:
    release = threading.Event()

    def handle(batch: Messages) -> None:
        release.wait(10)

    bench = Bench({"task": Handler(handle, timeout_seconds=0.05)}, concurrency=4)
    watch = asyncio.create_task(bench.dispatcher.until_too_many_are_stuck())
    bench.give(delivery(), delivery())
    await bench.ended(2)
    half = watch.done()
    bench.give(delivery())
    await bench.ended(3)

    assert not half
    with pytest.raises(HandlersStuck, match="3 of 4 places"):
        await asyncio.wait_for(watch, 5)
    release.set()


async def test_a_handler_that_ignores_its_cancellation_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "_UNWIND_SECONDS", 0.05)
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    bench = Bench({"task": Handler(handle, timeout_seconds=0.05, concurrency=1)})
    bench.give(delivery())
    (call,) = await bench.ended(1)
    reported_while_stuck = (call.result, call.task is not None and call.task.done())
    bench.give(delivery("next", cube="next"))
    gate.set()
    *_, after = await bench.ended(2)

    assert reported_while_stuck == (CallResult.TIMEOUT, False)
    assert (after.deliveries[0].message.content, after.result) == ("next", CallResult.DONE)


async def test_no_limit_means_no_limit() -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        await gate.wait()

    bench = Bench({"task": Handler(handle, timeout_seconds=0)})
    bench.give(delivery())

    assert bench.dispatcher.watch() == float("inf")
    gate.set()
    await bench.ended(1)


async def test_a_message_that_was_lost_while_it_ran_is_cancelled_and_not_reported_as_ours() -> None:
    begun, cleaned = asyncio.Event(), []

    async def handle(batch: Messages) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    bench = Bench({"task": Handler(handle, batch_size=2)})
    lost, kept = delivery("lost"), delivery("kept")
    bench.give(lost, kept)
    await begun.wait()
    bench.dispatcher.lose([lost])
    (call,) = await bench.ended(1)

    assert cleaned == [True]
    assert call.result is CallResult.LOST
    assert contents(call.kept) == ["kept"]
    assert list(bench.dispatcher.held.values()) == [kept]


async def test_a_message_that_was_lost_while_it_waited_never_starts() -> None:
    calls, gate = [], asyncio.Event()

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        await gate.wait()

    bench = Bench({"task": Handler(handle, ordered=True)})
    waiting = delivery("2")
    bench.give(delivery("1"), waiting, delivery("3"))
    await until(lambda: calls == ["1"])
    bench.dispatcher.lose([waiting])
    gate.set()
    await bench.ended(2)

    assert calls == ["1", "3"]


async def test_a_message_that_came_back_runs_anew_after_the_first_call_was_cancelled() -> None:
    calls: list[str] = []

    async def handle(batch: Messages) -> None:
        calls.append("begun")
        if len(calls) == 1:
            await asyncio.sleep(60)

    bench = Bench({"task": handle})
    first = delivery("same")
    bench.give(first)
    await until(lambda: calls)
    again = delivery("same", owner="thief")
    again.entry_id = first.entry_id
    bench.give(again)
    all_ended = await bench.ended(2)

    assert [call.result for call in all_ended] == [CallResult.LOST, CallResult.DONE]
    assert all_ended[0].kept == []


async def test_a_context_refuses_what_was_lost() -> None:
    refused: list[str] = []
    holder: list[Delivery] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        holder[0].lost = True
        for attempt in (ctx.checkpoint({"n": 1}), ctx.renew()):
            try:
                await attempt
            except LeaseLost as error:
                refused.append(error.item_id)
        assert ctx.lost

    bench = Bench({"task": handle})
    holder.append(delivery())
    bench.give(holder[0])
    await bench.ended(1)

    assert refused == [holder[0].message.item_id] * 2
    assert bench.kept == []


async def test_a_sync_handler_has_the_same_context_and_blocks_on_it() -> None:
    def handle(batch: Messages, ctx: Any) -> None:
        ctx.checkpoint({"step": 2})
        ctx.checkpoint([1], batch[1])
        ctx.renew()
        assert ctx.deadline is not None

    bench = Bench({"task": Handler(handle, batch_size=2)})
    bench.give(delivery("a"), delivery("b"))
    (call,) = await bench.ended(1)

    assert call.result is CallResult.DONE
    assert bench.kept == [(["a", "b"], '{"step": 2}'), (["b"], "[1]"), (["a", "b"], "renewed")]


class AsyncCallable:
    async def __call__(self, batch: Messages) -> None:
        await asyncio.sleep(0)
        CALLED.append("async callable")


class SyncCallable:
    def __call__(self, batch: Messages, ctx: HandlerContext) -> None:
        CALLED.append(f"sync callable {ctx.resume}")


CALLED: list[str] = []


async def awaited(batch: Messages) -> None:
    await asyncio.sleep(0)
    CALLED.append("awaited")


def with_default(batch: Messages, ctx: Any = None, *, verbose: bool = False) -> None:
    CALLED.append(f"with default {type(ctx).__name__}")


def with_keywords(batch: Messages, **more: Any) -> None:
    CALLED.append(f"with keywords {more}")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (AsyncCallable(), "async callable"),
        (SyncCallable(), "sync callable None"),
        (lambda batch: awaited(batch), "awaited"),
        (with_default, "with default SyncHandlerContext"),
        (with_keywords, "with keywords {}"),
    ],
)
async def test_anything_that_can_be_called_is_a_handler(function: Callable[..., Any], said: str) -> None:
    CALLED.clear()
    bench = Bench({"task": function})
    bench.give(delivery())
    (call,) = await bench.ended(1)

    assert call.result is CallResult.DONE, call.error
    assert [said] == CALLED


async def test_what_one_call_puts_in_its_context_does_not_reach_the_next() -> None:
    marked: contextvars.ContextVar[str] = contextvars.ContextVar("marked", default="clean")
    seen: list[str] = []

    async def handle(batch: Messages) -> None:
        seen.append(marked.get())
        marked.set("dirty")

    bench = Bench({"task": handle}, concurrency=1)
    bench.give(*(delivery(str(number)) for number in range(3)))
    await bench.ended(3)

    assert seen == ["clean"] * 3


async def test_room_counts_everything_that_is_held_but_what_leaves_with_the_next_round_trip() -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        await gate.wait()

    bench = Bench({"task": handle}, concurrency=8, prefetch_ms=0)
    given = [delivery(str(number)) for number in range(6)]
    before = bench.dispatcher.room
    bench.give(*given)
    during = bench.dispatcher.room
    gate.set()
    await asyncio.sleep(0.01)
    ended = bench.dispatcher.room
    await bench.ended(1)
    leaving = bench.dispatcher.room
    bench.dispatcher.reports_sent()
    needs_another = bench.dispatcher.room
    bench.dispatcher.drop(given)

    assert (before, during, ended, leaving, needs_another, bench.dispatcher.room) == (8, 2, 2, 8, 2, 8)


async def test_what_waits_for_its_own_cube_takes_no_room_from_others() -> None:
    gate = asyncio.Event()

    async def handle(batch: Messages) -> None:
        await gate.wait()

    bench = Bench({"ordered": Handler(handle, ordered=True), "few": Handler(handle, concurrency=2)}, concurrency=8)
    bench.give(*(delivery(str(number), label="ordered") for number in range(5)))
    behind_one_cube = (bench.dispatcher.room_of("ordered"), bench.dispatcher.room)
    bench.give(*(delivery(str(number), label="few") for number in range(3)))

    assert behind_one_cube == (7, 7)
    assert (bench.dispatcher.room_of("few"), bench.dispatcher.room_of("ordered"), bench.dispatcher.room) == (-1, 7, 5)
    gate.set()
    await bench.ended(8)


async def test_emptying_the_buffers_gives_what_waits_and_lets_go_on_what_runs() -> None:
    gate, calls = asyncio.Event(), []

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        await gate.wait()

    bench = Bench({"task": Handler(handle, ordered=True)})
    bench.give(delivery("runs"), delivery("waits"), delivery("waits too"))
    await until(lambda: calls)
    waiting = bench.dispatcher.empty_buffers()
    gate.set()
    (call,) = await bench.ended(1)

    assert contents(waiting) == ["waits", "waits too"]
    assert call.result is CallResult.DONE
    assert calls == ["runs"]


async def test_at_the_end_of_the_grace_time_calls_are_handed_back() -> None:
    async def handle(batch: Messages) -> None:
        await asyncio.sleep(60)

    bench = Bench({"task": handle})
    bench.give(delivery())
    await asyncio.sleep(0)
    bench.dispatcher.cancel_all()
    (call,) = await bench.ended(1)

    assert call.result is CallResult.SHUTDOWN
