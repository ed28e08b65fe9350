"""``query``: somebody asked. The working set shall hold what the question needs."""

from __future__ import annotations

from memsched.handlers.follow_ups import follow_up
from memsched.handlers.memory_events import USER_INPUT, event, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import Permission
from memsched.messages import MEM_UPDATE_TASK_LABEL, WORKING_MEMORY_TYPE, ScheduleMessageItem
from memsched.worker.context import HandlerContext


async def query(
    services: MemoryServices,
    cube: CubeView,
    messages: list[ScheduleMessageItem],
    ctx: HandlerContext,
) -> None:
    """Hand each question on to ``mem_update``. Who may only read the cube asks without changing its working set."""
    may_write = cube.permission.allows(Permission.WRITE)
    for message in messages:
        if not message.content.strip():
            continue
        if may_write:
            ctx.submit(follow_up(message, MEM_UPDATE_TASK_LABEL, message.content))
        ctx.log(
            event(
                message,
                f"Asked: {shown(message.content)}",
                from_type=USER_INPUT,
                to_type=WORKING_MEMORY_TYPE,
                metadata={"working_set_follows": may_write},
            )
        )
