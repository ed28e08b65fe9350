"""What a search may be told: filters, methods, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import to_ms
from memsched.memory.search.arguments import METHODS, InvalidSearch, SearchArgs, method_named
from memsched.memory.search.retriever import whose

SINCE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def conditions(**args: Any) -> dict[str, dict[str, Any]]:
    """By field, what its condition says."""
    found = SearchArgs.of(args).conditions()
    must: Any = found.must if found is not None else []
    return {each.key: each.model_dump(exclude_none=True, exclude={"key"}) for each in must}


def test_what_is_archived_is_found_only_by_who_asks_for_it() -> None:
    assert conditions() == {"status": {"match": {"value": "activated"}}}
    assert conditions(include_archived=True) == {}
    assert SearchArgs(include_archived=True).conditions() is None


@pytest.mark.parametrize("field", ["memory_type", "kind", "session_id", "tags", "speaker"])
def test_one_value_or_several_that_are_alternatives(field: str) -> None:
    assert conditions(**{field: "a"})[field] == {"match": {"any": ["a"]}}
    assert conditions(**{field: ["a", "b"]})[field] == {"match": {"any": ["a", "b"]}}
    assert field not in conditions(**{field: []})


def test_times_are_bounds_of_which_the_later_is_not_in() -> None:
    assert conditions(since=SINCE)["at"] == {"range": {"gte": to_ms(SINCE)}}
    assert conditions(until="2026-01-05T10:00:00+01:00")["at"] == {"range": {"lt": to_ms(SINCE)}}


def test_all_conditions_must_hold() -> None:
    found = conditions(kind="fact", speaker="Bob", since=SINCE, until=SINCE)

    assert found.keys() == {"kind", "speaker", "at", "status"}
    assert found["at"]["range"].keys() == {"gte", "lt"}


@pytest.mark.parametrize(
    "args",
    [
        {"since": "2026-01-05T00:00:00"},
        {"until": "soon"},
        {"kind": 5},
        {"tags": [1]},
        {"colour": "red"},
        {"neighbours": -1},
        {"neighbours": "many"},
        {"diversity": 1.1},
        {"candidates": 0},
        {"candidates": 1001},
    ],
)
def test_what_is_no_filter_is_refused_by_name(args: dict[str, Any]) -> None:
    with pytest.raises(InvalidSearch, match=next(iter(args))):
        SearchArgs.of(args)


def test_arguments_that_are_ready_stay_as_they_are() -> None:
    args = SearchArgs(kind=["fact"])

    assert SearchArgs.of(args) is args
    assert SearchArgs.of(None) == SearchArgs()


def test_every_name_of_a_method_leads_to_one_and_another_names_them_all() -> None:
    assert {method_named(name) for name in METHODS} == {"hybrid", "dense", "lexical"}
    with pytest.raises(InvalidSearch, match=r"'bm25'.*hybrid.*tree_text_memory_search"):
        method_named("bm25")


def test_who_asks_is_said_by_ids_or_by_a_cube() -> None:
    assert whose("bob", "work", None) == ("bob", "work")
    assert whose(None, None, CubeRef("alice", "home")) == ("alice", "home")
    assert whose("bob", None, CubeRef("alice", "home")) == ("bob", "home")
    for user, cube in [(None, "home"), ("alice", None), ("", ""), (None, None)]:
        with pytest.raises(InvalidSearch, match="user_id and mem_cube_id"):
            whose(user, cube, None)
