"""``mem_feedback``: somebody says that a memory is wrong, in their own words or by its id."""

from __future__ import annotations

from typing import Any

from memsched.errors import InvalidMessage, MemoryPinned, UnknownMemory
from memsched.handlers.follow_ups import update_after
from memsched.handlers.memory_events import USER_INPUT, event, log_written, shown, sizes_of
from memsched.handlers.services import MemoryServices
from memsched.llm.errors import LLMError
from memsched.llm.judge import correction
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.revision import same_subject
from memsched.memory.ingest.turns import statement_of
from memsched.memory.ingest.writer import Statement, Written
from memsched.memory.metadata import metadata_of
from memsched.memory.model import Memory, clamped, id_within, memory_id_for
from memsched.memory.search.arguments import SearchArgs
from memsched.messages import USER_MEMORY_TYPE, ScheduleMessageItem
from memsched.moving import event_of_restored
from memsched.worker.context import HandlerContext

_LOOKED_AT = 10
_CORRECTS_FROM = 0.4
"""Less than in a conversation: here it is certain that something is corrected."""
_BECAUSE = "somebody said that it is wrong"
_KEY = "feedback"
_ACTIONS = ("correct", "archive", "restore")


async def mem_feedback(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """``content`` is the correction: it is remembered, and supersedes what it corrects.

    ``info.memory_id`` names the memory; without it, the one that the words fit best is looked for. ``info.action``:
    ``correct`` (default), ``archive`` (out of search), ``restore``.
    """
    changed = False
    for message in messages:
        try:
            changed |= await _apply(services, cube, message, ctx)
        except InvalidMessage as error:
            ctx.fail(message, error)
    if changed:
        ctx.submit(update_after(messages))


async def _apply(services: MemoryServices, cube: CubeView, message: ScheduleMessageItem, ctx: HandlerContext) -> bool:
    ref = cube.ref
    info = message.info or {}
    action = str(info.get("action") or "correct")
    if action not in _ACTIONS:
        raise InvalidMessage(f"info.action must be one of {', '.join(_ACTIONS)}, not {action!r}")
    named = await _named(services, ref, message.user_id, info)
    if action == "correct" and named is not None:
        named = await _what_it_is_now(services, ref, named)
    if action != "correct":
        if named is None:
            raise InvalidMessage(f"info.action {action} needs info.memory_id")
        await _set_status(services, ref, message, ctx, named, "archived" if action == "archive" else "activated")
        return True
    text = statement_of(message.content, "content")
    older, text = await _what_it_corrects(services, ref, message, text, named, ctx)
    statement = Statement(
        key=_KEY,
        text=text,
        kind=older[0].kind if older and older[0].kind != "turn" else "fact",
        about_user=bool(older) and older[0].memory_type == USER_MEMORY_TYPE,
        at=clamped(message.local_timestamp),
        speaker=older[0].speaker if older else await services.speaker(ref, message),
        said_by=older[0].said_by if older else "",
        by_user=older[0].by_user if older else True,
        session_id=older[0].session_id if older else message.session_id or "",
        turn=older[0].turn if older else 0,
        tags=older[0].tags if older else (),
        importance=max((memory.importance for memory in older), default=None),
        metadata=(older[0].metadata if older else {}) | metadata_of(message.info),
    )
    written = await services.writer.write_statements(
        ref, message.item_id, [statement], message.user_id, emptied=cube.emptied
    )
    if not (written.added or written.repeated):  # it was deleted since
        return True
    newer = written.added[0] if written.added else written.repeated[0][1]
    older = [memory for memory in older if memory.memory_id != newer.memory_id]
    done = await services.corrections.supersession.supersede(ref, older, newer, _BECAUSE)
    known = {before.memory_id for before, _ in done}
    corrected = [*done, *(pair for pair in written.corrected if pair[0].memory_id not in known)]
    outcome = Written(written.added, written.repeated, corrected)
    await log_written(services, ref, [message], {message.item_id: outcome}, ctx)
    return True


async def _named(services: MemoryServices, ref: CubeRef, user_id: str, info: dict[str, Any]) -> Memory | None:
    memory_id = info.get("memory_id")
    if memory_id is None:
        return None
    try:
        return await services.named(user_id, ref, memory_id)
    except UnknownMemory as error:
        raise InvalidMessage(f"the cube has no memory {shown(str(memory_id))!r}") from error


async def _what_it_is_now(services: MemoryServices, ref: CubeRef, memory: Memory) -> Memory:
    """What stands in the place of a memory that was corrected: whoever holds its id means that."""
    seen = {memory.memory_id}
    while memory.superseded_by and memory.superseded_by not in seen:
        seen.add(memory.superseded_by)
        newer = (await services.store.get(ref, [memory.superseded_by])).get(memory.superseded_by)
        if newer is None:
            break
        memory = newer
    return memory


async def _what_it_corrects(
    services: MemoryServices,
    ref: CubeRef,
    message: ScheduleMessageItem,
    text: str,
    named: Memory | None,
    ctx: HandlerContext,
) -> tuple[list[Memory], str]:
    """The memories that it corrects, if any, and the text to remember.

    What was chosen is kept with the message before anything is done about it, and afterwards it can be seen in what was
    stored: run again, when the first choice ranks lower, or a model says otherwise, it would correct another one too.
    """
    if named is not None:
        return [named], text
    kept = (ctx.resume or {}).get(message.item_id)
    if kept is not None:
        there = await services.store.get(ref, kept["corrects"])
        return list(there.values()), kept["text"]
    own = memory_id_for(ref, id_within(ref, message.user_id, message.item_id), _KEY)
    if (before := (await services.store.get(ref, [own])).get(own)) is not None:
        return list((await services.store.get(ref, before.replaces)).values()), before.text
    older, text = await _choose(services, ref, message, text)
    await ctx.checkpoint({message.item_id: {"corrects": [each.memory_id for each in older], "text": text}}, message)
    return older, text


async def _choose(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, text: str
) -> tuple[list[Memory], str]:
    args = SearchArgs(neighbours=False)
    results = await services.search.search(ref, text, _LOOKED_AT, "hybrid", args)
    own = f"{id_within(ref, message.user_id, message.item_id)}#{_KEY}"
    near = [each.item for each in results if own not in each.item.sources]
    if services.reader is not None and near:
        try:
            feedback = await correction(services.reader, text, [memory.indexed_text for memory in near])
            older = [] if feedback.corrected is None else [near[feedback.corrected]]
            return older, feedback.text or text
        except LLMError as error:
            services.reader.counters.fell_back("correction", error)
    fits = [(same_subject(text, memory.text), memory) for memory in near]
    best = max((fit for fit, _ in fits), default=0.0)
    if best < _CORRECTS_FROM:
        return [], text
    return [memory for fit, memory in fits if fit == best][:1], text


async def _set_status(
    services: MemoryServices, ref: CubeRef, message: ScheduleMessageItem, ctx: HandlerContext, memory: Memory, to: str
) -> None:
    try:
        if to == "archived":
            await services.placements.archive(ref, memory.memory_id)
        else:
            for each in await services.placements.reinstate(ref, memory.memory_id):
                ctx.log(event_of_restored(each, message.user_id, message.mem_cube_id, message.label))
            await services.placements.restore(ref, memory.memory_id)
    except MemoryPinned as error:
        raise InvalidMessage(str(error)) from error
    said = f"{'Archived' if to == 'archived' else 'Restored'} as asked: {shown(memory.indexed_text)}"
    ctx.log(
        event(
            message,
            said,
            from_type=memory.memory_type if to == "archived" else USER_INPUT,
            to_type=memory.memory_type,
            sizes=await sizes_of(services, ref),
            metadata={"memory_id": memory.memory_id, "status": to},
        )
    )
