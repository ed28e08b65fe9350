"""Follow-ups: the next step of a message, as a message of its own whose id makes it idempotent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from memsched.messages import MEM_ARCHIVE_TASK_LABEL, MEM_UPDATE_TASK_LABEL, ScheduleMessageItem
from memsched.tiers.moves import Upkeep

MOST_NAMED = 1000
"""Memories that a message's ``info`` may name; more are not looked at."""
_NAMESPACE = UUID("0d2f6f0e-8a3c-4d52-9a55-9b8a0f6f7c11")


def update_after(messages: Sequence[ScheduleMessageItem]) -> ScheduleMessageItem:
    """The one pass over the working set that follows what these messages changed, in the name of the latest of them.

    Its id follows from all of them. By the latest alone, the pass after a message that comes late, beside one that
    was handled before, would be taken for the pass that was made then.
    """
    latest = max(messages, key=lambda message: (message.timestamp, message.item_id))
    others = sorted({message.item_id for message in messages} - {latest.item_id})
    return follow_up(latest, MEM_UPDATE_TASK_LABEL, "", beside=others)


def upkeep_after(message: ScheduleMessageItem, upkeep: Upkeep) -> ScheduleMessageItem:
    """The one message that has a cube's placement looked at, once for each reason, however many messages ask for it.

    Its id follows from the cube and the reason: the day, the excess, what was needed.
    """
    cause = json.dumps([message.user_id, message.mem_cube_id, upkeep.model_dump()], sort_keys=True)
    asked = follow_up(message, MEM_ARCHIVE_TASK_LABEL, "", {"needed": upkeep.needed} if upkeep.needed else None)
    return asked.model_copy(update={"item_id": str(uuid5(_NAMESPACE, cause))})


def follow_up(
    message: ScheduleMessageItem,
    label: str,
    content: str,
    info: dict[str, Any] | None = None,
    *,
    beside: Sequence[str] = (),
    **more: Any,
) -> ScheduleMessageItem:
    """The next step of a message. Its id follows from the message's: made twice, it is one.

    Also from whose message it is, and of which label: strangers, and other labels, may use the same ids.

    Args:
        beside: the ids of the other messages of which it is the next step too.
    """
    cause = json.dumps([message.user_id, message.mem_cube_id, message.label, message.item_id, label, *beside])
    return ScheduleMessageItem(
        item_id=str(uuid5(_NAMESPACE, cause)),
        user_id=message.user_id,
        mem_cube_id=message.mem_cube_id,
        label=label,
        content=content,
        timestamp=message.timestamp,
        utc_offset=message.utc_offset,
        task_id=message.task_id,
        session_id=message.session_id,
        trace_id=message.trace_id,
        user_name=message.user_name,
        info=info,
        **more,
    )
