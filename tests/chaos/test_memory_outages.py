"""The vector store is gone for a while, or dies in the middle: messages wait, and are done afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until
from support.crew import Crew
from support.memories import found, idle, memories_of, said, snapshot, texts_of
from support.outcome import dead_letters
from support.processes import free_port
from support.proxy import Proxy

from memsched import AsyncMemScheduler
from memsched.embedded.vector_server import ensure_vector_server, release_vector_server, vector_server_pid

OUTAGE_SECONDS = float(os.environ.get("CHAOS_OUTAGE_SECONDS") or 3)
"""CHAOS_OUTAGE_SECONDS=30 for the long form."""
pytestmark = [pytest.mark.timeout(90 + OUTAGE_SECONDS), pytest.mark.alone]

Schedulers = Callable[..., AsyncMemScheduler]
COUNT = 40


@pytest.fixture
async def proxy(vector_folder: str) -> AsyncIterator[Proxy]:
    """A store at a TCP port, like a Qdrant server; it is not there yet."""
    proxy = Proxy(free_port(), lambda: ensure_vector_server(vector_folder))
    yield proxy
    await proxy.close()


def facts(first: int, count: int) -> list[Any]:
    return [
        said(f"Guest number {number} sleeps in room {number + 100}.", number, item_id=f"g{number}")
        for number in range(first, first + count)
    ]


async def test_messages_wait_for_a_store_that_is_not_there_and_are_done_afterwards(
    proxy: Proxy, memory_schedulers: Schedulers
) -> None:
    at_port = {"qdrant_url": f"http://127.0.0.1:{proxy.port}", "store_timeout_seconds": 1.0, "store_retries": 1}
    scheduler = memory_schedulers(**at_port, store_retry_after_seconds=0.3, max_errors=0)
    await scheduler.start()

    # given an outage that begins before the first message, and goes on
    began = time.monotonic()
    await scheduler.submit_messages([*facts(0, COUNT), said("Who sleeps in room 103?", 90, "query")])
    while time.monotonic() < began + OUTAGE_SECONDS:
        status = await scheduler.read_status()
        assert status.labels["add"].backlog == COUNT
        assert status.total.dead == 0
        await asyncio.sleep(0.2)

    # when the store is there
    await proxy.open()
    await idle(scheduler)

    # then everything is done, and nothing was given up
    assert await dead_letters(scheduler) == []
    assert len(await memories_of(scheduler)) == COUNT
    assert "Guest number 3 sleeps in room 103." in await texts_of(scheduler)
    print(f"outage of {time.monotonic() - began:.1f} s: {COUNT} of {COUNT} messages done afterwards, none dead")


async def test_an_outage_in_the_middle_loses_nothing(proxy: Proxy, memory_schedulers: Schedulers) -> None:
    at_port = {"qdrant_url": f"http://127.0.0.1:{proxy.port}", "store_timeout_seconds": 1.0, "store_retries": 0}
    scheduler = memory_schedulers(**at_port, store_retry_after_seconds=0.1, max_errors=0, batch_size=2)
    await proxy.open()
    await scheduler.start()
    for part in range(4):
        await scheduler.submit_messages(facts(part * COUNT, COUNT))
        await until(lambda enough=part * COUNT: _more_than(scheduler, enough), "the worker to be in the middle")
        await proxy.close()
        await asyncio.sleep(0.2)
        await proxy.open()
    await idle(scheduler)

    assert await dead_letters(scheduler) == []
    memories = await memories_of(scheduler)
    assert len({memory.text for memory in memories}) == len(memories) == 4 * COUNT
    assert (await snapshot(scheduler)).words["guest"] == 4 * COUNT


async def test_the_vector_process_is_killed_again_and_again_in_the_middle_of_work(
    crews: Callable[..., Crew], memory_place: dict[str, Any], memory_schedulers: Schedulers, tmp_path: Path
) -> None:
    folder = str(tmp_path / "own")
    ensure_vector_server(folder)
    place = {**memory_place, "qdrant_url": f"embedded://{folder}", "batch_size": 2}
    url = place.pop("redis_url")
    crew = crews(url, **{**place, "app": "", "max_errors": 5})
    scheduler = memory_schedulers(qdrant_url=f"embedded://{folder}")
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2, "the workers to start")
    try:
        for part in range(4):
            await scheduler.submit_messages(facts(part * COUNT, COUNT))
            await until(lambda enough=part * COUNT: _more_than(scheduler, enough), "the workers to be in the middle")
            if pid := vector_server_pid(folder):
                os.kill(pid, signal.SIGKILL)
            if part == 1:
                crew.workers() and os.kill(crew.workers()[0], signal.SIGKILL)
        await idle(scheduler)

        assert await dead_letters(scheduler) == []
        memories = await memories_of(scheduler)
        assert len({memory.text for memory in memories}) == len(memories) == 4 * COUNT
        assert (await snapshot(scheduler)).words["guest"] == 4 * COUNT
        assert "Guest number 7 sleeps in room 107." in await found(scheduler, "guest number 7")
    finally:
        release_vector_server(folder)


async def _more_than(scheduler: AsyncMemScheduler, enough: int) -> bool:
    """Looked up in Redis, since the vector process may be away."""
    server = await scheduler.server()
    counted = await server.execute("HGET", scheduler.keys.cube("alice", "home").terms, "#")
    return int(counted or 0) > enough
