"""Term statistics: in how many memories of a cube a word occurs, for BM25's inverse document frequency.

Kept in Redis, one hash per cube, counted once per message however often the message runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_int, script
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.bm25 import TermCounts

_COUNT = script("count_terms", "memory/search")
_ARGUMENTS_AT_ONCE = 1_000
"""About 500 stems: nobody else is served while they are counted."""
MARKS_KEPT = 2_000
"""Messages of a cube remembered as applied. One that comes back after so many others is counted again: counts, not
memories.
"""
MARKS_KEPT_MS = 7 * 86_400_000
"""They are most of what a cube takes in Redis. After so long nothing comes back but what somebody submits anew."""
MEMORIES = "#"
"""The field with the number of memories: no stem, since stems have no such character."""


class TermStatistics:
    """The term statistics of all cubes."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    def counts_command(self, ref: CubeRef, stems: Sequence[str]) -> Command[TermCounts]:
        """To be sent together with others: the counts of these stems."""
        asked = list(dict.fromkeys(stems))

        def parse(reply: Any) -> TermCounts:
            values = [int(value or 0) for value in reply]
            return TermCounts(values[0], dict(zip(asked, values[1:], strict=True)))

        key = self._keys.cube(ref.user_id, ref.mem_cube_id).terms
        return Command(("HMGET", key, MEMORIES, *asked), parse)

    async def counts(self, ref: CubeRef, stems: Sequence[str]) -> TermCounts:
        return await self._server.persistently(lambda: self._server.call(self.counts_command(ref, stems)))

    async def add(self, ref: CubeRef, documents: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Count new memories. Idempotent: once per message id.

        Args:
            documents: by message id, the stems of each memory that it made.
        """
        await self._count(ref, {f"terms:{item_id}": texts for item_id, texts in documents.items()}, 1)

    async def remove(self, ref: CubeRef, memories: Mapping[str, Sequence[str]]) -> None:
        """Count memories no more. Idempotent: once per memory id.

        Args:
            memories: by id, their stems.
        """
        await self._count(ref, {f"forgotten:{memory_id}": [stems] for memory_id, stems in memories.items()}, -1)

    async def _count(self, ref: CubeRef, documents: Mapping[str, Sequence[Sequence[str]]], sign: int) -> None:
        keys = self._keys.cube(ref.user_id, ref.mem_cube_id)
        head: list[str | int] = [int(time.time() * 1000), MARKS_KEPT, MARKS_KEPT_MS]
        args = [*head]

        async def send() -> None:
            command = _COUNT.command([keys.terms, keys.applied], args, as_int)
            await self._server.persistently(lambda: self._server.call(command))

        for mark, texts in documents.items():
            counted: Counter[str] = Counter()
            for stems in texts:
                counted.update(set(stems))
            counted[MEMORIES] = len(texts)
            args += [mark, len(counted)]
            for stem, count in counted.items():
                args += (stem, sign * count)
            if len(args) >= _ARGUMENTS_AT_ONCE:
                await send()
                args = [*head]
        if len(args) > len(head):
            await send()

    async def reset(self, ref: CubeRef) -> None:
        """Forget all counts of a cube, to count anew."""
        keys = self._keys.cube(ref.user_id, ref.mem_cube_id)
        await self._server.persistently(lambda: self._server.execute("DEL", keys.terms))
