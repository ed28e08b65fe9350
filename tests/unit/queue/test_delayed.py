"""What the delayed set holds of a message that waits for a retry."""

from __future__ import annotations

import json

from support.deliveries import KEYS, delivery

from memsched.queue.delayed import delayed_member
from memsched.queue.delivery import Delivery, read_entry

LANE = KEYS.lane("task", "u", "c")


def test_a_message_that_waits_for_another_try_is_the_same_message() -> None:
    first = delivery("hello", fields={"errors": "1", "last_error": "old", "colour": "blue"})

    task, *flat = json.loads(delayed_member(first, {"errors": 2, "timeouts": 0}, "new"))
    again = read_entry(first.lane, b"5-0", [text.encode() for text in flat])

    assert task == first.task_key
    assert isinstance(again, Delivery)
    assert again.message == first.message
    assert again.attempts["errors"] == 2
    assert again.fields["last_error"] == "new"
    assert again.fields["colour"] == "blue"
    assert flat.count("errors") == flat.count("last_error") == 1


def test_a_foreign_message_keeps_its_identity_over_a_retry() -> None:
    first = read_entry(LANE, b"1700000000000-0", [b"user_id", b"alice", b"mem_cube_id", b"home", b"content", b"hi"])
    assert isinstance(first, Delivery)

    _, *flat = json.loads(delayed_member(first, {"errors": 1}, ""))
    again = read_entry(LANE, b"1800000000000-0", [text.encode() for text in flat])

    assert isinstance(again, Delivery)
    assert again.message.item_id == first.message.item_id
    assert again.message.timestamp == first.message.timestamp
