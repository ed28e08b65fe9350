"""What a handler may ask of its context, and what it refuses at once, where the handler's author sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from support.deliveries import delivery
from support.messages import message

from memsched import CallEnded, HandlerContext, InvalidMessage, ScheduleLogForWebItem
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


def event_of(text: str) -> ScheduleLogForWebItem:
    return ScheduleLogForWebItem(
        user_id="u", mem_cube_id="c", label="add", from_memory_type="a", to_memory_type="b", log_content=text
    )


def test_follow_ups_wait_for_the_end_of_the_call() -> None:
    ctx = context()

    ctx.submit(message("one"))
    ctx.submit([message("two"), message("three")], delay_ms=50)
    ctx.submit([])

    assert [(one.fields[9], one.delay_ms) for one in ctx.follow_ups] == [("one", 0), ("two", 50), ("three", 50)]


def test_a_follow_up_is_what_it_was_when_it_was_submitted() -> None:
    ctx, item = context(), message("one", info={"found": []})
    ctx.submit(item)

    item.info["found"].append(object())  # type: ignore[index]
    item.label = "another"

    (one,) = ctx.follow_ups
    assert (one.label, one.fields[-3]) == ("task", '{"found":[]}')  # before its origin


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), "soon"])
def test_a_follow_up_that_is_never_due_is_refused_at_once(delay: Any) -> None:
    with pytest.raises((ValueError, OverflowError)):
        context().submit(message(), delay_ms=delay)


@pytest.mark.parametrize("bad", [None, 5, "text", ["text"], message(info={"x": object()}), message("\ud800")])
def test_a_follow_up_that_cannot_be_sent_is_refused_at_once(bad: Any) -> None:
    with pytest.raises(InvalidMessage):
        context().submit(bad)


def test_a_message_of_this_call_is_no_follow_up_of_it() -> None:
    parent = delivery("one")
    ctx = context(parent)
    copy = parent.message.model_copy(update={"content": "two"})

    with pytest.raises(InvalidMessage, match="needs an item_id of its own"):
        ctx.submit([message("three"), copy])
    assert ctx.follow_ups == []

    ctx.submit(copy.model_copy(update={"label": "another"}))
    assert len(ctx.follow_ups) == 1


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
    item = event_of("\ud800")

    with pytest.raises(InvalidMessage, match="surrogates"):
        context().log(item)


@pytest.mark.parametrize("odd", [None, "x", {}])
def test_what_is_no_event_and_no_message_is_refused_at_once(odd: Any) -> None:
    with pytest.raises(InvalidMessage, match="expected ScheduleLogForWebItem"):
        context().log(odd)
    with pytest.raises(InvalidMessage, match="not a message of this call"):
        context().fail(odd, "no good")


def test_the_deadline_is_a_time_or_none() -> None:
    assert context().deadline is None
    assert context(timeout=60).deadline is not None


@pytest.mark.parametrize("odd", ["60", True, None, math.nan, math.inf, 1e15, -1])
def test_a_delay_that_is_none_is_refused_where_its_author_sees_it(odd: Any) -> None:
    ctx = context()

    with pytest.raises(InvalidArgument):
        ctx.submit(message(), delay_ms=odd)
    with pytest.raises(InvalidArgument):
        ctx.retry(ctx._all[0].message, delay=odd)
    assert not ctx.follow_ups
    assert not ctx.decisions


async def test_a_call_that_has_ended_accepts_nothing_more() -> None:
    ctx, event = context(), event_of("late")
    mine = ctx._all[0].message
    ctx.submit(message("in time"))
    ctx._end()

    for late in (
        lambda: ctx.submit(message()),
        lambda: ctx.fail(mine, "late"),
        lambda: ctx.retry(mine, 1),
        lambda: ctx.log(event),
    ):
        with pytest.raises(CallEnded, match=mine.item_id):
            late()
    for late_wait in (ctx.checkpoint(1), ctx.renew()):
        with pytest.raises(CallEnded):
            await late_wait

    assert (len(ctx.follow_ups), ctx.decisions, ctx.events) == (1, {}, [])
