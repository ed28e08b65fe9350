"""Follow-ups: the next step of a message, as a message of its own whose id makes it idempotent."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid5

from memsched.messages import ScheduleMessageItem

_NAMESPACE = UUID("0d2f6f0e-8a3c-4d52-9a55-9b8a0f6f7c11")


def follow_up(
    message: ScheduleMessageItem, label: str, content: str, info: dict[str, Any] | None = None, **more: Any
) -> ScheduleMessageItem:
    """The next step of a message. Its id follows from the message's: made twice, it is one.

    Also from whose message it is, and of which label: strangers, and other labels, may use the same ids.
    """
    cause = json.dumps([message.user_id, message.mem_cube_id, message.label, message.item_id, label])
    return ScheduleMessageItem(
        item_id=str(uuid5(_NAMESPACE, cause)),
        user_id=message.user_id,
        mem_cube_id=message.mem_cube_id,
        label=label,
        content=content,
        timestamp=message.timestamp,
        task_id=message.task_id,
        session_id=message.session_id,
        trace_id=message.trace_id,
        user_name=message.user_name,
        info=info,
        **more,
    )
