"""Term statistics: in how many memories of a cube a word occurs, for BM25's inverse document frequency.

Kept in Redis, one hash per cube, counted once per message however often the message runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_int, as_texts, script
from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.bm25 import TermCounts
from memsched.memory.search.window import Said, name_stems

_COUNT = script("count_terms", "memory/search")
_RESET = script("reset_terms", "memory/search")
_ARGUMENTS_AT_ONCE = 1_000
"""About 500 stems: nobody else is served while they are counted."""
STEMS_KEPT = 4_096
"""Of a cube: the rarest of more go, which are those in one memory. A word that is not kept counts as one that no memory
has, which in BM25 weighs a little more than one that one memory has.
"""
MARKS_KEPT = 2_000
"""Messages of a cube remembered as applied. One that comes back after so many others is counted again: counts, not
memories.
"""
MARKS_KEPT_MS = 7 * 86_400_000
"""They are most of what a cube takes in Redis. After so long nothing comes back but what somebody submits anew."""
_COUNTED, _FORGOTTEN = "terms:", "forgotten:"
"""What marks begin with, of messages whose memories were counted, and of memories that are counted no more."""
MEMORIES = "#"
"""The field with the number of memories: no stem, since stems have no such character."""
SPEAKER = "@"
"""Before a stem of a speaker's name: how many memories are theirs."""


def terms_of(memory: Said) -> list[str]:
    """What is counted of a memory: its stems, and marked those of its speaker's name."""
    return [*stems(memory.searched_text), *(SPEAKER + stem for stem in name_stems(memory.speaker))]


class TermStatistics:
    """The term statistics of all cubes."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    def counts_command(self, ref: CubeRef, stems: Sequence[str]) -> Command[TermCounts]:
        """To be sent together with others: the counts of these stems."""
        asked = list(dict.fromkeys(stems))

        def parse(reply: Any) -> TermCounts:
            values = [max(0, int(value or 0)) for value in reply]
            names = frozenset(stem for stem, said in zip(asked, values[1 + len(asked) :], strict=True) if said)
            return TermCounts(values[0], dict(zip(asked, values[1 : 1 + len(asked)], strict=True)), names)

        key = self._keys.cube(ref.user_id, ref.mem_cube_id).terms
        return Command(("HMGET", key, MEMORIES, *asked, *(SPEAKER + stem for stem in asked)), parse)

    def vocabulary_command(self, ref: CubeRef, stems: Sequence[str]) -> Command[TermCounts]:
        """As ``counts_command``, with the counts of all stems that the cube keeps."""

        def parse(reply: Any) -> TermCounts:
            values = as_texts(reply)
            every = {name: int(count) for name, count in zip(values[::2], values[1::2], strict=True) if int(count) > 0}
            names = frozenset(stem for stem in stems if every.get(SPEAKER + stem, 0) > 0)
            vocabulary = {name: count for name, count in every.items() if name[0] not in (MEMORIES, SPEAKER)}
            asked = {stem: every.get(stem, 0) for stem in stems}
            return TermCounts(every.get(MEMORIES, 0), asked, names, vocabulary)

        return Command(("HGETALL", self._keys.cube(ref.user_id, ref.mem_cube_id).terms), parse)

    async def counts(self, ref: CubeRef, stems: Sequence[str]) -> TermCounts:
        return await self._server.persistently(lambda: self._server.call(self.counts_command(ref, stems)))

    async def add(self, ref: CubeRef, documents: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Count new memories. Idempotent: once per message id.

        Args:
            documents: by message id, the stems of each memory that it made.
        """
        await self._count(ref, {_COUNTED + item_id: texts for item_id, texts in documents.items()}, 1)

    async def applied(
        self, ref: CubeRef, message_ids: Iterable[str], memory_ids: Iterable[str]
    ) -> tuple[set[str], set[str]]:
        """Which of these messages were counted, and which of these memories are counted no more."""
        key, messages, memories = self._keys.cube(ref.user_id, ref.mem_cube_id).applied, [*message_ids], [*memory_ids]
        marks = [*(_COUNTED + each for each in messages), *(_FORGOTTEN + each for each in memories)]
        if not marks:
            return set(), set()
        scores = await self._server.persistently(lambda: self._server.execute("ZMSCORE", key, *marks))
        found = [score is not None for score in scores]
        counted = {each for each, there in zip(messages, found, strict=False) if there}
        return counted, {each for each, there in zip(memories, found[len(messages) :], strict=True) if there}

    async def settle(self, ref: CubeRef, message_id: str, memory_ids: Iterable[str]) -> None:
        """What was counted under this id is stored now, under ids that may have been deleted before: forget the marks.

        Else the same memories, deleted and brought back once more, would not be counted.
        """
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).applied
        marks = [_COUNTED + message_id, *(_FORGOTTEN + memory_id for memory_id in memory_ids)]
        await self._server.persistently(lambda: self._server.execute("ZREM", key, *marks))

    async def remove(self, ref: CubeRef, memories: Mapping[str, Sequence[str]]) -> None:
        """Count memories no more. Idempotent: once per memory id.

        Args:
            memories: by id, their stems.
        """
        await self._count(ref, {_FORGOTTEN + memory_id: [stems] for memory_id, stems in memories.items()}, -1)

    async def _count(self, ref: CubeRef, documents: Mapping[str, Sequence[Sequence[str]]], sign: int) -> None:
        keys = self._keys.cube(ref.user_id, ref.mem_cube_id)
        head: list[str | int] = [int(time.time() * 1000), MARKS_KEPT, MARKS_KEPT_MS, STEMS_KEPT]
        args = [*head]

        async def send() -> None:
            command = _COUNT.command([keys.terms, keys.applied], args, as_int)
            await self._server.persistently(lambda: self._server.call(command))

        for mark, texts in documents.items():
            counted: Counter[str] = Counter()
            for words in texts:
                counted.update(set(words))
            counted[MEMORIES] = len(texts)
            args += [mark, len(counted)]
            for stem, count in counted.items():
                args += (stem, sign * count)
            if len(args) >= _ARGUMENTS_AT_ONCE:
                await send()
                args = [*head]
        if len(args) > len(head):
            await send()

    async def recount_speakers(
        self, ref: CubeRef, speakers: Iterable[str], count: Callable[[str], Awaitable[int]]
    ) -> None:
        """Put right how many memories are these speakers'. What comes or goes meanwhile counts as it always does.

        Args:
            count: how many are stored of one.
        """
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).terms
        stems_of = {speaker: [SPEAKER + stem for stem in name_stems(speaker)] for speaker in speakers}
        names = sorted({name for named in stems_of.values() for name in named})

        async def recount() -> None:  # from the start where it failed: what it had added is seen then
            before = await self._server.execute("HMGET", key, *names)
            found = dict.fromkeys(names, 0)
            for speaker, named in stems_of.items():
                number = await count(speaker)
                for name in named:
                    found[name] += number
            added = {name: found[name] - int(known or 0) for name, known in zip(names, before, strict=True)}
            await self._server.run(
                [Command(("HINCRBY", key, name, change), as_int) for name, change in added.items() if change]
            )

        if names:
            await self._server.persistently(recount)

    async def reset(self, ref: CubeRef) -> None:
        """Forget all counts of a cube, to count anew."""
        keys = self._keys.cube(ref.user_id, ref.mem_cube_id)
        command = _RESET.command([keys.terms, keys.applied], [_COUNTED, _FORGOTTEN], as_int)
        await self._server.persistently(lambda: self._server.call(command))
