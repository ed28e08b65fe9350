"""What a cube's page says of what happened, and of whether what is near suffices."""

from __future__ import annotations

from typing import get_args

from memsched.memory_prompt import Reason
from memsched.messages import LONG_TERM_MEMORY_TYPE, WORKING_MEMORY_TYPE, ScheduleLogForWebItem
from memsched.service.dashboard.cube_view import SUFFICIENT, movements_of


def test_a_set_in_another_order_is_no_movement() -> None:
    nothing: dict[str, list[dict[str, str]]] = {"came_in": [], "went_out": []}
    move = {"memory_id": "m", "text": "Grey tiles.", "from": LONG_TERM_MEMORY_TYPE, "to": WORKING_MEMORY_TYPE}
    events = [
        ScheduleLogForWebItem(
            user_id="ada",
            mem_cube_id="home",
            label="mem_update",
            from_memory_type=LONG_TERM_MEMORY_TYPE,
            to_memory_type=WORKING_MEMORY_TYPE,
            log_content="Working set: 2 memories",
            metadata=told,
        )
        for told in (nothing, {**nothing, "came_in": [move]})
    ]

    assert [each.text for each in movements_of(events, {})] == ["Grey tiles."]


def test_each_reason_stands_in_words() -> None:
    assert set(SUFFICIENT) == set(get_args(Reason))
