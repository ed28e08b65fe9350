"""The working set while the talk is gone through: what covers an event, and what a new event brings in."""

from __future__ import annotations

from collections.abc import Sequence

from support.memories import memory

from memsched.memory.search.bm25 import TermCounts
from memsched.policy.ranking import StandardPolicy
from memsched.policy.selection import Selection
from memsched.policy.strategy import Candidate, Chosen, CubeState
from memsched.policy.talk import TalkEvent, Use

COUNTS = TermCounts(100, {"rex": 50, "eat": 30, "carrot": 2, "lake": 2})
CARROTS, LAKE, NUTS = memory("Rex eats carrots"), memory("The lake is frozen"), memory("Anna is allergic to nuts")


class Recording(StandardPolicy):
    def __init__(self) -> None:
        self.states: list[CubeState] = []

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        self.states.append(state)
        return super().choose(state, candidates, size)


def selection(policy: StandardPolicy, uses: dict[str, Use] | None = None) -> Selection:
    return Selection(policy, near=[NUTS], uses=uses or {}, present=["before"], counts=COUNTS, size=5)


def event(text: str, at: int, *found: str) -> TalkEvent:
    return TalkEvent(event_id=text, at=at, text=text, hits=[(memory_id, 1.0) for memory_id in found])


def ids(selection: Selection) -> set[str]:
    return {each.memory.memory_id for each in selection.chosen}


def test_without_talk_it_is_what_is_near_whatever_the_talk() -> None:
    assert ids(selection(StandardPolicy())) == {NUTS.memory_id}


def test_the_first_event_is_never_covered_by_what_is_near_anyway() -> None:
    assert not selection(StandardPolicy()).cover(event("Anna nuts allergic", 1))


def test_an_event_brings_in_what_search_found_for_it_and_covers_those_that_ask_the_same() -> None:
    policy = Recording()
    chosen = selection(policy, {"lake": Use(count=1, times=[(7, "answer")])})

    chosen.find(event("What does Rex eat?", 1, CARROTS.memory_id), [CARROTS])
    assert chosen.cover(event("Does Rex eat carrots?", 2))
    assert not chosen.cover(event("Is the lake frozen?", 3))
    chosen.find(event("Is the lake frozen?", 3, LAKE.memory_id), [LAKE])

    assert ids(chosen) == {NUTS.memory_id, CARROTS.memory_id, LAKE.memory_id}
    last = policy.states[-1]
    assert last.covered == {"Does Rex eat carrots?"}
    assert last.present == ["before"]
    assert last.now == 7, "the time of the latest event or use"


def test_what_was_corrected_or_archived_is_no_candidate() -> None:
    chosen = selection(StandardPolicy())
    gone = [memory("old", superseded_by="new"), memory("archived", status="archived")]

    chosen.find(event("anything", 1, "old", "archived"), gone)

    assert ids(chosen) == {NUTS.memory_id}
