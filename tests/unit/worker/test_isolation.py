"""Suspected poison messages: they run in isolation, so that the one that kills its worker is found out."""

from __future__ import annotations

import asyncio
import threading

from support.conditions import until
from support.deliveries import delivery
from support.dispatching import Bench

from memsched import Handler
from memsched.messages import ScheduleMessageItem
from memsched.worker.call import CallResult

Messages = list[ScheduleMessageItem]


async def test_trials_run_one_at_a_time_and_nothing_starts_beside_one_in_its_first_moments() -> None:
    gate, running, most, calls = asyncio.Event(), [0], [0], []

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        if batch[0].content != "suspect":
            return
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.wait_for(gate.wait(), 5)
        running[0] -= 1

    bench = Bench({"task": handle})
    bench.give(
        *(delivery("suspect", cube=f"s{number}", claims=2, owner="dead") for number in range(3)),
        *(delivery("innocent", cube=f"i{number}") for number in range(10)),
    )
    await until(lambda: running[0] == 1)
    at_first = list(calls)
    (on_trial,) = bench.dispatcher.running()
    bench.dispatcher.mark(on_trial.deliveries)
    await until(lambda: calls.count("innocent") == 10, "the others to start beside one that has run for a while")
    gate.set()
    all_ended = await bench.ended(13, told=True)

    assert at_first == ["suspect"]
    assert most == [1]
    assert all(call.result is CallResult.DONE for call in all_ended)


async def test_a_trial_does_not_start_beside_what_has_just_started_and_nothing_gets_before_it() -> None:
    gate, calls = asyncio.Event(), []

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        await gate.wait()

    bench = Bench({"task": handle})
    bench.give(delivery("before", cube="before"), delivery("suspect", cube="s", claims=2, owner="dead"))
    bench.give(*(delivery("newcomer", cube=f"n{number}") for number in range(3)))
    await until(lambda: calls)
    at_first = list(calls)
    (running,) = bench.dispatcher.running()
    bench.dispatcher.mark(running.deliveries)
    await until(lambda: len(calls) == 2)
    then = list(calls)
    gate.set()
    await bench.ended(5, told=True)

    assert at_first == ["before"]
    assert then == ["before", "suspect"]


async def test_what_crashed_but_has_more_than_one_crash_left_runs_beside_others() -> None:
    gate, calls = asyncio.Event(), []

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        await gate.wait()

    bench = Bench({"task": handle}, max_crashes=3)
    bench.give(*(delivery(str(number), cube=str(number), claims=2, owner="dead") for number in range(8)))
    await until(lambda: len(calls) == 8)
    gate.set()
    await bench.ended(8, told=True)


async def test_a_trial_that_went_to_another_worker_while_it_waited_holds_nobody_up() -> None:
    gate, calls = asyncio.Event(), []

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        await gate.wait()

    bench, suspect = Bench({"task": handle}), delivery("suspect", cube="s", claims=2, owner="dead")
    bench.give(delivery("before", cube="before"), suspect, delivery("after", cube="after"))
    await until(lambda: calls)
    bench.dispatcher.lose([suspect])
    await until(lambda: calls == ["before", "after"])
    gate.set()
    await bench.ended(2, told=True)


async def test_a_stuck_trial_does_not_hold_up_the_others() -> None:
    release, calls = threading.Event(), []

    def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        if batch[0].content == "stuck":
            release.wait(10)

    bench = Bench({"task": Handler(handle, timeout_seconds=0.05)}, concurrency=4)
    bench.give(delivery("stuck", claims=2, owner="dead"), delivery("next", cube="next", claims=2, owner="dead"))
    all_ended = await bench.ended(2, told=True)
    release.set()

    assert sorted(calls) == ["next", "stuck"]
    assert [call.result for call in all_ended] == [CallResult.TIMEOUT, CallResult.DONE]
