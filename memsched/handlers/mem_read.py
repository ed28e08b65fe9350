"""``mem_read``: read a conversation thoroughly. With a model, facts, preferences and events are taken from it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from memsched.handlers.add import parse, remember
from memsched.handlers.decisions import act_on, ask
from memsched.handlers.embed_later import embed_later
from memsched.handlers.follow_ups import follow_up
from memsched.handlers.forget import forget_as_asked_before, without_requests
from memsched.handlers.memory_events import log_written
from memsched.handlers.put_off import may_help_later, put_off
from memsched.handlers.services import MemoryServices
from memsched.llm.errors import LLMError
from memsched.llm.extraction import SourceTurn, extract
from memsched.logs import get_logger
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import Turn
from memsched.memory.ingest.writer import Statement, Written
from memsched.memory.model import Memory, id_within, with_caption
from memsched.messages import MEM_REREAD_TASK_LABEL, MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.worker.context import HandlerContext

log = get_logger(__name__)
_DECIDED = ""
"""In a checkpoint, what was decided stands under no message's id."""


async def mem_read(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Utterances are stored as they were said, whatever the model does; what it finds comes beside them.

    ``info.read_for``: the message (of ``add``) that stored the utterances already, whose memories these are.
    """
    unread = [message for message in messages if not _read_for(message)]
    turns = await parse(services, cube.ref, [each for each in messages if _read_for(each)], ctx)
    if unread:
        turns |= without_requests(await remember(services, cube, unread, ctx))
    if services.reader is None:
        return
    await _read(services, cube, messages, turns, ctx)


async def mem_reread(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Read what was put off because the model was of no use. Turns that were deleted meanwhile are not read.

    Where no model is configured any more there is nothing left to do.
    """
    if services.reader is None:
        return
    turns = await parse(services, cube.ref, messages, ctx)
    there = {
        message.item_id: said
        for message in messages
        if (said := turns.get(message.item_id)) and await _stored(services, cube.ref, message, said)
    }
    await _read(services, cube, messages, there, ctx)


async def _read(
    services: MemoryServices,
    cube: CubeView,
    messages: list[ScheduleMessageItem],
    turns: dict[str, list[Turn]],
    ctx: HandlerContext,
) -> None:
    """Have the model read conversations whose turns are stored, and remember what it finds."""
    readable = {
        message.item_id: await _not_deleted(services, cube.ref, message, turns[message.item_id])
        for message in messages
        if turns.get(message.item_id)
    }
    claims = await _claims(services, messages, readable, ctx)
    written: dict[str, Written] = {}
    for message in messages:
        if found := claims.get(message.item_id):
            written[message.item_id] = await _write(services, cube, message, turns[message.item_id], found)
    for message in messages:
        if message.item_id in claims and (
            corrected := await _decided(services, cube.ref, message, readable, claims, ctx)
        ):
            written.setdefault(message.item_id, Written()).corrected += corrected
    await log_written(services, cube.ref, messages, written, ctx)
    await forget_as_asked_before(services, cube.ref, messages, written, ctx)
    embed_later(messages, written, ctx)
    for message in messages:
        # An unread message's own follow-up, from store(), comes after this call, and so sees what was found.
        if _read_for(message) and message.item_id in written:
            ctx.submit(follow_up(message, MEM_UPDATE_TASK_LABEL, ""))


async def _claims(
    services: MemoryServices,
    messages: list[ScheduleMessageItem],
    turns: dict[str, list[Turn]],
    ctx: HandlerContext,
) -> dict[str, list[dict[str, Any]]]:
    """By message id, what the model says that the conversation holds; from the checkpoint, if it was asked before.

    Those that it could not read now are put off, and missing.
    """
    found: dict[str, list[dict[str, Any]]] = dict(ctx.resume or {}) if len(messages) == 1 else {}
    found.pop(_DECIDED, None)

    async def ask(message: ScheduleMessageItem) -> None:
        try:
            async with services.extracting:
                found[message.item_id] = await _extract(services, turns[message.item_id])
        except LLMError as error:
            put_off(services, message, _read_for(message) or message.item_id, error, ctx)
            return
        # What a model says differs each time: the next run must go on with this, or it would remember twice.
        await ctx.checkpoint({message.item_id: found[message.item_id]}, message)

    def says_something(message: ScheduleMessageItem) -> bool:
        return any(turn.text for turn in turns.get(message.item_id, ()))

    unread = [message for message in messages if message.item_id not in found]
    await asyncio.gather(*(ask(message) for message in unread if says_something(message)))
    return found


async def _decided(
    services: MemoryServices,
    ref: CubeRef,
    message: ScheduleMessageItem,
    turns: dict[str, list[Turn]],
    claims: dict[str, list[dict[str, Any]]],
    ctx: HandlerContext,
) -> list[tuple[Memory, Memory]]:
    """What a message corrects, as the model decides; from the checkpoint, if it was asked before."""
    decided = (ctx.resume or {}).get(_DECIDED) if message.item_id in (ctx.resume or {}) else None
    if decided is None:
        name = _name(ref, message)
        own = {each for turn in turns[message.item_id] for each in services.writer.ids_of_turn(ref, name, turn)}
        stored = await _stored(services, ref, message, turns[message.item_id])
        async with services.extracting:
            decided = await ask(services, ref, [each for each in stored.values() if each.memory_id in own])
        if decided:
            await ctx.checkpoint({message.item_id: claims[message.item_id], _DECIDED: decided}, message)
    return await act_on(services, ref, decided)


async def _write(
    services: MemoryServices,
    cube: CubeView,
    message: ScheduleMessageItem,
    turns: list[Turn],
    claims: list[dict[str, Any]],
) -> Written:
    ref, name = cube.ref, _name(cube.ref, message)
    stored = await _stored(services, ref, message, turns)
    statements = [
        _statement(services, ref, name, number, claim, turns, stored)
        for number, claim in enumerate(claims)
        if (message.label != MEM_REREAD_TASK_LABEL or stored.keys() >= set(claim["source_turns"]))
        and not any(stored[index].archived_because == "asked" for index in claim["source_turns"] if index in stored)
    ]
    return await services.writer.write_statements(
        ref, _read_for(message) or message.item_id, statements, message.user_id, emptied=cube.emptied
    )


async def _not_deleted(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, turns: list[Turn]
) -> list[Turn]:
    """The turns; those that were deleted since they were stored without what they said."""
    ids = [services.writer.ids_of_turn(ref, _name(ref, message), turn) for turn in turns]
    deleted = (await services.tombstones.among(ref, [each for theirs in ids for each in theirs])).memory_ids
    return [
        replace(turn, text="", caption="") if deleted.intersection(theirs) else turn
        for turn, theirs in zip(turns, ids, strict=True)
    ]


async def _stored(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, turns: list[Turn]
) -> dict[int, Memory]:
    return await services.writer.stored(ref, _read_for(message) or message.item_id, turns, message.user_id)


def _name(ref: CubeRef, message: ScheduleMessageItem) -> str:
    """What the message whose turns they are is called within the cube."""
    return id_within(ref, message.user_id, _read_for(message) or message.item_id)


def _read_for(message: ScheduleMessageItem) -> str:
    return str((message.info or {}).get("read_for") or "")


async def _extract(services: MemoryServices, turns: list[Turn]) -> list[dict[str, Any]]:
    """What the model found, verified against the turns; [] when it found nothing, or what it said is of no use.

    Raises LLMError when it may do better later.
    """
    assert services.reader is not None
    sources = [
        SourceTurn(
            turn.speaker, with_caption(turn.text, turn.caption), turn.at.isoformat(), turn.by_user, turn.by_assistant
        )
        for turn in turns
    ]
    try:
        extracted = await extract(services.reader, sources)
    except LLMError as error:
        services.reader.counters.fell_back("extract", error)
        if may_help_later(error):
            raise
        log.warning(
            "the model did not help; the conversation is remembered as it was said",
            action="memory.local_form",
            task="extract",
            error=str(error),
        )
        return []
    # Without the quotes, which have done their duty: a checkpoint may not be of any length.
    return [each.model_dump(mode="json", exclude={"quote"}) for each in extracted]


def _statement(
    services: MemoryServices,
    ref: CubeRef,
    name: str,
    number: int,
    claim: dict[str, Any],
    turns: list[Turn],
    stored: dict[int, Memory],
) -> Statement:
    source = next((index for index in claim["source_turns"] if index < len(turns)), 0)
    turn = turns[source]
    kept = stored.get(source)
    return Statement(
        key=f"model/{number}",
        text=claim["text"],
        kind=claim["kind"],
        about_user=bool(claim["about_user"]) and turn.by_user,
        at=kept.local_at if kept else turn.at,
        ingested_at=turn.ingested_at,
        speaker="",
        session_id=kept.session_id if kept else "",
        turn=kept.turn if kept else 0,
        sources={
            f"{name}#{turns[index].position}": turns[index].reference
            for index in claim["source_turns"]
            if index < len(turns)
        },
        importance=float(claim["importance"]),
        tags=claim["tags"],
        given_tags=turn.tags,
        metadata=turn.metadata,
        derived_from=[stored[index].memory_id for index in claim["source_turns"] if index in stored],
        said_by=turn.speaker,
        by_user=turn.by_user,
        event_date=str(claim.get("when") or ""),
        taken_from=[
            memory_id
            for index in claim["source_turns"]
            if index < len(turns)
            for memory_id in services.writer.ids_of_turn(ref, name, turns[index])
        ],
    )
