"""A memory as it is stored, and the ids that let a message run again."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st
from support.memories import FIRST, memory

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, from_ms, id_within, memory_id_for, to_ms

IDS = st.text(st.sampled_from(list('a/|,"[]: \n\\é')), min_size=1, max_size=5)
HOME = CubeRef("alice", "home")


def test_a_stored_memory_comes_back_as_it_was() -> None:
    full = memory(
        "I live in Porto.",
        memory_id=memory_id_for(HOME, "m", 0),
        speaker="Alice",
        session_id="s",
        turn=3,
        part=1,
        sources={"m#0": "D1:1"},
        importance=0.4,
        use_count=2,
        last_used_at=FIRST,
        version=2,
        replaces=["old"],
        superseded_by="new",
        tags=["correction"],
        added_by="bob",
        status="archived",
    )

    payload = full.to_payload()

    assert Memory.from_payload(full.memory_id, payload) == full
    assert payload["at"] == to_ms(FIRST)
    assert "memory_id" not in payload


def test_what_filters_look_at_is_always_in_the_payload_and_what_is_unknown_does_no_harm() -> None:
    plain = memory(memory_id="1")

    payload = plain.to_payload()

    assert {"status", "memory_type", "kind", "session_id", "turn", "schema"} <= payload.keys()
    assert "tags" not in payload
    assert Memory.from_payload("1", {**payload, "theme": "home", "of_a_later_version": 1}) == plain


def test_times_are_kept_to_the_millisecond_in_any_zone() -> None:
    moment = datetime(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC)

    assert from_ms(to_ms(moment)) == moment.replace(microsecond=123_000)
    assert to_ms(datetime.fromisoformat("2026-01-05T10:00:00+01:00")) == to_ms(FIRST)


@given(*[IDS] * 6)
def test_no_two_places_give_one_memory_id(a: str, b: str, c: str, d: str, e: str, f: str) -> None:
    assume((a, b, c) != (d, e, f))

    one, other = memory_id_for(CubeRef(a, b), c, 0), memory_id_for(CubeRef(d, e), f, 0)

    assert one != other
    assert UUID(one)


def test_the_same_place_gives_the_same_id_and_another_position_another() -> None:
    assert memory_id_for(HOME, "m", 0, 1) == memory_id_for(HOME, "m", 0, 1)
    ids = {memory_id_for(HOME, "m", *position) for position in [(0,), (0, 0), (0, 1), (1,), ("model/0",), ("0/0",)]}
    assert len(ids) == 6


def test_who_said_it_is_part_of_what_can_be_asked_for() -> None:
    assert memory("I like tea.", speaker="Bob").indexed_text == "Bob: I like tea."
    assert memory("I like tea.").indexed_text == "I like tea."


@given(
    *[
        st.tuples(
            st.sampled_from(["alice", "bob", "a/b", "b"]),
            st.sampled_from(["m", "alice/m", "bob/m", "b/m", "/m", "a/b/m"]),
        )
    ]
    * 2
)
def test_no_two_users_messages_share_a_name_within_a_cube(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (id_within(HOME, *one) == id_within(HOME, *other)) == (one == other)
    assert id_within(HOME, HOME.user_id, "m") == "m"
