"""A follow-up: a message that a handler submits, as it was when the handler did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memsched.messages import MAX_MESSAGE_BYTES, ScheduleMessageItem
from memsched.queue.delivery import ORIGIN


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A message in wire form, with what says where it goes, and the delay in ms after which it is due."""

    label: str
    user_id: str
    mem_cube_id: str
    item_id: str
    fields: Sequence[str]
    delay_ms: int = 0

    @classmethod
    def of(
        cls,
        message: ScheduleMessageItem,
        delay_ms: float = 0,
        max_bytes: int = MAX_MESSAGE_BYTES,
        origin_ms: int | None = None,
    ) -> FollowUp:
        """As the message is now. Raises InvalidMessage if it cannot be sent.

        Args:
            origin_ms: when the message was submitted that led to it.
        """
        fields = message.to_wire(max_bytes)
        if origin_ms is not None:
            fields += (ORIGIN, str(origin_ms))
        return cls(message.label, message.user_id, message.mem_cube_id, message.item_id, fields, max(0, int(delay_ms)))

    def to_row(self) -> Sequence[Any]:
        """For a page of an outbox."""
        return (self.label, self.user_id, self.mem_cube_id, self.item_id, self.delay_ms, self.fields)

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> FollowUp:
        label, user_id, mem_cube_id, item_id, delay_ms, fields = row
        return cls(label, user_id, mem_cube_id, item_id, fields, delay_ms)
