"""A lock: refused to the second, free after the first, and its holder is ended when the lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from support.conditions import until

from memsched import Settings
from memsched.broker import lock
from memsched.broker.client import Server
from memsched.broker.lock import Lock, LockHeld
from memsched.deadline import Deadline

pytestmark = pytest.mark.timeout(30)
KEY = "held"


@pytest.fixture
async def server(any_url: str, settings_at: Callable[..., Settings]) -> AsyncIterator[Server]:
    server = await Server.connect(settings_at(any_url))
    yield server
    await server.aclose()


async def test_the_second_is_refused_and_told_who_the_first_is(server: Server) -> None:
    first, goes_on, begun = Lock(server, KEY), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await goes_on.wait()
        return "done"

    async def never() -> None:
        raise AssertionError("not while another does it")

    running = asyncio.create_task(first.during(work()))
    await begun.wait()
    with pytest.raises(LockHeld, match=r"Another process does this right now. It is process \d+ on "):
        await Lock(server, KEY).during(never())
    goes_on.set()

    assert await running == "done"
    assert await server.execute("EXISTS", KEY) == 0
    assert await Lock(server, KEY).during(asyncio.sleep(0, "after it")) == "after it"


async def test_it_is_free_after_a_failure(server: Server) -> None:
    async def fails() -> None:
        raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        await Lock(server, KEY).during(fails())

    assert await server.execute("EXISTS", KEY) == 0


async def test_whoever_loses_it_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 1)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(Lock(server, KEY).during(work()))
    await begun.wait()
    # given that it was silent for too long, and another one took over
    await server.execute("HSET", KEY, "by", "another")

    with pytest.raises(LockHeld, match="another"):
        await running
    assert ended.is_set()
    assert await server.execute("HGET", KEY, "by") == b"another", "it is not let go of for somebody else"


async def test_it_is_renewed_for_as_long_as_the_work_takes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 2)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await goes_on.wait()

    running = asyncio.create_task(Lock(server, KEY).during(work()))
    await begun.wait()
    await server.execute("PEXPIRE", KEY, 1500)

    async def renewed() -> bool:
        return int(await server.execute("PTTL", KEY)) > 1500

    await until(renewed, "it to be renewed")
    goes_on.set()
    await running


async def test_a_holder_that_was_stopped_for_long_renews_before_it_writes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Lock(server, KEY)

    async def work() -> None:
        await mine.renew_if_old()
        await server.execute("HSET", KEY, "by", "another")
        await mine.renew_if_old()  # it was renewed a moment ago
        monkeypatch.setattr(mine, "_ours_for_sure", Deadline(0))
        await mine.renew_if_old()

    with pytest.raises(LockHeld, match="another"):
        await mine.during(work())
