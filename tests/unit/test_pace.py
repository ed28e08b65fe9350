"""Long work on the loop lets others run in between; short work does not wait."""

from __future__ import annotations

import asyncio
import threading
import time

from memsched.pace import Pace, beside_the_loop


async def test_others_run_between_the_slices_of_long_work_and_not_before() -> None:
    ran: list[float] = []

    async def other() -> None:
        while True:
            ran.append(time.perf_counter())
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    pace = Pace()
    for _ in range(3):
        await pace.rest()
    assert not ran

    for _ in range(5):
        time.sleep(0.025)
        await pace.rest()
    task.cancel()

    assert len(ran) == 5


async def test_what_is_much_is_computed_in_a_thread_and_what_is_little_here() -> None:
    here = threading.get_ident()

    assert await beside_the_loop(100, threading.get_ident) == here
    assert await beside_the_loop(1_000_000, threading.get_ident) != here
