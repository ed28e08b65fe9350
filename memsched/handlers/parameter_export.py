"""``parameter_export``: choose what of a cube is stable enough for weights, and write its data set."""

from __future__ import annotations

from typing import Any

from memsched.errors import InvalidMessage
from memsched.handlers.follow_ups import follow_up
from memsched.handlers.memory_events import event
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.memory.model import memory_id_for
from memsched.messages import (
    LONG_TERM_MEMORY_TYPE,
    PARAMETER_EXPORT_TASK_LABEL,
    PARAMETER_TRAIN_TASK_LABEL,
    ScheduleMessageItem,
)
from memsched.parameters.dataset import NoReplay, UnreadableReplay
from memsched.parameters.parameters import HookDecides, NothingStable
from memsched.worker.context import HandlerContext


async def parameter_export(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Each message is one adapter: done once more, it is the same one. ``info``: ``facts``, ``shared``, ``train``."""
    await services.deletion.finish(cube.ref)
    for message in messages:
        try:
            await _export(services, cube, message, ctx)
        except (NothingStable, NoReplay, UnreadableReplay, HookDecides, InvalidMessage) as error:
            ctx.fail(message, error)


async def _export(services: MemoryServices, cube: CubeView, message: ScheduleMessageItem, ctx: HandlerContext) -> None:
    services.parameters.refuse_strangers(cube.ref, message.user_id)
    asked = {name: _flag(message.info or {}, name) for name in ("facts", "shared", "train")}
    adapter = await services.parameters.export(
        cube.ref,
        facts=asked["facts"],
        scope="shared" if asked["shared"] else "own",
        adapter_id=memory_id_for(cube.ref, message.item_id, PARAMETER_EXPORT_TASK_LABEL).replace("-", "")[:12],
    )
    ctx.log(
        event(
            message,
            f"{len(adapter.members)} memories are exported for adapter {adapter.adapter_id}",
            from_type=LONG_TERM_MEMORY_TYPE,
            to_type=LONG_TERM_MEMORY_TYPE,
            metadata=[{"memory_id": each} for each in adapter.members],
        )
    )
    if asked["train"]:
        ctx.submit(follow_up(message, PARAMETER_TRAIN_TASK_LABEL, adapter.adapter_id))


def _flag(info: dict[str, Any], name: str) -> bool:
    given = info.get(name, False)
    if not isinstance(given, bool):
        raise InvalidMessage(f"info.{name} must be true or false, not {given!r}")
    return given
