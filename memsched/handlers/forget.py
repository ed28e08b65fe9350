"""Forgetting on request: what "please forget that ..." names is archived, and told; ``restore`` undoes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from memsched.errors import MemoryPinned, UnknownMemory
from memsched.handlers.memory_events import USER_INPUT, event, shown
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_journal import Asked
from memsched.memory.ingest.forget_requests import ForgetRequest, forget_request, named_among
from memsched.memory.ingest.forgettable import EVERYTHING, FORGOTTEN, Asker, memories_named, named_of
from memsched.memory.ingest.turns import Turn
from memsched.memory.ingest.writer import Written
from memsched.memory.model import Memory, id_within, memory_id_for
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleLogForWebItem, ScheduleMessageItem
from memsched.worker.context import HandlerContext


@dataclass(frozen=True, slots=True)
class Request:
    """What a turn asks to forget, and the memories that it names."""

    message: ScheduleMessageItem
    turn: Turn
    asker: Asker
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
    askers = await _write_down(services, ref, messages, turns)
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
            asker = askers[key, turn.position]
            named = await _named(services, ref, asker, asked)
            if named or asked.is_all or named_among(asked, _said_before(message.item_id, turn, turns)):
                requests.append(Request(message, turn, asker, asked, tuple(named)))
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
        named |= {each.memory_id: each for each in await _named(services, ref, request.asker, request.asked)}
        done = (request.message.info or {}).get(FORGOTTEN)
        archived = [each for each in named.values() if isinstance(done, list) and each.memory_id in done]
        archived += await _archive(services, ref, [each for each in named.values() if each not in archived])
        told = EVERYTHING if request.asked.is_all else ""
        ctx.log(_forgotten(request.message, archived, told))


async def forget_as_asked_before(
    services: MemoryServices,
    ref: CubeRef,
    messages: Sequence[ScheduleMessageItem],
    written: Mapping[str, Written],
    ctx: HandlerContext,
) -> None:
    """Archive what is new and was said before somebody asked to forget it, though it comes only now.

    A request that named nothing when it came goes with it: it meant this. What these messages ask themselves is not
    looked at (``forget_as_asked``).
    """
    new = {message.item_id: written[message.item_id].added for message in messages if message.item_id in written}
    told = [memory.told for added in new.values() for memory in added]
    if not told:
        return
    here = {id_within(ref, message.user_id, message.item_id) for message in messages}
    asked = [each for each in await services.asked.since(ref, min(told)) if each.asker.message not in here]
    for message in {message.item_id: message for message in messages}.values() if asked else ():
        named: dict[str, Memory] = {}
        for each in asked:
            if each.request is None:
                continue
            if meant := named_of(new.get(message.item_id, ()), ref, each.request, each.asker):
                named |= {memory.memory_id: memory for memory in (*meant, *await _remembered(services, ref, each))}
        if named:
            ctx.log(_forgotten(message, await _archive(services, ref, list(named.values()))))


async def _write_down(
    services: MemoryServices,
    ref: CubeRef,
    messages: Sequence[ScheduleMessageItem],
    turns: Mapping[str, list[Turn]],
) -> dict[tuple[str, int], Asker]:
    """Write requests down. Returns who asks, by message and place; in a history that is told again, as they did then:
    what was said, or restored, since then is not meant.
    """
    once = {message.item_id: message for message in messages}
    askers: dict[tuple[str, int], Asker] = {}
    new: list[Asked] = []
    for key, said in turns.items():
        for turn in said:
            if (request := _request(turn)) is None:
                continue
            asker = _asker(ref, once[key], turn)
            if turn.ingested_at is None and (first := await services.asked.first_told(ref, turn.trigrams)):
                asker = replace(asker, at=first.asker.at)
            elif not request.is_all:
                new.append(Asked(request, asker, turn.trigrams))
            askers[key, turn.position] = asker
    if new:
        await services.asked.write(ref, new)
    return askers


async def _remembered(services: MemoryServices, ref: CubeRef, asked: Asked) -> list[Memory]:
    """The memories that a request, and nothing else, was remembered as."""
    name, position = asked.asker.message, asked.asker.position
    ids = memory_id_for(ref, name, position, 0), memory_id_for(ref, name, f"preference/{position}/0")
    found = await services.store.get(ref, ids)
    requests = {memory_id: forget_request(memory.text) for memory_id, memory in found.items()}
    return [found[name] for name, request in requests.items() if request is not None and not request.rest]


async def _archive(services: MemoryServices, ref: CubeRef, memories: Sequence[Memory]) -> list[Memory]:
    """Archive memories. Returns those that are archived now."""
    archived = []
    for memory in memories:
        with suppress(UnknownMemory, MemoryPinned):  # deleted meanwhile; or it is theirs to unpin
            await services.placements.archive(ref, memory.memory_id)
            archived.append(memory)
    return archived


def _forgotten(message: ScheduleMessageItem, archived: Sequence[Memory], told: str = "") -> ScheduleLogForWebItem:
    """What was archived as asked, as people see it.

    Args:
        told: instead of what was archived.
    """
    texts = "; ".join(shown(memory.text) for memory in archived) or "what it names is pinned, or was deleted"
    return event(
        message,
        told or f"Forgotten as asked (archived, restore brings it back): {texts}",
        from_type=LONG_TERM_MEMORY_TYPE,
        to_type=USER_INPUT,
        metadata=[{"memory_id": memory.memory_id, "status": "archived"} for memory in archived],
    )


def _without(turn: Turn, asked: ForgetRequest | None) -> Turn | None:
    """What a turn says beside a request; None if that is all of it."""
    if asked is None:
        return turn
    return replace(turn, text=asked.rest) if asked.rest else None


async def _named(services: MemoryServices, ref: CubeRef, asker: Asker, asked: ForgetRequest) -> list[Memory]:
    return await memories_named(services.store, services.search, ref, asked, asker)


def _asker(ref: CubeRef, message: ScheduleMessageItem, turn: Turn) -> Asker:
    name = id_within(ref, message.user_id, message.item_id)
    return Asker(message.user_id, turn.speaker, turn.at, name, turn.position)


def _said_before(item_id: str, asking: Turn, turns: Mapping[str, list[Turn]]) -> list[str]:
    """What users say in these messages before a request, but for other requests."""
    return [
        turn.text
        for key, said in turns.items()
        for turn in said
        if turn.by_user
        and (turn.at < asking.at or (turn.at == asking.at and (key != item_id or turn.position < asking.position)))
        and _request(turn) is None
    ]


def _request(turn: Turn) -> ForgetRequest | None:
    return forget_request(turn.text) if turn.by_user else None
