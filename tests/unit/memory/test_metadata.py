"""Metadata: what is kept, by what it is found, and which filters are refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from memsched.errors import InvalidMessage
from memsched.memory.filter_language import Has, Rule, filter_of, fits
from memsched.memory.metadata import checked_metadata, keywords_of, metadata_given, metadata_of
from memsched.memory.model import Memory
from memsched.memory.search.arguments import InvalidSearch, SearchArgs


def rule_of(given: dict[str, Any]) -> Rule:
    """Of a filter with one."""
    (part,) = filter_of(given).parts
    assert isinstance(part, Has)
    return part.rule


def test_metadata_is_kept_as_it_was_given() -> None:
    given = {"project": "atlas", "year": 2026, "share": 0.5, "done": False, "who": ["Ann", "Bob"], "ключ 1": "да"}

    assert checked_metadata(given) == given
    assert metadata_of({"metadata": given}) == given
    assert metadata_given({"year": np.int64(2026), "who": {"Ann"}}) == {"year": 2026, "who": ["Ann"]}
    for wrong in ("text", ["project"], {1: "x"}):
        with pytest.raises(InvalidMessage, match="metadata must|a name"):
            metadata_given(wrong)
    assert metadata_of({"role": "nurse"}) == metadata_of(None) == {}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["project"], "a mapping"),
        ({1: "x"}, "a name"),
        ({"": "x"}, "a name"),
        ({"n" * 65: "x"}, "a name"),
        ({"x": None}, r"metadata\.x"),
        ({"x": {"y": 1}}, r"metadata\.x"),
        ({"x": [["y"]]}, r"metadata\.x"),
        ({"x": math.nan}, r"metadata\.x"),
        ({"x": 2**64}, r"metadata\.x"),
        ({"x": "y" * 1001}, r"metadata\.x"),
        ({"x": list(range(65))}, r"metadata\.x"),
        ({f"x{n}": n for n in range(65)}, "64"),
    ],
)
def test_what_is_no_metadata_is_refused_by_name(given: Any, what: str) -> None:
    with pytest.raises(InvalidMessage, match=what):
        metadata_of({"metadata": given})


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("atlas", {"x": "atlas"}),
        (2, {"x": 2.0}),
        (True, {"x": [True]}),
        (["a", "b"], {"x": ["b", "c"]}),
        ({"eq": "atlas"}, {"x": "atlas"}),
        ({"$in": [1, 2]}, {"x": 2}),
    ],
)
def test_equal_values_have_equal_keywords(asked: Any, found: dict[str, Any]) -> None:
    assert set(rule_of({"x": asked}).any_of) & set(keywords_of(found))
    assert not set(rule_of({"y": asked}).any_of) & set(keywords_of(found))


@pytest.mark.parametrize(("asked", "found"), [(1, True), ("1", 1), ("true", True), ("Atlas", "atlas"), (0, False)])
def test_values_of_another_type_or_spelling_do_not(asked: Any, found: Any) -> None:
    assert not set(rule_of({"x": asked}).any_of) & set(keywords_of({"x": found}))


def test_bounds_are_from_and_below() -> None:
    plain = rule_of({"x": {"gte": 2, "lt": 5}})
    other = rule_of({"x": {"gt": 2, "lte": 5}})

    assert (plain.at_least, plain.below) == (2, 5)
    assert other.at_least is not None
    assert other.below is not None
    assert 2 < other.at_least < 2.000001 < 5 < other.below < 5.000001


@pytest.mark.parametrize(
    "given",
    [
        "project=atlas",
        ["project"],
        {"x": []},
        {"x": None},
        {"x": {}},
        {"x": {"like": "a%"}},
        {"x": {"gte": "2026-01-01"}},
        {"x": {"gte": 1, "in": [1]}},
        {"x": {"in": 1}},
        {"x": {"eq": [1]}},
        {"x": {"gte": 2, "lt": 2}},
        {"a name": {"gte": 2}},
        {"x": [["y"]]},
        {1: 2},
        {"@nothing": 1},
        {"@kind": 1},
        {"@kind": {"gte": "a"}},
        {"@at": "yesterday"},
        {"@at": {"gte": "2026-05-01T10:30:00"}},
        {"@use_count": {"exists": True}},
        {"@use_count": {"contains": 1}},
        {"x": {"exists": 1}},
        {"x": {"ne": [1]}},
        {"a name": {"exists": True}},
        {"not": {"not": {"not": {"not": {"not": {"x": 1}}}}}},
        {"or": [{"x": n} for n in range(65)]},
    ],
)
def test_what_is_no_filter_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSearch, match="filter"):
        SearchArgs.of({"filter": given})


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, True),
        ({"project": "atlas"}, True),
        ({"project": ["orion", "atlas"], "year": 2026.0}, True),
        ({"project": "Atlas"}, False),
        ({"other": "atlas"}, False),
        ({"labels": "b"}, True),
        ({"labels": "c"}, False),
        ({"year": {"gte": 2026, "lt": 2027}}, True),
        ({"year": {"gt": 2026}}, False),
        ({"year": {"lte": 2025.5}}, False),
        ({"open": True}, True),
        ({"open": 1}, False),
        ({"open": {"gte": 0}}, False),
        ({"project": {"gte": 0}}, False),
        ({"project": {"ne": "orion"}, "other": {"ne": "x"}}, True),
        ({"project": {"ne": "atlas"}}, False),
        ({"project": {"contains": "tla"}, "labels": {"contains": "b"}}, True),
        ({"labels": {"contains": "c"}}, False),
        ({"project": {"exists": True}, "other": {"exists": False}}, True),
        ({"other": {"exists": True}}, False),
        ({"or": [{"year": 1999}, {"project": "atlas"}]}, True),
        ({"or": [{"year": 1999}, {"project": "orion"}]}, False),
        ({"and": [{"year": 2026}, {"not": {"project": "orion"}}]}, True),
        ({"not": [{"year": 1999}, {"year": 2026}]}, False),
        ({"and": "x"}, False),
        ({"@kind": "turn", "@speaker": "ADA", "@tags": "red", "@text": {"contains": "boat"}}, True),
        ({"@kind": ["fact", "event"]}, False),
        ({"@at": {"gte": "2026-05-01T00:00:00Z", "lt": "2026-05-02T00:00:00+00:00"}}, True),
        ({"@at": {"lt": "2026-05-01T00:00:00Z"}}, False),
        ({"@use_count": 0, "@version": {"lte": 1}, "@last_used_at": {"exists": False}}, True),
        ({"@use_count": {"ne": 0}}, False),
    ],
)
def test_what_is_there_is_looked_at_as_the_store_looks_at_it(asked: dict[str, Any], found: bool) -> None:
    metadata = checked_metadata({"project": "atlas", "labels": ["a", "b"], "year": 2026, "open": True})
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    memory = Memory(
        memory_id="m",
        user_id="ada",
        mem_cube_id="home",
        text="the boat",
        speaker="Ada",
        at=at,
        created_at=at,
        updated_at=at,
        tags=["red", "big"],
        metadata=metadata,
    )

    assert fits(memory, filter_of(asked)) is found
