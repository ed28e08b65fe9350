"""``preload``: a conversation begins. What it will need is near, in the set, the block and this process's memory."""

from __future__ import annotations

from memsched.handlers.mem_update import mem_update
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import Permission
from memsched.messages import ScheduleMessageItem
from memsched.worker.context import HandlerContext


async def preload(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """One pass over the working set, whatever the messages say: it follows from what the cube knows.

    That is standing value, and the theme of the last talk. Who may only read a cube finds it as its writers left it.
    """
    if cube.permission.allows(Permission.WRITE):
        latest = max(messages, key=lambda message: (message.timestamp, message.item_id))
        await mem_update(services, cube, [latest.model_copy(update={"content": ""})], ctx)
