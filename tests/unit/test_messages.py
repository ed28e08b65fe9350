"""What a message looks like on its way, and what is no message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import message

from memsched import InvalidMessage, ScheduleLogForWebItem, ScheduleMessageItem
from memsched.messages import MAX_MESSAGE_BYTES, WIRE_VERSION, id_of_entry, messages_of

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
ANY_TEXT = st.text(st.characters())
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | UNICODE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(UNICODE, inner, max_size=4),
    max_leaves=12,
)
OPTIONAL = st.none() | UNICODE
TIMES = st.datetimes(
    min_value=datetime(1902, 1, 1),  # noqa: DTZ001 -- hypothesis adds the time zone
    max_value=datetime(2400, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
MESSAGES = st.builds(
    ScheduleMessageItem,
    item_id=IDS,
    user_id=IDS,
    mem_cube_id=IDS,
    label=st.just("task"),
    content=UNICODE,
    timestamp=TIMES,
    task_id=OPTIONAL,
    session_id=OPTIONAL,
    trace_id=OPTIONAL,
    user_name=OPTIONAL,
    info=st.none() | st.dictionaries(UNICODE, JSON, max_size=4),
    chat_history=st.none() | st.lists(JSON, max_size=4),
)


def through_the_wire(sent: ScheduleMessageItem) -> ScheduleMessageItem:
    flat = sent.to_wire()
    as_redis_keeps_them = [part.encode().decode() for part in flat]
    fields = dict(zip(as_redis_keeps_them[::2], as_redis_keeps_them[1::2], strict=True))
    return ScheduleMessageItem.from_wire(sent.label, fields, default_id="none was sent", default_ms=0)


@given(MESSAGES)
def test_every_message_comes_back_as_it_was_sent(sent: ScheduleMessageItem) -> None:
    assert through_the_wire(sent) == sent


@given(MESSAGES)
def test_every_field_on_the_wire_is_a_string_with_a_name(sent: ScheduleMessageItem) -> None:
    flat = sent.to_wire()

    assert all(isinstance(part, str) for part in flat)
    assert len(set(flat[::2])) == len(flat) // 2
    assert flat[:2] == ["v", WIRE_VERSION]


@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3), ANY_TEXT, ANY_TEXT)
def test_a_message_is_sent_whole_or_refused_with_a_reason(info: dict[str, Any], content: str, user: str) -> None:
    # Half a surrogate pair is no character: it must not get half way.
    try:
        sent = message(content, user=user, info=info)
        came = through_the_wire(sent)
    except InvalidMessage as refused:
        assert "item_id=" in str(refused)
    except ValueError as refused:
        assert "user_id" in str(refused)
    else:
        assert came == sent


def test_a_mem_cube_object_stays_here() -> None:
    sent = message(mem_cube=object())

    assert "mem_cube" not in sent.to_wire()
    assert through_the_wire(sent).mem_cube is None


def test_a_foreign_producer_needs_three_fields() -> None:
    minimal = {"user_id": "alice", "mem_cube_id": "home", "content": "hello"}

    came = ScheduleMessageItem.from_wire("task", minimal, default_id="made-up", default_ms=1_700_000_000_123)

    assert (came.user_id, came.mem_cube_id, came.content, came.label) == ("alice", "home", "hello", "task")
    assert came.item_id == "made-up"
    assert came.timestamp == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)


def test_fields_that_are_not_known_here_are_left_alone() -> None:
    fields = {"user_id": "u", "mem_cube_id": "c", "content": "", "submitted": "1", "colour": "blue", "errors": "2"}

    assert ScheduleMessageItem.from_wire("task", fields, default_id="x", default_ms=0).content == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": "2"}, "wire version '2'"),
        ({"v": ""}, "wire version ''"),
        ({"user_id": None}, "user_id: Field required"),
        ({"mem_cube_id": None}, "mem_cube_id: Field required"),
        ({"content": None}, "content: Field required"),
        ({"user_id": ""}, "user_id: String should have at least 1 character"),
        ({"item_id": ""}, "item_id: String should have at least 1 character"),
        ({"item_id": "x" * 513}, "item_id: String should have at most 512 characters"),
        ({"timestamp": "yesterday"}, "timestamp: expected a time"),
        ({"timestamp": "2026-01-01T00:00:00"}, "it must have a time zone"),
        ({"info": "{"}, "field info is not JSON"),
        ({"info": "[1]"}, "info: Input should be a valid dictionary"),
        ({"info": '"text"'}, "info: Input should be a valid dictionary"),
        ({"chat_history": "[" * 100_000}, "field chat_history is not JSON"),
        ({"chat_history": "{}"}, "chat_history: Input should be a valid list"),
        ({"info": '{"n": ' + "9" * 5000 + "}"}, "field info is not JSON"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(change: dict[str, str | None], reason: str) -> None:
    fields = {"user_id": "u", "mem_cube_id": "c", "content": "x"} | change

    with pytest.raises(InvalidMessage) as refused:
        ScheduleMessageItem.from_wire(
            "task", {name: text for name, text in fields.items() if text is not None}, default_id="x", default_ms=0
        )

    assert reason in refused.value.reason


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    secret = "sk-" + "s" * 600

    with pytest.raises(InvalidMessage) as refused:
        ScheduleMessageItem.from_wire(
            "task", {"user_id": secret, "mem_cube_id": "c", "content": "x"}, default_id="x", default_ms=0
        )

    assert secret not in str(refused.value)


@pytest.mark.parametrize("info", [{"x": object()}, {"x": {1, 2}}, {"x": float("nan")}, {"x": float("inf")}])
def test_info_that_is_not_json_is_refused_when_it_is_sent(info: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="must be JSON"):
        message(info=info).to_wire()


def test_info_that_contains_itself_is_refused() -> None:
    info: dict[str, Any] = {}
    info["me"] = info

    with pytest.raises(InvalidMessage, match="must be JSON"):
        message(info=info).to_wire()


def test_a_huge_message_is_refused_by_its_size_in_bytes() -> None:
    fits = message("é" * (MAX_MESSAGE_BYTES // 2 - 1000))
    too_large = message("é" * (MAX_MESSAGE_BYTES // 2))

    assert fits.to_wire()
    with pytest.raises(InvalidMessage, match="the limit is 8,388,608"):
        too_large.to_wire()


def test_a_timestamp_becomes_utc() -> None:
    at = datetime(2026, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))

    sent = message(timestamp=at)

    assert sent.timestamp.isoformat() == "2026-05-01T10:00:00+00:00"


def test_a_timestamp_without_a_zone_is_local_time() -> None:
    now = datetime.now()  # noqa: DTZ005

    assert message(timestamp=now).timestamp == now.astimezone(UTC)
    assert message(timestamp=now.isoformat()).timestamp.tzinfo is UTC
    with pytest.raises(ValueError, match="UTC"):
        message(timestamp=datetime.min)  # noqa: DTZ901


def test_assignments_are_checked_too() -> None:
    item = message()

    with pytest.raises(ValueError, match="user_id"):
        item.user_id = ""


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(ValueError, match="conten"):
        message(conten="typing error")


def test_an_entry_without_an_id_always_gets_the_same_one() -> None:
    first = id_of_entry("query", "1-0")

    assert id_of_entry("query", "1-0") == first
    assert len({first, id_of_entry("query", "1-1"), id_of_entry("answer", "1-0")}) == 3


def test_messages_come_one_by_one_or_as_any_iterable() -> None:
    one = message()

    assert messages_of(one) == [one]
    assert messages_of(item for item in (one, one)) == [one, one]
    with pytest.raises(InvalidMessage, match="got str"):
        messages_of(["text"])  # type: ignore[list-item]
    for none in (one.to_dict(), "text", None):
        with pytest.raises(InvalidMessage, match=f"or several, got {type(none).__name__}"):
            messages_of(none)  # type: ignore[arg-type]


def event(**fields: Any) -> ScheduleLogForWebItem:
    return ScheduleLogForWebItem(
        **{
            "user_id": "u",
            "mem_cube_id": "c",
            "label": "add",
            "from_memory_type": "WorkingMemory",
            "to_memory_type": "LongTermMemory",
            "log_content": "moved",
            **fields,
        }
    )


def test_an_event_has_all_sizes_and_capacities_by_default() -> None:
    item = event(current_memory_sizes={"working_memory_size": 3})

    assert item.current_memory_sizes["working_memory_size"] == 3
    assert item.current_memory_sizes["long_term_memory_size"] == -1
    assert item.memory_capacities["long_term_memory_capacity"] == 10000
    assert item.memory_capacities["user_memory_capacity"] == 10000
    assert item.memory_capacities["working_memory_capacity"] == 20
    assert item.memory_capacities["transformed_act_memory_capacity"] == -1


@given(UNICODE, st.none() | st.dictionaries(UNICODE, JSON, max_size=3))
def test_every_event_comes_back_as_it_was_sent(content: str, metadata: Any) -> None:
    sent = event(log_content=content, metadata=metadata)
    flat = sent.to_wire()

    came = ScheduleLogForWebItem.from_wire(dict(zip(flat[::2], flat[1::2], strict=True)))

    assert json.loads(came.model_dump_json()) == json.loads(sent.model_dump_json())


def test_a_time_keeps_the_zone_that_it_was_told_in() -> None:
    evening = datetime(2026, 3, 2, 20, 30, tzinfo=timezone(timedelta(hours=-8)))
    flat = message(timestamp=evening).to_wire()
    fields = dict(zip(flat[::2], flat[1::2], strict=True))

    read = ScheduleMessageItem.from_wire("add", fields, default_id="m", default_ms=0)

    assert fields["timestamp"] == "2026-03-02T20:30:00-08:00"
    assert (read.timestamp, read.timestamp.tzinfo) == (evening, UTC)
    assert read.local_timestamp.isoformat() == evening.isoformat()
    assert ScheduleMessageItem.from_dict(read.to_dict()) == read
    read.timestamp = evening.astimezone(UTC)
    assert read.utc_offset == 0
