"""Forgetting on request: what "please forget that ..." names is archived, and told; ``restore`` undoes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from memsched.errors import MemoryPinned, UnknownMemory
from memsched.handlers.memory_events import USER_INPUT, event, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_requests import ForgetRequest, forget_request, named_among
from memsched.memory.ingest.turns import Turn
from memsched.memory.model import Memory
from memsched.memory.search.arguments import SearchArgs
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleMessageItem
from memsched.worker.context import HandlerContext

_LOOKED_AT = 30


@dataclass(frozen=True, slots=True)
class Request:
    """What a turn asks to forget, and the memories that it names."""

    message: ScheduleMessageItem
    turn: Turn
    asked: ForgetRequest
    named: tuple[Memory, ...]


def without_requests(turns: Mapping[str, list[Turn]]) -> dict[str, list[Turn]]:
    """The turns but for those that ask to forget something: no facts are taken from these."""
    return {key: [turn for turn in said if _request(turn) is None] for key, said in turns.items()}


async def requests_among(
    services: MemoryServices,
    ref: CubeRef,
    messages: Sequence[ScheduleMessageItem],
    turns: Mapping[str, list[Turn]],
) -> tuple[list[Request], dict[str, list[Turn]]]:
    """The requests that name something, and all other turns.

    To remember such a request would be to remember what it names. One that names nothing that is remembered, and
    nothing that was said before it here, is remembered as any turn: it may have meant something else.
    """
    requests: list[Request] = []
    others: dict[str, list[Turn]] = {}
    once = {message.item_id: message for message in messages}  # delivered twice, it may be there twice
    for key, said in turns.items():
        message, kept = once[key], others.setdefault(key, [])
        for turn in said:
            asked = _request(turn)
            if asked is None:
                kept.append(turn)
                continue
            named = await _named(services, ref, message, turn, asked)
            here = [each.text for before in others.values() for each in before if each.by_user]
            if named or named_among(asked, here):
                requests.append(Request(message, turn, asked, tuple(named)))
            else:
                kept.append(turn)
    return requests, others


async def forget_as_asked(
    services: MemoryServices, ref: CubeRef, requests: Sequence[Request], ctx: HandlerContext
) -> None:
    """Archive what these name, with what was said right before them; done once more, it changes nothing."""
    for request in requests:
        named = {each.memory_id: each for each in request.named}
        named |= {
            each.memory_id: each for each in await _named(services, ref, request.message, request.turn, request.asked)
        }
        archived = []
        for memory in named.values():
            with suppress(UnknownMemory, MemoryPinned):  # deleted meanwhile; or it is theirs to unpin
                await services.placements.archive(ref, memory.memory_id)
                archived.append(memory)
        told = "; ".join(shown(memory.text) for memory in archived) or "what it names is pinned, or was deleted"
        ctx.log(
            event(
                request.message,
                f"Forgotten as asked (archived, restore brings it back): {told}",
                from_type=LONG_TERM_MEMORY_TYPE,
                to_type=USER_INPUT,
                metadata=[{"memory_id": memory.memory_id, "status": "archived"} for memory in archived],
            )
        )


def _request(turn: Turn) -> ForgetRequest | None:
    return forget_request(turn.text) if turn.by_user else None


async def _named(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, turn: Turn, asked: ForgetRequest
) -> list[Memory]:
    """The memories that a request means, archived ones too: those of who asks. What others said is theirs."""
    args = SearchArgs(neighbours=False, include_archived=True)
    found = [each.item for each in await services.search.search(ref, asked.what, _LOOKED_AT, "hybrid", args)]
    own = {turn.speaker}
    if message.user_id == ref.user_id:
        own |= {"", "assistant"} if asked.is_topic else {""}
    theirs = [each for each in found if (each.speaker or each.said_by) in own]
    return [theirs[number] for number in named_among(asked, [each.text for each in theirs])]
