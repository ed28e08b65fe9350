"""Memory events: what people see of a message's effects (``show_web_logs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.writer import Written
from memsched.messages import LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE, ScheduleLogForWebItem, ScheduleMessageItem
from memsched.plurals import counted
from memsched.worker.context import HandlerContext

USER_INPUT = "UserInput"
"""Where a memory comes from that was not one before."""
_SHOWN_CHARACTERS = 200


def event(
    message: ScheduleMessageItem,
    said: str,
    *,
    from_type: str,
    to_type: str,
    sizes: dict[str, int] | None = None,
    metadata: list[dict[str, Any]] | dict[str, Any] | None = None,
    capacity: int | None = None,
) -> ScheduleLogForWebItem:
    """An event about one message.

    Args:
        said: what happened, in words.
        capacity: of the working set, where the event is about it.
    """
    capacities = {} if capacity is None else {"working_memory_capacity": capacity}
    return ScheduleLogForWebItem(
        user_id=message.user_id,
        mem_cube_id=message.mem_cube_id,
        label=message.label,
        log_content=said,
        from_memory_type=from_type,
        to_memory_type=to_type,
        current_memory_sizes=sizes or {},
        memory_capacities=capacities,
        task_id=message.task_id,
        metadata=metadata,
    )


async def log_written(
    services: MemoryServices,
    ref: CubeRef,
    messages: Sequence[ScheduleMessageItem],
    written: Mapping[str, Written],
    ctx: HandlerContext,
) -> None:
    """One event for each message and kind of thing that became of it.

    Args:
        written: by message id.
    """
    if not any(outcome.added or outcome.repeated or outcome.corrected for outcome in written.values()):
        return
    sizes = await sizes_of(services, ref)
    for message in messages:
        if outcome := written.get(message.item_id):
            for each in _events_of(message, outcome, sizes):
                ctx.log(each)


def _events_of(
    message: ScheduleMessageItem, outcome: Written, sizes: dict[str, int]
) -> Iterator[ScheduleLogForWebItem]:
    for memory_type in (LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE):
        if added := [memory for memory in outcome.added if memory.memory_type == memory_type]:
            yield event(
                message,
                f"Remembered {counted(len(added), 'memory', 'memories')}: {shown(added[0].indexed_text)}",
                from_type=USER_INPUT,
                to_type=memory_type,
                sizes=sizes,
                metadata=[{"memory_id": each.memory_id, "text": shown(each.indexed_text)} for each in added],
            )
    for text, same in outcome.repeated:
        yield event(
            message,
            f"Said before, kept once: {shown(text)}",
            from_type=USER_INPUT,
            to_type=same.memory_type,
            sizes=sizes,
            metadata={"memory_id": same.memory_id, "text": shown(same.indexed_text)},
        )
    for older, newer in outcome.corrected:
        yield event(
            message,
            f"Corrected: \u201c{shown(older.text)}\u201d is now \u201c{shown(newer.text)}\u201d"
            f" ({older.superseded_because})",
            from_type=older.memory_type,
            to_type=newer.memory_type,
            sizes=sizes,
            metadata={
                "replaced": older.memory_id,
                "by": newer.memory_id,
                "because": older.superseded_because,
            },
        )


async def sizes_of(services: MemoryServices, ref: CubeRef) -> dict[str, int]:
    """How many memories the cube has, by type, without what is archived."""
    sizes = await services.working_sets.sizes(ref)
    return {"long_term_memory_size": sizes[LONG_TERM_MEMORY_TYPE], "user_memory_size": sizes[USER_MEMORY_TYPE]}


def shown(text: str) -> str:
    """A text, as long as an event may show of it."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}\u2026"
