"""What becomes of a memory that was changed in two collections at once, and how a change is noticed at all."""

from __future__ import annotations

from memsched.memory.reindex.copy import difference, digest, merged


def test_of_two_changes_the_later_one_counts() -> None:
    present = {"text": "a", "status": "activated", "importance": 0.5, "updated_at": 10}
    late = {"text": "a", "status": "archived", "updated_at": 20}

    assert merged(present, late) == {"text": "a", "status": "archived", "importance": 0.5, "updated_at": 20}
    assert merged(late, present) == merged(present, late)


def test_when_nobody_can_say_which_is_later_what_is_there_stays() -> None:
    assert merged({"status": "archived"}, {"status": "activated"})["status"] == "archived"


def test_nothing_that_was_counted_or_gathered_is_lost() -> None:
    present = {"sources": {"a#0": "1"}, "use_count": 3, "last_used_at": 50, "replaces": ["x", "y"], "updated_at": 20}
    late = {"sources": {"b#0": "2"}, "use_count": 5, "version": 2, "replaces": ["x", "z"], "updated_at": 10}

    assert merged(present, late) == {
        "sources": {"a#0": "1", "b#0": "2"},
        "use_count": 5,
        "last_used_at": 50,
        "version": 2,
        "replaces": ["x", "z", "y"],
        "updated_at": 20,
    }


def test_only_the_fields_that_differ_are_set_and_never_the_text() -> None:
    present = {"text": "a", "use_count": 1, "superseded_by": None}

    assert difference(present, {"text": "b", "use_count": 1, "superseded_by": None, "tags": []}) == {"tags": []}


def test_a_digest_tells_a_change_of_the_text_from_another() -> None:
    one = {"text": "Max is ill.", "speaker": "Alice", "use_count": 1}
    used = {"use_count": 2, "speaker": "Alice", "text": "Max is ill."}

    assert digest(one) == digest(dict(reversed(one.items())))
    assert digest(one)[:8] != digest(used)[:8]
    assert digest(one)[8:] == digest(used)[8:]
    assert digest(one)[8:] != digest({**one, "speaker": "Bob"})[8:]
    assert digest({"text": "half of a pair: \ud83d"}), "whatever strangers wrote"
