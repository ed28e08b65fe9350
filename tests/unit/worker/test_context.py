"""What a handler may ask of its context, and what it refuses at once, where the handler's author sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from support.deliveries import delivery
from support.messages import message

from memsched import HandlerContext, InvalidMessage, ScheduleLogForWebItem
from memsched.errors import InvalidArgument
from memsched.queue.delivery import Delivery


class Holder:
    def __init__(self) -> None:
        self.kept: list[str] = []

    async def save_checkpoint(self, deliveries: Sequence[Delivery], data: str) -> None:
        self.kept.append(data)

    async def renew_leases(self, deliveries: Sequence[Delivery]) -> None: ...


def context(*deliveries: Delivery, timeout: float = 0) -> HandlerContext:
    return HandlerContext(deliveries or (delivery(),), Holder(), timeout)


def test_follow_ups_wait_for_the_end_of_the_call() -> None:
    ctx = context()

    ctx.submit(message("one"))
    ctx.submit([message("two"), message("three")], delay_ms=50)
    ctx.submit([], delay_ms=-1)

    assert [(one.fields[9], one.delay_ms) for one in ctx.follow_ups] == [("one", 0), ("two", 50), ("three", 50)]


def test_a_follow_up_is_what_it_was_when_it_was_submitted() -> None:
    ctx, item = context(), message("one", info={"found": []})
    ctx.submit(item)

    item.info["found"].append(object())  # type: ignore[index]
    item.label = "another"

    (one,) = ctx.follow_ups
    assert (one.label, one.fields[-1]) == ("task", '{"found":[]}')


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), "soon"])
def test_a_follow_up_that_is_never_due_is_refused_at_once(delay: Any) -> None:
    with pytest.raises((ValueError, OverflowError)):
        context().submit(message(), delay_ms=delay)


@pytest.mark.parametrize("bad", ["text", ["text"], message(info={"x": object()}), message("\ud800")])
def test_a_follow_up_that_cannot_be_sent_is_refused_at_once(bad: Any) -> None:
    with pytest.raises(InvalidMessage):
        context().submit(bad)


def test_only_messages_of_this_call_can_be_decided_about() -> None:
    mine = delivery()
    ctx = context(mine)

    ctx.fail(mine.message, "no good")
    with pytest.raises(InvalidMessage, match="not a message of this call"):
        ctx.fail(message(), "a stranger")

    assert ctx.decisions[mine].error == "no good"


def test_an_error_may_be_an_exception_and_hold_any_text() -> None:
    one, other = delivery("1"), delivery("2")
    ctx = context(one, other)

    ctx.fail(one.message, ValueError("bad \udcff"))
    ctx.retry(other.message, 1.5, "later \ud800")

    assert ctx.decisions[one].error == "ValueError: bad \\udcff"
    assert ctx.decisions[other].error == "later \\ud800"
    assert ctx.decisions[other].delay_ms == 1500


def test_the_last_decision_about_a_message_counts() -> None:
    one = delivery()
    ctx = context(one)

    ctx.retry(one.message, 1)
    ctx.fail(one.message, "after all")

    assert ctx.decisions[one].delay_ms is None


@pytest.mark.parametrize("data", [object(), {"x": float("nan")}, {1, 2}, "x" * (1024 * 1024 + 1), ["\ud800"]])
async def test_a_checkpoint_that_cannot_be_kept_is_refused(data: Any) -> None:
    with pytest.raises(InvalidMessage, match="checkpoint"):
        await context().checkpoint(data)


def test_an_event_that_cannot_be_sent_is_refused_at_once() -> None:
    item = ScheduleLogForWebItem(
        user_id="u", mem_cube_id="c", label="add", from_memory_type="a", to_memory_type="b", log_content="\ud800"
    )

    with pytest.raises(ValueError, match="surrogates"):
        context().log(item)


def test_the_deadline_is_a_time_or_none() -> None:
    assert context().deadline is None
    assert context(timeout=60).deadline is not None


@pytest.mark.parametrize("odd", ["60", True, None, math.nan, math.inf, 1e15])
def test_a_delay_that_is_none_is_refused_where_its_author_sees_it(odd: Any) -> None:
    ctx = context()

    with pytest.raises(InvalidArgument):
        ctx.submit(message(), delay_ms=odd)
    with pytest.raises(InvalidArgument):
        ctx.retry(ctx._all[0].message, delay=odd)
    assert not ctx.follow_ups
    assert not ctx.decisions


def test_a_delay_in_the_past_is_now() -> None:
    ctx = context()

    ctx.retry(ctx._all[0].message, delay=-0.5)

    assert [decision.delay_ms for decision in ctx.decisions.values()] == [0]
