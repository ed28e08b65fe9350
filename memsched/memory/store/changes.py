"""The change feed of a cube: which memories were stored, marked or deleted lately, for the caches of other processes.

A capped stream in Redis. Whoever follows it and finds that it missed something reads the whole cube again, so losing
the feed costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import as_text
from memsched.memory.access.permissions import CubeRef

_KEPT = 256
_IDS_PER_ENTRY = 64
_START = "0-0"
EVERYTHING = "*"
"""Announced instead of ids when all memories of a cube have changed."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since a position in the feed.

    Args:
        position: from where to go on.
        memory_ids: what changed; None: too much to tell, read everything.
    """

    position: str
    memory_ids: frozenset[str] | None


class ChangeFeed:
    """The change feeds of all cubes."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def announce(self, ref: CubeRef, memory_ids: Sequence[str]) -> None:
        """Say that these memories have changed: after the change, so that who hears of it finds it."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).changes
        for at in range(0, len(memory_ids), _IDS_PER_ENTRY):
            ids = " ".join(memory_ids[at : at + _IDS_PER_ENTRY])
            await self._server.persistently(
                lambda ids=ids: self._server.execute("XADD", key, "MAXLEN", _KEPT, "*", "ids", ids)  # type: ignore[misc]
            )

    async def since(self, ref: CubeRef, position: str | None) -> Changes:
        """What was announced after a position; with None, only the position from where to go on."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).changes
        if position is None:
            last = await self._entries("XREVRANGE", key, "+", "-", "COUNT", 1)
            return Changes(last[0][0] if last else _START, None)
        entries = await self._entries("XRANGE", key, position, "+", "COUNT", _KEPT + 1)
        if position == _START:
            missed = len(entries) >= _KEPT
        else:
            missed = not entries or entries[0][0] != position
            entries = entries[1:]
        if missed:
            return await self.since(ref, None)
        ids = frozenset(memory_id for _, listed in entries for memory_id in listed.split())
        if EVERYTHING in ids:
            return Changes(entries[-1][0], None)
        return Changes(entries[-1][0] if entries else position, ids)

    async def _entries(self, *command: Any) -> list[tuple[str, str]]:
        reply = await self._server.persistently(lambda: self._server.execute(*command))
        return [(as_text(entry_id), _ids_of(fields)) for entry_id, fields in reply or ()]


def _ids_of(fields: Any) -> str:
    return as_text(next(iter(fields.values())) if isinstance(fields, dict) else fields[1])
