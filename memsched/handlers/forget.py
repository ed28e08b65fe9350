"""Forgetting on request: what "please forget that ..." names is archived, and told; ``restore`` undoes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from memsched.errors import MemoryPinned, UnknownMemory
from memsched.handlers.memory_events import USER_INPUT, event, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_requests import ForgetRequest, forget_request, named_among
from memsched.memory.ingest.turns import Turn
from memsched.memory.search.arguments import SearchArgs
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleMessageItem
from memsched.worker.context import HandlerContext

_LOOKED_AT = 30


def without_requests(turns: Mapping[str, list[Turn]]) -> dict[str, list[Turn]]:
    """The turns but for those that ask to forget something: to keep them would be to keep that."""
    return {key: [turn for turn in said if _request(turn) is None] for key, said in turns.items()}


async def forget_as_asked(
    services: MemoryServices,
    ref: CubeRef,
    messages: Sequence[ScheduleMessageItem],
    turns: Mapping[str, list[Turn]],
    ctx: HandlerContext,
) -> None:
    """Archive what the requests among these turns name."""
    for message in messages:
        for turn in turns.get(message.item_id, ()):
            if (request := _request(turn)) is not None:
                await _forget(services, ref, message, turn, request, ctx)


def _request(turn: Turn) -> ForgetRequest | None:
    return forget_request(turn.text) if turn.by_user else None


async def _forget(
    services: MemoryServices,
    ref: CubeRef,
    message: ScheduleMessageItem,
    turn: Turn,
    request: ForgetRequest,
    ctx: HandlerContext,
) -> None:
    results = await services.search.search(ref, request.what, _LOOKED_AT, "hybrid", SearchArgs(neighbours=False))
    spoken = (turn.speaker, "")
    found = [
        result.item for result in results if request.is_topic or (result.item.speaker or result.item.said_by) in spoken
    ]  # a statement in the words of another person is theirs
    archived = []
    for number in named_among(request, [memory.text for memory in found]):
        with suppress(UnknownMemory):  # deleted meanwhile
            try:
                await services.placements.archive(ref, found[number].memory_id)
                archived.append(found[number])
            except MemoryPinned:
                continue  # somebody wants it near: it is theirs to unpin
    told = "; ".join(shown(memory.text) for memory in archived) or "nothing that it names was found"
    ctx.log(
        event(
            message,
            f"Forgotten as asked (archived, restore brings it back): {told}",
            from_type=LONG_TERM_MEMORY_TYPE,
            to_type=USER_INPUT,
            metadata=[{"memory_id": memory.memory_id, "status": "archived"} for memory in archived],
        )
    )
