"""Deleting because the user said so: out of the store, and out of everything that shows what was in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleLogForWebItem
from memsched.queue.events import append_event

if TYPE_CHECKING:
    from memsched.broker.client import Server
    from memsched.broker.keys import Keys
    from memsched.handlers.services import MemoryServices
    from memsched.memory.access.permissions import CubeRef
    from memsched.memory.model import Memory
    from memsched.tiers.hot_state import HotState

DELETED = "Deleted"
_LABEL = "delete"
_PART_OF_A_TURN_CHARACTERS = 20
"""A memory that long and within what was said is a part of it, and no word that happens to stand there too."""


class Deletion:
    """Deletes memories. Whether the user may is checked by the caller.

    Events, which people look at, tell that it happened and not what was forgotten. Earlier events (of which only the
    newest are kept) still show what was remembered at their time.
    """

    def __init__(self, services: MemoryServices, server: Server, keys: Keys) -> None:
        self._services = services
        self._server = server
        self._keys = keys

    async def delete(self, ref: CubeRef, memories: Sequence[Memory], *, user_id: str, name: str) -> None:
        """Delete these memories of a cube that the user ``user_id`` calls ``name``.

        The store first: whoever computes the working set from now on, here or in a worker that is at it now and will
        find its version outdated, does not meet them again.
        """
        services = self._services
        gone = {memory.memory_id for memory in memories}
        texts = [memory.text for memory in memories]
        await services.store.delete(ref, sorted(gone))

        async def without(state: HotState, _: set[str]) -> HotState:
            talk = [event.model_copy(update={"hits": None}) for event in state.talk if not _holds(event.text, texts)]
            uses = {memory_id: use for memory_id, use in state.uses.items() if memory_id not in gone}
            return await services.working_sets.recompute(ref, state.model_copy(update={"talk": talk, "uses": uses}))

        _, after = await services.states.change(ref, [], without)
        said = "1 memory was deleted" if len(gone) == 1 else f"{len(gone)} memories were deleted"
        memory_type = memories[0].memory_type if memories else LONG_TERM_MEMORY_TYPE
        details = [{"memory_id": memory_id} for memory_id in sorted(gone)]
        await self._tell(user_id, name, said, memory_type, details, len(after.working_set))

    async def delete_all(self, ref: CubeRef, *, user_id: str, name: str) -> int:
        """Delete all memories of a cube, its working set and its counts; gives how many it had.

        What is still on its way into the cube arrives afterwards.
        """
        services = self._services
        count = await services.store.count(ref)
        await services.store.delete(ref)
        await services.terms.reset(ref)

        async def nothing(state: HotState, _: set[str]) -> HotState:
            return await services.working_sets.recompute(ref, state.model_copy(update={"talk": [], "uses": {}}))

        await services.states.change(ref, [], nothing)
        said = f"All memories were deleted: {count}"
        await self._tell(user_id, name, said, LONG_TERM_MEMORY_TYPE, [], 0)
        return count

    async def _tell(
        self, user_id: str, name: str, said: str, memory_type: str, details: list[dict[str, Any]], working: int
    ) -> None:
        item = ScheduleLogForWebItem(
            user_id=user_id,
            mem_cube_id=name,
            label=_LABEL,
            log_content=f"{said}, as asked",
            from_memory_type=memory_type,
            to_memory_type=DELETED,
            metadata=details,
            current_memory_sizes={"working_memory_size": working},
        )
        command = append_event(self._keys, item, maxlen=self._services.settings.events_maxlen)
        await self._server.persistently(lambda: self._server.call(command))


def _holds(said: str, texts: Sequence[str]) -> bool:
    """Whether what was said is one of these texts, or a longer turn that one of them is a part of."""
    return any(text == said or (len(text) >= _PART_OF_A_TURN_CHARACTERS and text in said) for text in texts)
