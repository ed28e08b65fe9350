"""Which memories belong to a role or a task, and how many of each cube."""

from __future__ import annotations

import pytest

from memsched.errors import InvalidMessage
from memsched.memory.context_tags import bound_to, tags_of
from memsched.policy.binding import Context, StandardBinding

NURSE = Context(role="Nurse", task="move")


@pytest.mark.parametrize(
    ("info", "tags"),
    [
        ({"role": " Nurse ", "task": "move"}, ("role:nurse", "task:move")),
        ({"role": "", "task": None}, ()),
        ({"other": "x"}, ()),
        (None, ()),
    ],
)
def test_info_binds_by_role_and_task(info: dict[str, object] | None, tags: tuple[str, ...]) -> None:
    assert tags_of(info) == tags
    assert bound_to([*tags, "preference", "roles"]) == set(tags)


@pytest.mark.parametrize("value", [5, ["move"], {}, True])
def test_what_is_no_text_binds_to_nothing_and_says_so(value: object) -> None:
    with pytest.raises(InvalidMessage, match="info.task must be a text"):
        tags_of({"role": "nurse", "task": value})


@pytest.mark.parametrize("tag", ["", " ", "a\nb", "\u200b", "a\ud800", "x" * 65])
def test_a_tag_is_a_short_printable_text(tag: str) -> None:
    with pytest.raises(InvalidMessage, match="1 to 64 printable characters"):
        tags_of({"tags": [tag]})


@pytest.mark.parametrize(
    ("tags", "rank"),
    [
        ((), 1),
        (("role:nurse",), 0),
        (("role:nurse", "task:move"), 0),
        (("role:cook",), None),
        (("role:nurse", "task:taxes"), None),
    ],
)
def test_what_is_bound_to_another_context_is_not_there(tags: tuple[str, ...], rank: int | None) -> None:
    assert StandardBinding().rank(frozenset(tags), NURSE) == rank


def test_other_cubes_share_half_of_the_places_and_take_no_more_than_they_fill() -> None:
    bound = {"home": 0, "empty": 0, "few": 2, "many": 90}

    assert StandardBinding().places(bound, 20) == {"home": 13, "few": 2, "many": 5}
    assert StandardBinding().places({"home": 3}, 20) == {"home": 20}
