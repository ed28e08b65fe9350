"""Writing window vectors: of new memories, and of those whose window something comes into, or leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.memory.search.constants import REACH
from memsched.memory.search.window import Surroundings, own_vector, places_around, window_vector
from memsched.memory.store.collection import InUse
from memsched.memory.store.points import Sparse
from memsched.memory.store.store import MemoryStore
from memsched.pace import Pace

_TRIES = 10
"""Others may write in the same session at the same time, and each of them sees to what it has changed."""

log = get_logger(__name__)


_NOTHING = Surroundings(())


@dataclass(frozen=True, slots=True)
class First:
    """What new memories are stored with.

    Attributes:
        in_use: the collection that it is for.
        vectors: by id.
    """

    in_use: InUse
    vectors: dict[str, Sparse]


Seen = tuple[InUse, frozenset[str]]
"""What windows were computed from: the collection, and which memories."""


class Windows:
    """The window vectors in the store. They follow from what is stored, so any of this may be repeated.

    What is new is stored with its own words, and only then are windows computed, from what the store holds: who dies in
    between leaves nothing that was deleted meanwhile. Who writes looks once more afterwards, and writes again if others
    wrote meanwhile: so of several at work in one session the last one to look sees all.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def first(self, ref: CubeRef, new: Sequence[Memory]) -> First:
        """The vectors to store new memories with."""
        in_use = await self._store.in_use()
        pace = Pace()
        vectors = {}
        for each in new:
            vectors[each.memory_id] = _alone(ref, each, in_use)
            await pace.rest()
        return First(in_use, vectors)

    async def settle(self, ref: CubeRef, changed: Sequence[Memory], first: First | None = None) -> None:
        """Bring the vectors of memories, and of what is around them, up to date: their texts came, changed or went.

        Args:
            first: what new ones were stored with.
        """
        placed = [each for each in changed if each.session_id]
        if first is not None and (in_use := await self._store.in_use()) != first.in_use:
            # They may be in another collection than their vectors were for.
            await self._store.set_words(ref, {each.memory_id: _alone(ref, each, in_use) for each in changed})
        seen: Seen | None = None
        for _ in range(_TRIES):
            if not placed or await self._seen(ref, placed) == seen:
                return
            seen, vectors = await self._look(ref, placed)
            await self._store.set_words(ref, vectors)
        log.warning(
            "others write in the same sessions all the time; some words may not be found by what is around them",
            action="windows.unsettled",
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
        )

    async def _look(self, ref: CubeRef, changed: Sequence[Memory]) -> tuple[Seen, dict[str, Sparse]]:
        """The vectors of memories, and of whatever has one of them in its window, as they must be now."""
        in_use = await self._store.in_use()
        there = {each.memory_id: each for each in await self._stored(ref, changed)}
        seen = in_use, frozenset(name for name, each in there.items() if each.text)
        touched = {each.memory_id: there[each.memory_id] for each in changed if each.memory_id in there}
        if not in_use.has_windows:
            return seen, {name: own_vector(each) for name, each in touched.items()}
        everything = Surroundings(there.values())
        surroundings = Surroundings(each for each in there.values() if each.text)  # as when the others are gone
        for each in changed:
            for known in (everything, surroundings):
                touched |= {other.memory_id: there[other.memory_id] for other in known.having(each)}
        vectors: dict[str, Sparse] = {}
        pace = Pace()
        for name, each in touched.items():
            vectors[name] = window_vector(ref, each, surroundings)
            await pace.rest()  # a message may hold thousands of turns
        return seen, vectors

    async def _seen(self, ref: CubeRef, changed: Sequence[Memory]) -> Seen:
        """What ``_look`` would see."""
        in_use = await self._store.in_use()
        return in_use, frozenset(await self._store.ids_at_places(ref, places_around(changed, 2 * REACH)))

    async def _stored(self, ref: CubeRef, changed: Sequence[Memory]) -> list[Memory]:
        return [hit.memory() for hit in await self._store.at_places(ref, places_around(changed, 2 * REACH), None)]


def _alone(ref: CubeRef, memory: Memory, in_use: InUse) -> Sparse:
    """Its vector, with nothing around it."""
    return window_vector(ref, memory, _NOTHING) if in_use.has_windows else own_vector(memory)
