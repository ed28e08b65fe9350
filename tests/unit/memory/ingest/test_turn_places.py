"""Places of turns in their sessions: no two messages get the same ones, and a message gets its own again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import pytest

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turn_places import InSession, TurnPlaces

HOME, OTHER = CubeRef("alice", "home"), CubeRef("bob", "home")


class Bench:
    """Turn places beside a store of which a test says how far its sessions go."""

    def __init__(self, server: Server) -> None:
        self.places = TurnPlaces(server, Keys())
        self.stored: dict[str, int] = {}
        self.asked: list[str] = []

    async def next_in_store(self, session: str) -> int:
        self.asked.append(session)
        await asyncio.sleep(0)
        return self.stored.get(session, 0)

    async def reserve(
        self, wanted: Mapping[InSession, int], held: Mapping[InSession, int] | None = None, ref: CubeRef = HOME
    ) -> list[int]:
        places = await self.places.reserve(ref, wanted, held or {}, self.next_in_store)
        return [places[key] for key in wanted]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    server = await Server.connect(Settings.load(redis_url=f"memory://{uuid4()}"))
    yield Bench(server)
    await server.aclose()


async def test_messages_follow_each_other_in_each_session(bench: Bench) -> None:
    bench.stored = {"s": 7}

    assert await bench.reserve({("a", "s"): 3, ("a", "t"): 1, ("b", "s"): 2}) == [7, 0, 10]
    assert await bench.reserve({("c", "s"): 1, ("c", "t"): 1}) == [12, 1]
    assert await bench.reserve({("c", "s"): 1}, ref=OTHER) == [7]
    assert bench.asked == ["s", "t", "s"]


async def test_a_message_that_comes_again_gets_its_places_again(bench: Bench) -> None:
    first = await bench.reserve({("a", "s"): 3, ("b", "s"): 2})
    await bench.reserve({("c", "s"): 1})

    assert await bench.reserve({("b", "s"): 2, ("a", "s"): 3}) == first[::-1]
    assert await bench.reserve({("d", "s"): 1}) == [6]


async def test_those_who_reserve_at_once_never_get_the_same(bench: Bench) -> None:
    bench.stored = {"s": 5}

    got = await asyncio.gather(*(bench.reserve({(f"m{n}", "s"): 2}) for n in range(20)))

    assert sorted(place for places in got for place in places) == list(range(5, 45, 2))


async def test_what_was_partly_stored_keeps_its_places_though_nothing_is_remembered(bench: Bench) -> None:
    bench.stored = {"s": 2}

    assert await bench.reserve({("new", "s"): 1, ("half", "s"): 4}, {("half", "s"): 1}) == [5, 1]


async def test_what_an_import_took_is_not_given_away(bench: Bench) -> None:
    await bench.reserve({("a", "s"): 1})

    await bench.places.taken(HOME, [("s", 9), ("s", 3), ("unheard", 4)])

    assert await bench.reserve({("b", "s"): 1}) == [10]
    await bench.reserve({("b", "unheard"): 1})
    assert "unheard" in bench.asked


async def test_what_is_remembered_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a session, and of sessions: each message forgets up to four that nobody has written to for an hour."""
    for n in range(200):
        await bench.reserve({(f"m{n}", "s"): 1})
    key = Keys().cube("alice", "home").places
    server = bench.places._server
    assert len(await server.execute("HGET", key, "s")) < 4_000
    for n in range(30):
        await bench.reserve({("m", f"s{n}"): 1})
    monkeypatch.setattr("time.time", lambda: 5e9)
    for _ in range(100):
        await bench.reserve({("m", "new"): 1})
    assert await server.execute("HLEN", key) <= 10


async def test_after_forgetting_the_store_alone_says_what_comes_next(bench: Bench) -> None:
    await bench.reserve({("a", "s"): 3})
    await bench.places.forget(HOME)

    assert await bench.reserve({("a", "s"): 3}) == [0]
