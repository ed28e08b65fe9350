"""The change feed of a cube: which memories were stored, marked or deleted lately, for the caches of other processes.

A capped stream in Redis, which expires where nothing changes. Whoever follows it and finds that it missed something
reads the whole cube again, so losing the feed costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text
from memsched.memory.access.permissions import CubeRef

_KEPT = 256
_KEPT_SECONDS = 86_400
"""After the last change: with many cubes at rest their feeds would be a tenth of what they take in Redis."""
_IDS_PER_ENTRY = 64
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
        for at in range(0, len(memory_ids), _IDS_PER_ENTRY):
            await self._append(ref, " ".join(memory_ids[at : at + _IDS_PER_ENTRY]))

    async def since(self, ref: CubeRef, position: str | None) -> Changes:
        """What was announced after a position; with None, only the position from where to go on."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).changes
        if position is None:
            last = await self._entries("XREVRANGE", key, "+", "-", "COUNT", 1)
            # A position before the first entry could not tell an empty feed from one that came and went meanwhile.
            return Changes(last[0][0] if last else await self._append(ref, ""), None)
        entries = await self._entries("XRANGE", key, position, "+", "COUNT", _KEPT + 1)
        if not entries or entries[0][0] != position:
            return await self.since(ref, None)
        ids = frozenset(memory_id for _, listed in entries[1:] for memory_id in listed.split())
        return Changes(entries[-1][0], None if EVERYTHING in ids else ids)

    async def _append(self, ref: CubeRef, ids: str) -> str:
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).changes
        commands: list[Command[str]] = [
            Command(("XADD", key, "MAXLEN", _KEPT, "*", "ids", ids), as_text),
            Command(("EXPIRE", key, _KEPT_SECONDS), as_text),
        ]
        position, _ = await self._server.persistently(lambda: self._server.run(commands))
        return str(position)

    async def _entries(self, *command: Any) -> list[tuple[str, str]]:
        reply = await self._server.persistently(lambda: self._server.execute(*command))
        return [(as_text(entry_id), _ids_of(fields)) for entry_id, fields in reply or ()]


def _ids_of(fields: Any) -> str:
    return as_text(next(iter(fields.values())) if isinstance(fields, dict) else fields[1])
