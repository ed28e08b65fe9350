"""Deletion for good, because the user said so: out of the store, and out of everything that shows what was in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
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

    The store comes first: whoever computes the working set from then on, here or in a worker that is at it and will
    find its version outdated, does not meet the memories again.

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
        states: HotStates,
        working_sets: WorkingSets,
    ) -> None:
        self._events_maxlen = settings.events_maxlen
        self._server = server
        self._keys = keys
        self._store = store
        self._terms = terms
        self._states = states
        self._working_sets = working_sets

    async def delete(self, ref: CubeRef, memories: Sequence[Memory], *, user_id: str, name: str) -> None:
        """Delete these memories of a cube.

        Args:
            user_id: who deletes.
            name: that user's name of the cube.
        """
        ids = sorted({memory.memory_id for memory in memories})
        await self._store.delete(ref, ids)
        working_set_size = await self._remove_from_hot_state(ref, ids, [memory.text for memory in memories])
        said = "1 memory was deleted" if len(ids) == 1 else f"{len(ids)} memories were deleted"
        memory_type = memories[0].memory_type if memories else LONG_TERM_MEMORY_TYPE
        details = [{"memory_id": memory_id} for memory_id in ids]
        await self._log(user_id, name, said, memory_type, details, working_set_size)

    async def delete_all(self, ref: CubeRef, *, user_id: str, name: str) -> int:
        """Delete all memories of a cube, its working set and its word counts. Returns how many it had.

        What is still on its way into the cube arrives afterwards.

        Args:
            user_id: who deletes.
            name: that user's name of the cube.
        """
        count = await self._store.count(ref)
        await self._store.delete(ref)
        await self._terms.reset(ref)
        await self._empty_hot_state(ref)
        await self._log(user_id, name, f"All memories were deleted: {count}", LONG_TERM_MEMORY_TYPE, [], 0)
        return count

    async def _remove_from_hot_state(self, ref: CubeRef, ids: Sequence[str], texts: Sequence[str]) -> int:
        """Take memories out of the talk, the log and the working set. Returns the size of the working set then."""

        async def without(state: HotState, _: set[str]) -> HotState:
            said = await self._states.said(ref)
            talk = [event for event in state.talk if not _holds(event.text, texts)]
            log = [event.without(gone) for event in state.log]
            pins = [each for each in state.placement.pins if each not in gone]
            moves = [each for each in await self._states.moves(ref) if each.subject == "memory"]  # a theme's name tells
            changed = {
                "talk": talk,
                "gone": [event for event in said if _holds(event.text, texts)],
                "log": log,
                "placement": state.placement.model_copy(update={"pins": pins}),
                "moves": [each for each in moves if each.subject_id not in gone],
            }
            return await self._working_sets.recompute(ref, state.model_copy(update=changed))

        gone = frozenset(ids)
        await self._states.forget_uses(ref, ids)
        _, after = await self._states.change(ref, [], without)
        return len(after.working_set)

    async def _empty_hot_state(self, ref: CubeRef) -> None:
        async def nothing(state: HotState, _: set[str]) -> HotState:
            placement = Placement(changes=state.placement.changes + 1)
            empty = {"talk": [], "log": [], "placement": placement, "moves": []}
            emptied = state.model_copy(update={**empty, "gone": await self._states.said(ref)})
            return await self._working_sets.recompute(ref, emptied)

        await self._states.change(ref, [], nothing)

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
