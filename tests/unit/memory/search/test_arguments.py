"""What a search may be told: filters, methods, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from support.memories import memory

from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.arguments import METHODS, InvalidSearch, SearchArgs, SearchResult, method_named
from memsched.memory.search.retriever import whose


@pytest.mark.parametrize(
    "args",
    [
        {"since": "2026-01-05T00:00:00"},
        {"until": "soon"},
        {"kind": 5},
        {"kind": "Turn"},
        {"since": "2026-01-05T00:00:00Z", "until": "2026-01-05T00:00:00Z"},
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


def test_what_is_unknown_is_told_what_there_is() -> None:
    with pytest.raises(InvalidSearch, match=r"colour: .*There are .*neighbours.*since"):
        SearchArgs.of({"colour": "red"})


@pytest.mark.parametrize("args", [[1], "x"])
def test_what_is_no_mapping_is_refused(args: Any) -> None:
    with pytest.raises(InvalidSearch, match="must be a mapping"):
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


def test_a_result_is_its_text_with_all_of_the_memory_beside_it_and_reads_as_one_line() -> None:
    item = memory("I moved to\n\nPorto. " + "It rains. " * 20, memory_id="m1")
    result = SearchResult(item, 7.25, {"words": 7.25}, 0.8125)

    assert result.memory[:10] == "I moved to"
    assert (result.id, result.item, result.metadata) == ("m1", item, {})
    assert (item.id, item.memory) == ("m1", item.text)
    line = f"'I moved to Porto. {'It rains. ' * 6}I…'"
    assert repr(result) == f"SearchResult({line}, score=0.81, id='m1')"
    assert repr(item) == f"Memory({line}, at=2026-01-05, id='m1')"
