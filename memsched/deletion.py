"""Deletion for good, because the user said so: out of the store, and out of everything that shows what was in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turn_places import TurnPlaces
from memsched.memory.model import Memory
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.store import MemoryStore
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleLogForWebItem
from memsched.queue.events import append_event
from memsched.settings import Settings
from memsched.tiers.hot_state import HotState, HotStates
from memsched.tiers.moves import Placement
from memsched.tiers.working_set import WorkingSets

DELETED = "Deleted"
_LABEL = "delete"
_PART_OF_A_TURN_CHARACTERS = 20
"""A memory that long and within what was said is a part of it, and no word that happens to stand there too."""


class Deletion:
    """Deletes memories without a trace: no tombstone stays. Whether the user may is checked by the caller.

    The hot state comes first: there they are gone at once, and it is written down that they are to be forgotten. Then
    the store and the word counts, then the hot state again. Whoever computes the working set, or reads the cube, and
    finds a deletion begun, ends it: so it does not matter who dies in between.

    What cannot be found stays: what an answer or a question of the last few said of a memory in other words. It is gone
    after as many others.

    Events, which people look at, tell that it happened and not what was forgotten. Earlier events (of which only the
    newest are kept) still show what was remembered at their time.
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        keys: Keys,
        store: MemoryStore,
        terms: TermStatistics,
        turn_places: TurnPlaces,
        states: HotStates,
        working_sets: WorkingSets,
    ) -> None:
        self._events_maxlen = settings.events_maxlen
        self._server = server
        self._keys = keys
        self._store = store
        self._terms = terms
        self._turn_places = turn_places
        self._states = states
        self._working_sets = working_sets

    async def delete(self, ref: CubeRef, memories: Sequence[Memory], *, user_id: str, name: str) -> None:
        """Delete these memories of a cube.

        Args:
            user_id: who deletes.
            name: that user's name of the cube.
        """
        ids = sorted({memory.memory_id for memory in memories})
        await self._begin(ref, ids, [memory.text for memory in memories])
        working_set_size = await self._end(ref)
        said = "1 memory was deleted" if len(ids) == 1 else f"{len(ids)} memories were deleted"
        memory_type = memories[0].memory_type if memories else LONG_TERM_MEMORY_TYPE
        had = {memory.memory_id: {"had_superseded": memory.replaces} for memory in memories if memory.replaces}
        details: list[dict[str, Any]] = [{"memory_id": memory_id, **had.get(memory_id, {})} for memory_id in ids]
        await self._log(user_id, name, said, memory_type, details, working_set_size)

    async def delete_all(self, ref: CubeRef, *, user_id: str, name: str) -> int:
        """Delete all memories of a cube, its working set and its word counts. Returns how many it had.

        What is still on its way into the cube arrives afterwards.

        Args:
            user_id: who deletes.
            name: that user's name of the cube.
        """
        count = await self._store.count(ref)
        ids = sorted([memory.memory_id async for memory, _ in self._store.scan(ref)])

        async def nothing(state: HotState, _: set[str]) -> HotState:
            said = await self._states.said(ref)
            placement = Placement(changes=state.placement.changes + 1)
            kept: dict[str, Any] = {"version": state.version, "sent": state.sent, "placement": placement}
            return HotState(**kept, moves=[], deleting=ids, gone=said)

        await self._states.change(ref, [], nothing)
        await self._store.delete(ref)  # also what cannot be read
        await self._terms.reset(ref)
        await self._turn_places.forget(ref)
        await self._end(ref)
        await self._states.forget_uses(ref)
        await self._log(user_id, name, f"All memories were deleted: {count}", LONG_TERM_MEMORY_TYPE, [], 0)
        return count

    async def finish(self, ref: CubeRef) -> None:
        """End a deletion that somebody died over. Before anybody reads the cube: for them it has happened."""
        if await self._states.deleting(ref):
            await self._end(ref)

    async def _begin(self, ref: CubeRef, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Take memories out of all that is at hand, and write down that they are to be forgotten."""
        gone = frozenset(ids)

        async def without(state: HotState, _: set[str]) -> HotState:
            said = await self._states.said(ref)
            moves = [each for each in await self._states.moves(ref) if each.subject == "memory"]  # a theme's name tells
            changed = {
                "talk": [event for event in state.talk if not _holds(event.text, texts)],
                "gone": [event for event in said if _holds(event.text, texts)],
                "moves": [each for each in moves if each.subject_id not in gone],
                "deleting": sorted({*state.deleting, *gone}),
            }
            return state.without(gone).model_copy(update=changed)

        await self._states.change(ref, [], without)

    async def _end(self, ref: CubeRef) -> int:
        """Have them forgotten, and the rest computed without them. Returns the size of the working set then."""

        async def computed(state: HotState, _: set[str]) -> HotState:
            return await self._working_sets.recompute(ref, state)

        _, after = await self._states.change(ref, [], computed)
        return len(after.working_set)

    async def _log(
        self, user_id: str, name: str, said: str, memory_type: str, details: list[dict[str, Any]], working_set_size: int
    ) -> None:
        item = ScheduleLogForWebItem(
            user_id=user_id,
            mem_cube_id=name,
            label=_LABEL,
            log_content=f"{said}, as asked",
            from_memory_type=memory_type,
            to_memory_type=DELETED,
            metadata=details,
            current_memory_sizes={"working_memory_size": working_set_size},
        )
        command = append_event(self._keys, item.to_wire(), maxlen=self._events_maxlen)
        await self._server.persistently(lambda: self._server.call(command))


def _holds(said: str, texts: Sequence[str]) -> bool:
    """Whether what was said is one of these texts, or a longer turn that one of them is a part of."""
    return any(text == said or (len(text) >= _PART_OF_A_TURN_CHARACTERS and text in said) for text in texts)
