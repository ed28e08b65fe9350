"""``query``: somebody asked. The working set shall hold what the question needs."""

from __future__ import annotations

from memsched.errors import CubeForbidden
from memsched.handlers.admission import USER_INPUT, event, follow_up, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.messages import MEM_UPDATE_TASK_LABEL, WORKING_MEMORY_TYPE, ScheduleMessageItem
from memsched.worker.context import HandlerContext


async def query(
    services: MemoryServices, ref: CubeRef, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Hands each question on to ``mem_update``. Who may only read the cube asks without changing its working set."""
    first = messages[0]
    try:
        await services.cubes.resolve(first.user_id, first.mem_cube_id, Permission.WRITE)
        may_write = True
    except CubeForbidden:
        may_write = False
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
