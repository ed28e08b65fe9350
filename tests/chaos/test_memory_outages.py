"""The vector store or the model is gone for a while, or dies in the middle: messages wait, and are done afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until
from support.crew import Crew
from support.llm import FakeLLM, drops, fails, reads_facts
from support.memories import found, idle, left_of, memories_of, said, snapshot, texts_of, without_working
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


@pytest.mark.long
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


@pytest.mark.long
async def test_what_a_model_that_is_away_cannot_read_is_read_once_whoever_dies_meanwhile(
    crews: Callable[..., Crew],
    memory_place: dict[str, Any],
    memory_schedulers: Schedulers,
    chance: random.Random,
) -> None:
    scheduler, conversations = memory_schedulers(), facts(0, 32)
    secrets = [said(f"The zyzzogeton sings in cellar {number}.", 60 + number) for number in range(4)]
    place = {name: value for name, value in memory_place.items() if name != "redis_url"}
    with FakeLLM(drops()) as model:
        llm = {"llm_model": "fake", "llm_base_url": model.url, "llm_api_key": "none", "llm_max_retries": 0}
        soon = {"llm_put_off_seconds": 0.3, "llm_breaker_seconds": 0.1}
        crew = crews(memory_place["redis_url"], **{**place, **llm, **soon, "app": "", "max_crashes": 40})

        async def put_off() -> int:
            return (await scheduler.read_status()).labels["mem_reread"].backlog

        async def all_are_put_off() -> bool:
            return await put_off() == len(conversations) + len(secrets)

        # given a model that is down, and then says that it is overloaded, and workers that die
        crew.supervise(2)
        await until(lambda: len(crew.workers()) == 2, "the workers to start")
        await scheduler.submit_messages([*conversations, *secrets])
        await until(put_off, "the first to be put off")
        died = [crew.kill_one(chance)]
        await until(all_are_put_off, "all to be put off")
        refused = len(model.asked)
        model.always = fails(503)
        await until(lambda: len(model.asked) > refused, "the model to be asked again")
        died.append(crew.kill_one(chance))

        await until(lambda: len(crew.workers()) == 2, "others to work for those that died")

        # when some of it is deleted, while nobody is there who reads it, and the model is up again
        await scheduler.pause("mem_reread")
        died += [pid for pid in crew.workers() if not os.kill(pid, signal.SIGKILL)]
        for memory in [each for each in await memories_of(scheduler) if "zyzzogeton" in each.text]:
            await without_working(scheduler).delete(memory.memory_id, "home")
        assert await all_are_put_off()
        model.asked.clear()
        model.always = reads_facts
        await scheduler.resume("mem_reread")
        await until(lambda: len(model.asked) > 4, "some to be read")
        died.append(crew.kill_one(chance))
        await idle(scheduler)

        # then every conversation was read, and counts once; what was deleted was not
        assert await dead_letters(scheduler) == []
        killed = len([pid for pid in died if pid])
        assert killed >= 4
        memories = await memories_of(scheduler)
        expected = sorted(message.content for message in conversations)
        assert sorted(each.text for each in memories if each.kind == "turn") == expected
        assert sorted(each.text for each in memories if each.kind == "fact") == expected
        assert (await snapshot(scheduler)).words["guest"] == 2 * len(conversations)
        assert not [asked for asked in model.asked if "zyzzogeton" in asked.prompt]
        assert await left_of(scheduler, "zyzzogeton") == []
        read = sum(asked.is_reading for asked in model.asked)
        print(f"{killed} workers killed; 32 facts of 32 turns, for which the model was asked {read} times when up")


async def _more_than(scheduler: AsyncMemScheduler, enough: int) -> bool:
    """Looked up in Redis, since the vector process may be away."""
    server = await scheduler.server()
    counted = await server.execute("HGET", scheduler.keys.cube("alice", "home").terms, "#")
    return int(counted or 0) > enough
