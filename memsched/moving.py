"""Moves between tiers that people ask for, and what people see of every move."""

from __future__ import annotations

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
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
        self._events_maxlen = settings.events_maxlen
        self._server = server
        self._keys = keys
        self._placements = placements

    async def pin(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        """``user_id``: who asks; ``name``: that user's name of the cube."""
        return await self._told("pin", await self._placements.pin(ref, memory_id), user_id, name)

    async def unpin(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        return await self._told("unpin", await self._placements.unpin(ref, memory_id), user_id, name)

    async def archive(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        return await self._told("archive", await self._placements.archive(ref, memory_id), user_id, name)

    async def restore(self, ref: CubeRef, memory_id: str, *, user_id: str, name: str) -> bool:
        return await self._told("restore", await self._placements.restore(ref, memory_id), user_id, name)

    async def _told(self, label: str, move: Move | None, user_id: str, name: str) -> bool:
        if move is not None:
            fields = event_of_move(move, user_id, name, label).to_wire()
            command = append_event(self._keys, fields, maxlen=self._events_maxlen)
            await self._server.persistently(lambda: self._server.call(command))
        return move is not None


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
