"""From an entry's bytes to a delivery, or to the reason why it is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deliveries import KEYS, delivery
from support.messages import message

from memsched.messages import id_of_entry
from memsched.queue.delayed import delayed_member
from memsched.queue.delivery import Delivery, Malformed, read_entry, read_streams

LANE = KEYS.lane("task", "u", "c")


def entry(*parts: bytes, entry_id: bytes = b"1700000000000-0", **given: object) -> Delivery | Malformed:
    return read_entry(LANE, entry_id, parts, **given)  # type: ignore[arg-type]


MINIMAL = (b"user_id", b"alice", b"mem_cube_id", b"home", b"content", b"hi")


def test_a_minimal_entry_is_a_message_with_an_identity_of_its_own() -> None:
    found = entry(*MINIMAL)

    assert isinstance(found, Delivery)
    assert found.message.item_id == id_of_entry("task", "1700000000000-0")
    assert found.message.timestamp.year == 2023
    assert found.counted_user == "", "nobody counted it when it came"
    assert not found.has_past
    assert found.crashes == 0


def test_a_submitted_entry_is_counted_as_its_users() -> None:
    found = entry(*MINIMAL, b"submitted", b"1")

    assert isinstance(found, Delivery)
    assert found.counted_user == "alice"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((b"user_id", b"\xff\xfe", *MINIMAL), "not UTF-8"),
        ((b"hello", b"world"), "user_id: Field required"),
        ((*MINIMAL, b"v", b"v9"), "wire version 'v9'"),
        ((*MINIMAL, b"info", b"{"), "info is not JSON"),
        ((*MINIMAL, b"timestamp", b"0001-01-01T00:00:00+14:00"), "out of range"),
        ((*MINIMAL, b"timestamp", b"now"), "timestamp"),
    ],
)
def test_what_cannot_be_read_says_why(parts: tuple[bytes, ...], reason: str) -> None:
    found = entry(*parts)

    assert isinstance(found, Malformed)
    assert reason in found.reason


def test_an_entry_id_beyond_the_calendar_is_no_crash() -> None:
    found = entry(*MINIMAL, entry_id=b"18446744073709551615-1")

    assert isinstance(found, Malformed)


def test_a_malformed_entry_of_a_counted_user_is_still_the_users() -> None:
    found = entry(b"item_id", b"i", b"user_id", b"alice", b"submitted", b"1", b"v", b"two")

    assert isinstance(found, Malformed)
    assert found.counted_user == "alice"
    assert found.task_key == LANE.task("alice", "i"), "its status is kept where its producer looks for it"


@pytest.mark.parametrize(
    ("fields", "user", "item"),
    [
        ((b"item_id", b"i", b"user_id", b"alice", b"content", b"\xff"), "alice", "i"),
        ((b"item_id", b"i", b"user_id", b"a\xff"), r"a\xff", "i"),
        ((b"item_id", b"i", b"content", b"no user"), "", "i"),
        ((b"item_id", b"i", b"user_id", b"u" * 513), "", "i"),
        ((b"item_id", b"i" * 513, b"user_id", b"alice"), "alice", id_of_entry(LANE.name, "1700000000000-0")),
    ],
)
def test_a_malformed_entrys_record_is_its_users(fields: tuple[bytes, ...], user: str, item: str) -> None:
    found = entry(*fields)

    assert isinstance(found, Malformed)
    assert found.task_key == LANE.task(user, item)


def test_the_last_of_repeated_fields_counts() -> None:
    found = entry(*MINIMAL, b"content", b"second")

    assert isinstance(found, Delivery)
    assert found.message.content == "second"


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_no_entry_breaks_the_reader(parts: list[bytes]) -> None:
    assert isinstance(entry(*parts), Delivery | Malformed)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "v",
                "item_id",
                "user_id",
                "mem_cube_id",
                "content",
                "timestamp",
                "info",
                "chat_history",
                "errors",
                "crashes",
                "submitted",
                "trace_id",
            ]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )
)
def test_no_text_in_a_known_field_breaks_the_reader(fields: dict[str, str]) -> None:
    found = entry(*(text.encode() for pair in fields.items() for text in pair))

    if isinstance(found, Delivery):
        assert all(number >= 0 for number in found.attempts.values())
        json.loads(delayed_member(found, found.attempts, "error"))


def test_failures_are_counted_from_the_entry_and_from_the_delivery_count() -> None:
    found = delivery(fields={"errors": "3", "crashes": "1", "timeouts": "x", "deferrals": "99999999999"}, claims=4)

    assert found.attempts == {"errors": 3, "timeouts": 0, "crashes": 4, "deferrals": 0}
    assert found.has_past


def test_a_read_of_several_streams_keeps_their_order() -> None:
    other = KEYS.lane("other", "u", "c")
    raw = [part.encode() for part in message().to_wire()]
    reply = [(LANE.stream.encode(), [(b"1-0", raw), (b"2-0", raw)]), (other.stream.encode(), [(b"1-0", [b"x", b"y"])])]

    found = read_streams(reply, {LANE.stream.encode(): LANE, other.stream.encode(): other})

    assert [(one.lane.label, one.entry_id) for one in found] == [("task", "1-0"), ("task", "2-0"), ("other", "1-0")]
    assert read_streams(None, {}) == []
