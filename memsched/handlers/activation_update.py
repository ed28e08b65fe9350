"""``activation_update``: the model's server is sent a cube's activation block, so that its prefix cache holds it."""

from __future__ import annotations

import time

from memsched.handlers.follow_ups import follow_up
from memsched.handlers.memory_events import event
from memsched.handlers.services import MemoryServices
from memsched.llm.errors import LLMError
from memsched.logs import get_logger
from memsched.memory.access.cubes import CubeView
from memsched.messages import (
    ACTIVATION_MEMORY_TYPE,
    ACTIVATION_UPDATE_TASK_LABEL,
    WORKING_MEMORY_TYPE,
    ScheduleMessageItem,
)
from memsched.policy.block import ActivationBlock
from memsched.tiers.activation_block import is_due, sent_now
from memsched.tiers.hot_state import HotState
from memsched.worker.context import HandlerContext

log = get_logger(__name__)


def keep_warm(services: MemoryServices, state: HotState, message: ScheduleMessageItem, ctx: HandlerContext) -> None:
    """Have the block sent if it is time: the message may have changed it, or one before it within the interval."""
    if services.warms and _is_due(services, state):
        ctx.submit(follow_up(message, ACTIVATION_UPDATE_TASK_LABEL, ""))


async def activation_update(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Send the block once for all messages, unless it was sent, or another one a short while ago.

    What is sent is what the cube's owner may read of it: their chats begin with it. That it is sent is written down
    first, by compare-and-set: of several workers one sends it. What fails is not repeated, since chats warm the cache
    themselves; the next change of the block is the next try.
    """
    if services.llm is None or not services.warms:
        return
    before = await services.states.load(cube.ref)
    if not _is_due(services, before):
        return

    async def claim(state: HotState, _: set[str]) -> HotState:
        return sent_now(state, _now()) if _is_due(services, state) else state

    before, after = await services.states.change(cube.ref, [], claim)
    if after.sent == before.sent:
        return
    block = ActivationBlock.of(
        services.release.members(cube.ref.user_id, cube.ref, after.block, await services.whole(cube.ref, after.block))
    )
    if not block.text:
        return
    try:
        await services.llm.warm(block.text)
    except LLMError as error:
        services.llm.counters.fell_back("warm", error)
        log.warning(
            "the activation block was not sent; the next chat reads it to the model's server itself",
            action="activation.not_sent",
            error=str(error),
        )
        return
    ctx.log(
        event(
            messages[-1],
            f"Sent the activation block to the model's server: {len(block.memory_ids)} memories",
            from_type=WORKING_MEMORY_TYPE,
            to_type=ACTIVATION_MEMORY_TYPE,
            metadata={"version": block.version, "tokens": block.tokens, "memory_ids": block.memory_ids},
        )
    )


def _is_due(services: MemoryServices, state: HotState) -> bool:
    return is_due(state, _now(), int(services.settings.activation_interval_seconds * 1000))


def _now() -> int:
    return int(time.time() * 1000)
