"""Moves between tiers that people ask for, and what people see of every move."""

from __future__ import annotations

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.counting import counted
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.supersession import Restored
from memsched.messages import ScheduleLogForWebItem
from memsched.queue.events import append_event
from memsched.settings import Settings
from memsched.tiers.moves import Move
from memsched.tiers.placement import Placements


class Moving:
    """Pins, unpins, archives and restores, and tells so. Whether the user may is checked by the caller.

    Each returns whether anything changed. Raises UnknownMemory, TooManyPins, MemoryPinned, MemorySuperseded.
    """

    def __init__(self, settings: Settings, server: Server, keys: Keys, placements: Placements) -> None:
        self._settings = settings
        self._server = server
        self._keys = keys
        self._placements = placements

    async def pin(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        """``user_id``: who asks; ``name``: that user's name of the cube."""
        return await self._told(ref, "pin", await self._placements.pin(ref, memory_id), user_id, name)

    async def unpin(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        return await self._told(ref, "unpin", await self._placements.unpin(ref, memory_id), user_id, name)

    async def archive(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        return await self._told(ref, "archive", await self._placements.archive(ref, memory_id), user_id, name)

    async def restore(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        """Out of the archive, and from under what corrects it."""
        reinstated = await self._placements.reinstate(ref, memory_id)
        for each in reinstated:
            await self._tell(ref, event_of_restored(each, user_id, name, "restore"))
        moved = await self._told(ref, "restore", await self._placements.restore(ref, memory_id), user_id, name)
        return moved or bool(reinstated)

    async def _told(self, ref: CubeRef, label: str, move: Move | None, user_id: str, name: str) -> bool:
        if move is not None:
            count_move(move)
            await self._tell(ref, event_of_move(move, user_id, name, label))
        return move is not None

    async def _tell(self, ref: CubeRef, item: ScheduleLogForWebItem) -> None:
        await append_event(self._server, self._keys, self._settings, (ref.user_id, ref.mem_cube_id), item)


def count_move(move: Move) -> None:
    """For the numbers that people watch."""
    counted[f"move:{move.from_tier}:{move.to_tier}"] += 1


def event_of_restored(restored: Restored, user_id: str, mem_cube_id: str, label: str) -> ScheduleLogForWebItem:
    """A correction that was undone, as people see it."""
    memory = restored.memory
    return ScheduleLogForWebItem(
        user_id=user_id,
        mem_cube_id=mem_cube_id,
        label=label,
        log_content=f"Holds after all: memory {memory.memory_id}, which {restored.by} had superseded",
        from_memory_type=memory.memory_type,
        to_memory_type=memory.memory_type,
        metadata={"memory_id": memory.memory_id, "superseded_by": restored.by},
    )


def event_of_move(move: Move, user_id: str, mem_cube_id: str, label: str, said: str = "") -> ScheduleLogForWebItem:
    """A move as people see it.

    Args:
        said: what the memory says, if it may be shown.
    """
    what = said or f"{move.subject} {move.subject_id}"
    return ScheduleLogForWebItem(
        user_id=user_id,
        mem_cube_id=mem_cube_id,
        label=label,
        log_content=f"{move.from_tier} to {move.to_tier}: {what} ({move.why})",
        from_memory_type=move.from_tier,
        to_memory_type=move.to_tier,
        metadata=move.model_dump(mode="json", exclude={"cause"})
        | ({"working_set": move.working_set} if move.working_set else {}),
    )
