"""Tombstones: which memories of a cube were deleted for good, so that no message that comes again brings one back.

A tombstone is a memory's id: ids follow from the message and the place in it, so a message that is delivered, redriven
or submitted once more would make the same one. Beside it lie the names of its turn, by which that is known when a
history is told again in another message (memory/ingest/retelling.py). They are laid in the script that makes a deletion
count (tiers/hot_state.py). Deleting all of a cube lays one for everything: what was submitted before is over.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.memory.access.permissions import CubeRef
from memsched.memory.store.changes import EVERYTHING

TOMBSTONES_KEPT = 300_000
"""Of a cube, the newest: about 30 MB. They do not expire, for a dead letter may be redriven after any time."""
_PER_CALL = 1_000


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is known to be deleted of some memories.

    Attributes:
        memory_ids: those of them that have a tombstone.
        names: those of the names that have one, and got it after all of the cube was deleted: then it begins anew.
        emptied: when all of the cube was deleted last, ms since the epoch; 0: never.
    """

    memory_ids: frozenset[str]
    emptied: int
    names: frozenset[str] = frozenset()


class Tombstones:
    """The tombstones of all cubes."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def among(self, ref: CubeRef, memory_ids: Sequence[str], names: Collection[str] = ()) -> Deleted:
        """Which of these memories were deleted, and of turns by these names."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).tombstones
        wanted = [*memory_ids, *names]
        parts = [wanted[at : at + _PER_CALL] for at in range(0, len(wanted), _PER_CALL)] or [[]]
        commands = [Command(("ZMSCORE", key, EVERYTHING, *part), lambda reply: reply) for part in parts]
        replies = await self._server.persistently(lambda: self._server.run(commands))
        scores: list[Any] = [answered(reply) for reply in replies]
        laid = {
            name: int(float(score))
            for part, (_, *theirs) in zip(parts, scores, strict=True)
            for name, score in zip(part, theirs, strict=True)
            if score is not None
        }
        emptied = int(float(scores[0][0] or 0))
        told_since = frozenset(name for name in names if laid.get(name, 0) > emptied)
        return Deleted(frozenset(laid.keys() & set(memory_ids)), emptied, told_since)

    async def lay(self, ref: CubeRef, memory_ids: Sequence[str]) -> None:
        """What these memories would hold was deleted before, and they are not to be."""
        key, now = self._keys.cube(ref.user_id, ref.mem_cube_id).tombstones, int(time.time() * 1000)
        for at in range(0, len(memory_ids), _PER_CALL):
            laid = [part for memory_id in memory_ids[at : at + _PER_CALL] for part in (now, memory_id)]
            await self._server.persistently(lambda laid=laid: self._server.execute("ZADD", key, *laid))  # type: ignore[misc]

    async def lift(self, ref: CubeRef, memory_ids: Sequence[str]) -> None:
        """These memories come back, because somebody says so."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).tombstones
        if memory_ids:
            await self._server.persistently(lambda: self._server.execute("ZREM", key, *memory_ids))

    async def emptied(self, ref: CubeRef) -> int:
        """When all of the cube was deleted last, ms since the epoch by the server's clock; 0: never."""
        return (await self.among(ref, ())).emptied
