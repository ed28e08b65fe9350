"""The change feed: who follows it hears of every change, or that something was missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
from memsched.memory.store.changes import EVERYTHING, ChangeFeed

HOME, OTHER = CubeRef("alice", "home"), CubeRef("bob", "home")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    server = await Server.connect(Settings.load(redis_url=f"memory://{uuid4()}"))
    yield server
    await server.aclose()


@pytest.fixture
def feed(server: Server) -> ChangeFeed:
    return ChangeFeed(server, Keys())


async def test_what_was_announced_since_is_told_once(feed: ChangeFeed) -> None:
    start = await feed.since(HOME, None)
    await feed.announce(HOME, ["a", "b"])
    await feed.announce(OTHER, ["x"])
    await feed.announce(HOME, [f"m{number}" for number in range(100)])

    told = await feed.since(HOME, start.position)

    assert told.memory_ids == {"a", "b", *(f"m{number}" for number in range(100))}
    assert (await feed.since(HOME, told.position)).memory_ids == frozenset()
    await feed.announce(HOME, ["c"])
    assert (await feed.since(HOME, told.position)).memory_ids == {"c"}


async def test_who_comes_new_reads_everything_and_goes_on_from_there(feed: ChangeFeed) -> None:
    await feed.announce(HOME, ["a"])

    start = await feed.since(HOME, None)
    await feed.announce(HOME, ["b"])

    assert start.memory_ids is None
    assert (await feed.since(HOME, start.position)).memory_ids == {"b"}


async def test_who_missed_something_is_told_to_read_everything(feed: ChangeFeed, server: Server) -> None:
    new, old = await feed.since(HOME, None), await feed.since(OTHER, None)
    await feed.announce(HOME, ["a"])
    before = await feed.since(HOME, new.position)
    for number in range(300):
        await feed.announce(HOME, [f"m{number}"])
        await feed.announce(OTHER, [f"m{number}"])

    for ref, position in ((HOME, before.position), (OTHER, old.position)):
        told = await feed.since(ref, position)
        assert told.memory_ids is None
        assert (await feed.since(ref, told.position)).memory_ids == frozenset()

    await server.execute("DEL", Keys().cube("alice", "home").changes)
    assert (await feed.since(HOME, before.position)).memory_ids is None


async def test_a_feed_that_came_and_expired_meanwhile_was_missed(feed: ChangeFeed, server: Server) -> None:
    start, key = await feed.since(HOME, None), Keys().cube("alice", "home").changes
    await feed.announce(HOME, ["a"])
    assert 0 < await server.execute("TTL", key) <= 86_400
    await server.execute("DEL", key)

    told = await feed.since(HOME, start.position)

    assert told.memory_ids is None
    assert (await feed.since(HOME, told.position)).memory_ids == frozenset(), "and is not read again and again"


async def test_that_all_is_gone_is_told_as_such(feed: ChangeFeed) -> None:
    start = await feed.since(HOME, None)
    await feed.announce(HOME, ["a"])
    await feed.announce(HOME, [EVERYTHING])

    assert (await feed.since(HOME, start.position)).memory_ids is None
