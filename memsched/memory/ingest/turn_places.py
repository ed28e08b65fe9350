"""Turn places: which place in its session each turn of a message gets, whoever else writes to that session."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import script
from memsched.memory.access.permissions import CubeRef

_RESERVE = script("reserve_places", "memory/ingest")
_REMEMBERED_MS = 3_600_000
"""Longer than between reserving places and storing the turns. After that the store alone says what comes next."""
_MESSAGES_REMEMBERED = 128
"""Of a session, so that one that comes again, after a crash before it was stored, gets its places again."""
_AT_ONCE = 500

InSession = tuple[str, str]
"""A message and a session that it has turns in."""
_Record = tuple[str, str, str, int, int]


class TurnPlaces:
    """Reserves places atomically, in a script; the store is asked only for sessions that nobody wrote to lately."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def reserve(
        self,
        ref: CubeRef,
        wanted: Mapping[InSession, int],
        held: Mapping[InSession, int],
        next_in_store: Callable[[str], Awaitable[int]],
    ) -> dict[InSession, int]:
        """The first place of each message in each session. A message that comes again gets the same ones.

        Args:
            wanted: how many places each needs, in the order in which they were said.
            held: the first places of those that were partly stored before.
            next_in_store: the place after the last one of a session in the store.
        """
        ordered = sorted(wanted, key=lambda each: each not in held)  # no place that is held is given away
        records: list[_Record] = [
            ("held" if key in held else "reserve", key[1], key[0], wanted[key], held.get(key, 0)) for key in ordered
        ]
        places = await self._send(ref, records)
        unknown = {record[1] for record, place in zip(records, places, strict=True) if place < 0}
        if unknown:
            stored: list[_Record] = [("stored", each, "", 0, await next_in_store(each)) for each in sorted(unknown)]
            places = (await self._send(ref, [*stored, *records]))[len(stored) :]
        return dict(zip(ordered, places, strict=True))

    async def taken(self, ref: CubeRef, places: Iterable[tuple[str, int]]) -> None:
        """Places in sessions that were taken without being reserved: by an import."""
        last: dict[str, int] = {}
        for session, place in places:
            last[session] = max(place, last.get(session, -1))
        await self._send(ref, [("raise", session, "", 1, place) for session, place in last.items()])

    async def forget(self, ref: CubeRef) -> None:
        """Forget all of a cube's sessions."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).places
        await self._server.persistently(lambda: self._server.execute("DEL", key))

    async def _send(self, ref: CubeRef, records: list[_Record]) -> list[int]:
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).places
        places: list[int] = []
        for at in range(0, len(records), _AT_ONCE):
            fields = [field for record in records[at : at + _AT_ONCE] for field in record]
            args = [int(time.time() * 1000), _REMEMBERED_MS, _MESSAGES_REMEMBERED, *fields]
            command = _RESERVE.command([key], args, _as_ints)
            places += await self._server.persistently(lambda command=command: self._server.call(command))  # type: ignore[misc]
        return places


def _as_ints(reply: Any) -> list[int]:
    return [int(each) for each in reply]
