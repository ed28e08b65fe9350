"""Suspected poison messages: they run in isolation, so that the one that kills its worker is found out."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.conditions import until
from support.deliveries import delivery
from support.dispatching import Bench

from memsched import Handler
from memsched.messages import ScheduleMessageItem
from memsched.worker.call import CallResult

Messages = list[ScheduleMessageItem]


async def test_suspects_run_one_at_a_time_and_nothing_starts_beside_one_on_probation() -> None:
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
    gate.set()
    all_ended = await bench.ended(13, told=True)

    assert at_first == ["suspect"]
    assert most == [1]
    assert all(call.result is CallResult.DONE for call in all_ended)


async def test_a_suspect_that_has_run_for_a_while_lets_the_next_start_but_not_one_that_needs_isolation() -> None:
    gate, calls = asyncio.Event(), []

    async def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        await gate.wait()

    bench = Bench({"task": handle})
    bench.give(
        *(
            delivery(name, cube=name, claims=claims, owner="dead")
            for name, claims in (("first", 2), ("second", 4), ("isolated", 102))
        )
    )
    await until(lambda: calls)
    before = list(calls)
    waiting = bench.dispatcher.probation
    assert waiting is not None
    bench.dispatcher.end_probation(waiting[0])
    await until(lambda: len(calls) == 2)
    beside = (list(calls), [call.alone for call in bench.dispatcher.running()])
    gate.set()
    await bench.ended(3, told=True)

    assert before == ["first"]
    assert beside[0] == ["first", "second"]
    assert sorted(beside[1]) == [False, True]
    assert calls[-1] == "isolated"


@pytest.mark.parametrize("claims", [2, 102])
async def test_a_stuck_suspect_does_not_hold_up_the_other_suspects(claims: int) -> None:
    release, calls = threading.Event(), []

    def handle(batch: Messages) -> None:
        calls.append(batch[0].content)
        if batch[0].content == "stuck":
            release.wait(10)

    bench = Bench({"task": Handler(handle, timeout_seconds=0.05)}, concurrency=4)
    bench.give(
        delivery("stuck", claims=claims, owner="dead"), delivery("next", cube="next", claims=claims, owner="dead")
    )
    all_ended = await bench.ended(2, told=True)
    release.set()

    assert sorted(calls) == ["next", "stuck"]
    assert [call.result for call in all_ended] == [CallResult.TIMEOUT, CallResult.DONE]
