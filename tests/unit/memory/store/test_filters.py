"""Conditions on a cube in Qdrant's form: every one of them holds the cube."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from qdrant_client import models

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import to_ms
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.filters import matching, within

SINCE = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
HOME = CubeRef("a/b", "c d")
OF_THE_CUBE = {"match": {"value": "a%2Fb/c%20d"}}


def conditions(**args: Any) -> dict[str, dict[str, Any]]:
    """By field, what its condition says."""
    must: Any = matching(HOME, Conditions(**args)).must
    found = {}
    for each in must:
        (condition, *others) = each.should if isinstance(each, models.Filter) else [each]
        assert [other.key for other in others] in ([], ["speaker"])  # of old memories: as it was given
        found[condition.key.removesuffix("_folded")] = condition.model_dump(exclude_none=True, exclude={"key"})
    assert found.pop("cube") == OF_THE_CUBE
    return found


def test_what_is_archived_is_found_only_by_who_asks_for_it() -> None:
    assert conditions() == {"status": {"match": {"value": "activated"}}}
    assert conditions(include_archived=True) == {}
    assert matching(HOME, None) == matching(HOME, Conditions(include_archived=True)) == within(HOME)


@pytest.mark.parametrize("field", ["memory_type", "kind", "session_id", "tags", "speaker"])
def test_one_value_or_several_that_are_alternatives(field: str) -> None:
    one, other = ("fact", "turn") if field == "kind" else ("a", "b")
    assert conditions(**{field: one})[field] == {"match": {"any": [one]}}
    assert conditions(**{field: [one, other]})[field] == {"match": {"any": [one, other]}}
    assert field not in conditions(**{field: []})


def test_times_are_bounds_of_which_the_later_is_not_in() -> None:
    assert conditions(since=SINCE)["at"] == {"range": {"gte": to_ms(SINCE)}}
    assert conditions(until="2026-01-05T10:00:00+01:00")["at"] == {"range": {"lt": to_ms(SINCE)}}


def test_all_conditions_must_hold() -> None:
    found = conditions(kind="fact", speaker="Bob", since=SINCE, until=SINCE + timedelta(days=1))

    assert found.keys() == {"kind", "speaker", "at", "status"}
    assert found["at"]["range"].keys() == {"gte", "lt"}


def test_the_tenant_of_a_cube_is_no_other_cubes() -> None:
    assert HOME.tenant == "a%2Fb/c%20d"
    assert CubeRef("a", "b/c d").tenant != HOME.tenant
