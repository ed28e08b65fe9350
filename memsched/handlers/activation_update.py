"""``activation_update``: the model's server is sent the head of a cube's prompts, so that its prefix cache holds it."""

from __future__ import annotations

from memsched.activation.warming import Warmed
from memsched.errors import MemschedError
from memsched.handlers.follow_ups import follow_up
from memsched.handlers.memory_events import event
from memsched.handlers.services import MemoryServices
from memsched.logs import get_logger
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.messages import (
    ACTIVATION_MEMORY_TYPE,
    ACTIVATION_UPDATE_TASK_LABEL,
    WORKING_MEMORY_TYPE,
    ScheduleMessageItem,
)
from memsched.tiers.hot_state import HotState
from memsched.worker.context import HandlerContext

log = get_logger(__name__)


async def keep_warm(
    services: MemoryServices, ref: CubeRef, state: HotState, message: ScheduleMessageItem, ctx: HandlerContext
) -> None:
    """Have the head sent if it is time: the message may have changed it, or one before it within the interval.

    Of cubes about which somebody talks. Within the interval it is sent at its end, by this process, if nothing has it
    sent before. No message waits for that: ``wait`` would wait for it too, and a process that ends before costs nothing
    but the warm cache.
    """
    warming = services.warming
    if not warming.is_on or not warming.is_live(state, ctx.last_submitted_ms):
        return
    left = await warming.due_in(state, adapter=await services.adapter_of(ref))
    if left == 0:
        ctx.submit(follow_up(message, ACTIVATION_UPDATE_TASK_LABEL, ""))
    elif left is not None:
        services.timers.once(ref, left / 1000, lambda: _send(services, ref))


async def activation_update(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Send the head once for all messages, unless it was sent, or another one a short while ago.

    What is sent is what the cube's owner may read of it: their chats begin with it. What fails is not repeated, since
    chats warm the cache themselves; the next change of the block is the next try.
    """
    if (warmed := await _send(services, cube.ref)) is None:
        return
    block, caching = warmed.block, warmed.caching
    ctx.log(
        event(
            messages[-1],
            f"Sent the activation block to the model's server: {len(block.memory_ids)} memories",
            from_type=WORKING_MEMORY_TYPE,
            to_type=ACTIVATION_MEMORY_TYPE,
            metadata={
                "version": block.version,
                "tokens": block.tokens,
                "memory_ids": block.memory_ids,
                "kind": warmed.dialect.name,
                "step": caching.step.value,
                "cached": caching.use.cached,
            },
        )
    )


async def _send(services: MemoryServices, ref: CubeRef) -> Warmed | None:
    """What was sent; None if it was not time, or the server did not take it."""
    try:
        if not services.warming.is_on:
            return None
        return await services.warming.warm(ref, adapter=await services.adapter_of(ref))
    except MemschedError as error:
        log.warning(
            "the activation block was not sent; the next chat reads it to the model's server itself",
            action="activation.not_sent",
            error=str(error),
        )
        return None
