"""Forgetting on request: what "please forget that ..." names is archived, and told; ``restore`` undoes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from memsched.errors import MemoryPinned, UnknownMemory
from memsched.handlers.memory_events import USER_INPUT, event, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_requests import ForgetRequest, forget_request, named_among
from memsched.memory.ingest.forgettable import EVERYTHING, FORGOTTEN, Asker, memories_named
from memsched.memory.ingest.turns import Turn
from memsched.memory.model import Memory, id_within
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleMessageItem
from memsched.worker.context import HandlerContext


@dataclass(frozen=True, slots=True)
class Request:
    """What a turn asks to forget, and the memories that it names."""

    message: ScheduleMessageItem
    turn: Turn
    asked: ForgetRequest
    named: tuple[Memory, ...]


def without_requests(turns: Mapping[str, list[Turn]]) -> dict[str, list[Turn]]:
    """The turns without what asks to forget something in them: no facts are taken from that."""
    return {
        key: [left for turn in said if (left := _without(turn, _request(turn))) is not None]
        for key, said in turns.items()
    }


async def requests_among(
    services: MemoryServices,
    ref: CubeRef,
    messages: Sequence[ScheduleMessageItem],
    turns: Mapping[str, list[Turn]],
) -> tuple[list[Request], dict[str, list[Turn]]]:
    """The requests that name something, and all other turns; what a turn says before its request is one.

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
            if named or asked.is_all or named_among(asked, _said_before(message.item_id, turn, turns)):
                requests.append(Request(message, turn, asked, tuple(named)))
                kept += [left] if (left := _without(turn, asked)) is not None else []
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
        done = (request.message.info or {}).get(FORGOTTEN)
        archived = [each for each in named.values() if isinstance(done, list) and each.memory_id in done]
        for memory in (each for each in named.values() if each not in archived):
            with suppress(UnknownMemory, MemoryPinned):  # deleted meanwhile; or it is theirs to unpin
                await services.placements.archive(ref, memory.memory_id)
                archived.append(memory)
        told = "; ".join(shown(memory.text) for memory in archived) or "what it names is pinned, or was deleted"
        ctx.log(
            event(
                request.message,
                EVERYTHING
                if request.asked.is_all
                else f"Forgotten as asked (archived, restore brings it back): {told}",
                from_type=LONG_TERM_MEMORY_TYPE,
                to_type=USER_INPUT,
                metadata=[{"memory_id": memory.memory_id, "status": "archived"} for memory in archived],
            )
        )


def _without(turn: Turn, asked: ForgetRequest | None) -> Turn | None:
    """What a turn says beside a request; None if that is all of it."""
    if asked is None:
        return turn
    return replace(turn, text=asked.rest) if asked.rest else None


async def _named(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, turn: Turn, asked: ForgetRequest
) -> list[Memory]:
    name = id_within(ref, message.user_id, message.item_id)
    asker = Asker(message.user_id, turn.speaker, turn.at, name, turn.position)
    return await memories_named(services.store, services.search, ref, asked, asker)


def _said_before(item_id: str, asking: Turn, turns: Mapping[str, list[Turn]]) -> list[str]:
    """What users say in these messages before a request, but for other requests."""
    return [
        turn.text
        for key, said in turns.items()
        for turn in said
        if turn.by_user
        and (turn.position < asking.position if key == item_id else turn.at <= asking.at)
        and _request(turn) is None
    ]


def _request(turn: Turn) -> ForgetRequest | None:
    return forget_request(turn.text) if turn.by_user else None
