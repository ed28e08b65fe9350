"""Deliveries as a worker has them, without a server."""

from __future__ import annotations

from itertools import count
from typing import Any

from memsched.broker.keys import Keys
from memsched.queue.delivery import Delivery, Malformed, read_entry
from support.messages import LABEL, message

KEYS = Keys()
_numbers = count(1)


def delivery(
    content: str = "hello", *, label: str = LABEL, claims: int = 1, owner: str = "", fields: Any = None, **given: Any
) -> Delivery:
    """A new delivery; or one with a past: claims is the delivery count, owner whom it was claimed from."""
    item = message(content, label=label, **given)
    flat = [*item.to_wire(), "submitted", "1", *(text for pair in (fields or {}).items() for text in pair)]
    found = read_entry(
        KEYS.lane(label, item.user_id, item.mem_cube_id),
        f"{next(_numbers)}-0".encode(),
        [text.encode() for text in flat],
        count=claims,
        previous_owner=owner,
    )
    assert not isinstance(found, Malformed)
    return found


def contents(batch: list[Delivery]) -> list[str]:
    return [one.message.content for one in batch]
