"""Follow-ups: what is one step stays one, and what is another one is never taken for it."""

from __future__ import annotations

from support.memories import said

from memsched.handlers.follow_ups import follow_up, update_after

FIRST = said("I prefer trains to planes.", 5, item_id="first")
LATE = said("I prefer tea to coffee.", 1, item_id="late")


def test_the_pass_after_the_same_messages_is_the_same_in_any_order_and_however_often_they_come() -> None:
    ids = {update_after(batch).item_id for batch in ([FIRST, LATE], [LATE, FIRST], [FIRST, LATE, FIRST])}

    assert len(ids) == 1


def test_a_message_that_comes_late_beside_a_repeated_one_has_a_pass_of_its_own() -> None:
    assert update_after([LATE, FIRST]).item_id not in {update_after([FIRST]).item_id, update_after([LATE]).item_id}


def test_the_pass_is_in_the_name_of_the_latest_and_after_one_message_is_its_next_step() -> None:
    assert update_after([FIRST, LATE]).timestamp == FIRST.timestamp
    assert update_after([LATE]) == follow_up(LATE, "mem_update", "")
