"""Times that users give."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.messages import message

from memsched import AsyncMemScheduler, MemScheduler
from memsched.durations import seconds_of, seconds_or_none
from memsched.errors import InvalidArgument, MemschedError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(0, 0.0), (1.5, 1.5), (Decimal("2.5"), 2.5), (timedelta(minutes=1), 60.0), (timedelta(days=366), 31_622_400.0)],
)
def test_seconds_are_a_number_or_a_timedelta(given: Any, seconds: float) -> None:
    assert seconds_of("delay", given) == seconds


ODD = ["60", "", True, None, -5, -0.001, math.nan, math.inf, 10**400, 1e15, Decimal("NaN"), Decimal("sNaN"), [1], 1j]


@pytest.mark.parametrize("given", ODD)
def test_what_is_no_span_of_time_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"delay=.*: expected ") as refused:
        seconds_of("delay", given)
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, MemschedError)


def test_none_is_no_limit_where_there_may_be_none() -> None:
    assert seconds_or_none("timeout", None) is None
    with pytest.raises(InvalidArgument, match="31,622,400 seconds"):
        seconds_or_none("timeout", timedelta(days=367))


@pytest.mark.parametrize("odd", ["60", math.nan, -1, True, timedelta(days=400)])
async def test_every_call_with_a_time_refuses_it_before_anything_happens(odd: Any) -> None:
    scheduler = AsyncMemScheduler(redis_url="memory://odd")
    sync = MemScheduler(redis_url="memory://odd")

    for call in (
        lambda: scheduler.submit_messages(message(), delay=odd),
        lambda: scheduler.memos_message_queue.submit_messages(message(), delay=odd),
        lambda: scheduler.wait(timeout=odd),
        lambda: scheduler.stop(odd),
    ):
        with pytest.raises(InvalidArgument):
            await call()
    with pytest.raises(InvalidArgument):
        sync.stop(odd)
    assert scheduler._server is None
