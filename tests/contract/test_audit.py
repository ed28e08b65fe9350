"""The audit on a real server: written a little later, all of it, by few round trips; read by who, what and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from support.conditions import until

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import UnreachableError
from memsched.memory.access.audit import Audit, AuditEntry, AuditFilter
from memsched.memory.access.trail import MOST_IDS

EVERYTHING = AuditFilter()


class Watched:
    """A server that counts round trips, and may be away."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.trips: list[int] = []
        self.is_away = False

    async def run(self, commands: Sequence[Any]) -> list[Any]:
        self.trips.append(len(commands))
        if self.is_away:
            raise UnreachableError("away")
        return await self._server.run(commands)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


@pytest.fixture
async def server(any_url: str, settings_at: Callable[..., Settings]) -> AsyncIterator[Watched]:
    connected = await Server.connect(settings_at(any_url))
    yield Watched(connected)
    await connected.aclose()


def audit_at(server: Any, maxlen: int = 10_000) -> Audit:
    return Audit(server, Keys(), maxlen)


async def test_what_is_noted_is_written_in_few_round_trips_and_read_as_it_was(server: Watched) -> None:
    audit = audit_at(server)
    entries = [AuditEntry("memory.read", "k1", "alice", "home", (f"m{number}",), "ok") for number in range(250)]
    started = time.perf_counter()
    for entry in entries:
        audit.record(entry)
    assert time.perf_counter() - started < 0.1
    await audit.aclose()

    assert len(server.trips) <= 3
    found = await audit_at(server).read(EVERYTHING, 1000)
    assert [each.ids for each in found] == [each.ids for each in entries]
    assert {(each.key_id, each.user_id, each.action, each.cube, each.outcome) for each in found} == {
        ("k1", "alice", "memory.read", "home", "ok")
    }
    assert abs((found[0].at - entries[0].at).total_seconds()) < 0.001


async def test_a_hundred_entries_or_a_second_are_enough_to_write(server: Watched) -> None:
    audit = audit_at(server)
    for _ in range(100):
        audit.record(AuditEntry("memory.read"))
    await until(lambda: bool(server.trips), seconds=0.5)
    audit.record(AuditEntry("memory.read"))
    await asyncio.sleep(0.05)
    assert server.trips == [100]

    await until(lambda: server.trips == [100, 1])
    await audit.aclose()


async def test_what_is_asked_for_is_found(server: Watched) -> None:
    audit = audit_at(server)
    for entry in (
        AuditEntry("memory.read", "k1", "alice"),
        AuditEntry("memory.delete", "k1.0a", "alice"),
        AuditEntry("memories", "k10", "bob"),
        AuditEntry("queue.pause", "k2", outcome="refused: NotAllowed"),
    ):
        audit.record(entry)
    await audit.aclose()

    async def actions(limit: int = 10, **which: Any) -> list[str]:
        return [each.action for each in await audit.read(AuditFilter(**which), limit)]

    assert await actions(user_id="alice") == ["memory.read", "memory.delete"]
    assert await actions(key_id="k1") == ["memory.read", "memory.delete"], "with what it minted, and no other"
    assert await actions(action="memory.") == ["memory.read", "memory.delete"]
    assert await actions(action="memory.read") == ["memory.read"]
    assert await actions(limit=2) == ["memories", "queue.pause"]
    assert await actions(since=time.time() + 60) == []
    assert len(await actions(since=time.time() - 60)) == 4


async def test_it_has_no_tokens_and_is_bounded_whatever_strangers_call_things(server: Watched) -> None:
    token = f"msk_{'0a1b2c' * 2}_{'9f' * 32}"
    audit = audit_at(server)
    audit.record(AuditEntry("memory.read", "k", f"\ud800{token}", token, (token, *map(str, range(1000))), "x" * 10_000))
    await audit.aclose()

    (entry,) = await audit.read(EVERYTHING, 10)
    assert "9f9f" not in repr(entry)
    assert len(entry.ids) == MOST_IDS
    assert len(entry.outcome) < 500


async def test_while_the_server_is_away_it_is_held_and_only_so_many_are_kept(
    server: Watched, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.memory.access.audit._HELD", 50)
    audit = audit_at(server)
    server.is_away = True
    for number in range(60):
        audit.record(AuditEntry("memory.read", ids=(str(number),)))
    audit._full.set()
    await until(lambda: bool(server.trips))
    server.is_away = False
    await until(lambda: not audit._waiting, seconds=10)
    await audit.aclose()

    assert [each.ids[0] for each in await audit.read(EVERYTHING, 100)] == [str(number) for number in range(10, 60)]
    told = capsys.readouterr().out
    assert "audit.held" in told
    assert "entries=10" in told


async def test_new_entries_are_followed(server: Watched) -> None:
    audit, seen = audit_at(server), []
    audit.record(AuditEntry("before"))
    await audit.aclose()

    async def follow() -> None:
        async for entry in audit.follow(AuditFilter(user_id="alice"), pause=0.01):
            seen.append(entry.action)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    other = audit_at(server)
    for user in ("bob", "alice"):
        other.record(AuditEntry(f"of {user}", user_id=user))
    await other.aclose()
    await until(lambda: bool(seen))
    following.cancel()

    assert seen == ["of alice"]


async def test_the_stream_is_capped(server: Watched) -> None:
    audit = audit_at(server, maxlen=100)
    for _ in range(1000):
        audit.record(AuditEntry("memory.read"))
    await audit.aclose()

    assert 100 <= await server.execute("XLEN", Keys().audit) < 400
