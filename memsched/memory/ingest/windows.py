"""Writing window vectors: of new memories, and of those whose window something comes into, or leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.memory.search.constants import REACH
from memsched.memory.search.window import Surroundings, own_vector, places_around, window_vector
from memsched.memory.store.collection import InUse
from memsched.memory.store.points import Sparse
from memsched.memory.store.store import MemoryStore

_AT_ONCE = 100
_TRIES = 10
"""Others may write in the same session at the same time, and each of them sees to what it has changed."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """The vectors around some memories, as they must be now.

    Attributes:
        vectors: by id, of these memories and of whatever has one of them in its window.
        stored: which of these are stored already.
        seen: what windows were computed from: the collection, and which memories.
    """

    vectors: dict[str, Sparse]
    stored: frozenset[str]
    seen: tuple[InUse, frozenset[str]]


class Windows:
    """The window vectors in the store. They follow from what is stored, so any of this may be repeated.

    Who writes looks once more afterwards, and writes again if others wrote meanwhile: so of several at work in one
    session the last one to look sees all.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def before(self, ref: CubeRef, new: Sequence[Memory]) -> Look:
        """How vectors will be when these memories are stored."""
        return await self._look(ref, new, new)

    async def stored(self, ref: CubeRef, new: Sequence[Memory], before: Look) -> None:
        """Bring what is around new memories up to date, once these are stored with the vectors of ``before``."""
        own = {each.memory_id for each in new} - before.stored
        await self._store.set_words(ref, {name: each for name, each in before.vectors.items() if name not in own})
        loose = [each for each in new if not each.session_id]
        if len(loose) < len(new) or await self._store.in_use() != before.seen[0]:
            await self._settle(ref, new, loose, before.seen)

    async def settle(self, ref: CubeRef, changed: Sequence[Memory]) -> None:
        """Bring the vectors of memories, and of what is around them, up to date: their texts came, changed or went."""
        await self._settle(ref, [each for each in changed if each.session_id], (), None)

    async def _settle(self, ref: CubeRef, changed: Sequence[Memory], loose: Sequence[Memory], seen: Any) -> None:
        for _ in range(_TRIES):
            if await self._seen(ref, changed) == seen:
                return
            now = await self._look(ref, changed, loose)
            await self._store.set_words(ref, now.vectors)
            seen = now.seen
        log.warning(
            "others write in the same sessions all the time; some words may not be found by what is around them",
            action="windows.unsettled",
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
        )

    async def _look(self, ref: CubeRef, changed: Sequence[Memory], new: Sequence[Memory]) -> Look:
        """What vectors must be, with what is stored now, and ``new``."""
        in_use = await self._store.in_use()
        stored = {each.memory_id: each for each in await self._stored(ref, changed)}
        there = {each.memory_id: each for each in new} | stored
        seen = in_use, frozenset(name for name, each in there.items() if each.text and each.session_id)
        touched = {each.memory_id: there[each.memory_id] for each in changed if each.memory_id in there}
        before = frozenset(touched.keys() & stored.keys())
        if not in_use.has_windows:
            return Look({name: own_vector(each) for name, each in touched.items()}, before, seen)
        everything = Surroundings(there.values())
        for each in changed:
            touched |= {other.memory_id: there[other.memory_id] for _, other in everything.near(each)}
        surroundings = Surroundings(each for each in there.values() if each.text)  # as when the others are gone
        vectors: dict[str, Sparse] = {}
        for name, each in touched.items():
            vectors[name] = window_vector(ref, each, surroundings)
            if len(vectors) % _AT_ONCE == 0:
                await asyncio.sleep(0)  # a message may hold thousands of turns, and others are served in between
        return Look(vectors, before, seen)

    async def _seen(self, ref: CubeRef, changed: Sequence[Memory]) -> tuple[InUse, frozenset[str]]:
        """What ``_look`` would see."""
        in_use = await self._store.in_use()
        return in_use, frozenset(await self._store.ids_at_places(ref, places_around(changed, 2 * REACH)))

    async def _stored(self, ref: CubeRef, changed: Sequence[Memory]) -> list[Memory]:
        return [hit.memory() for hit in await self._store.at_places(ref, places_around(changed, 2 * REACH), None)]
