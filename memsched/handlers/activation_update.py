"""``activation_update``: the model's server is sent a cube's activation block, so that its prefix cache holds it."""

from __future__ import annotations

import time

from memsched.errors import MemschedError
from memsched.handlers.follow_ups import follow_up
from memsched.handlers.memory_events import event
from memsched.handlers.services import MemoryServices
from memsched.llm.errors import LLMError
from memsched.logs import get_logger
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.messages import (
    ACTIVATION_MEMORY_TYPE,
    ACTIVATION_UPDATE_TASK_LABEL,
    WORKING_MEMORY_TYPE,
    ScheduleMessageItem,
)
from memsched.policy.block import ActivationBlock
from memsched.tiers.activation_block import due_in, sent_now
from memsched.tiers.hot_state import HotState
from memsched.worker.context import HandlerContext

log = get_logger(__name__)


def keep_warm(
    services: MemoryServices, ref: CubeRef, state: HotState, message: ScheduleMessageItem, ctx: HandlerContext
) -> None:
    """Have the block sent if it is time: the message may have changed it, or one before it within the interval.

    Within the interval it is sent at its end, by this process, if nothing has it sent before. No message waits for
    that: ``wait`` would wait for it too, and a process that ends before costs nothing but the warm cache.
    """
    if services.warms and (left := _due_in(services, state)) is not None:
        if left == 0:
            ctx.submit(follow_up(message, ACTIVATION_UPDATE_TASK_LABEL, ""))
        else:
            services.timers.once(ref, left / 1000, lambda: _send_later(services, ref))


async def _send_later(services: MemoryServices, ref: CubeRef) -> None:
    try:
        await _send(services, ref)
    except MemschedError as error:
        _not_sent(error)


async def activation_update(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Send the block once for all messages, unless it was sent, or another one a short while ago.

    What is sent is what the cube's owner may read of it: their chats begin with it. That it is sent is written down
    first, by compare-and-set: of several workers one sends it. What fails is not repeated, since chats warm the cache
    themselves; the next change of the block is the next try.
    """
    if (block := await _send(services, cube.ref)) is None:
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


async def _send(services: MemoryServices, ref: CubeRef) -> ActivationBlock | None:
    """The block that was sent; None if it was not time, or the server did not take it."""
    if services.llm is None or not services.warms:
        return None
    before = await services.states.load(ref)
    if _due_in(services, before) != 0:
        return None

    async def claim(state: HotState, _: set[str]) -> HotState:
        return sent_now(state, _now()) if _due_in(services, state) == 0 else state

    before, after = await services.states.change(ref, [], claim)
    if after.sent == before.sent:
        return None
    block = ActivationBlock.of(
        services.release.members(ref.user_id, ref, after.block, await services.whole(ref, after.block))
    )
    if not block.text:
        return None
    try:
        await services.llm.warm(block.text)
    except LLMError as error:
        services.llm.counters.fell_back("warm", error)
        _not_sent(error)
        return None
    return block


def _not_sent(error: MemschedError) -> None:
    log.warning(
        "the activation block was not sent; the next chat reads it to the model's server itself",
        action="activation.not_sent",
        error=str(error),
    )


def _due_in(services: MemoryServices, state: HotState) -> int | None:
    return due_in(state, _now(), int(services.settings.activation_interval_seconds * 1000))


def _now() -> int:
    return int(time.time() * 1000)
