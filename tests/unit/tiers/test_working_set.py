"""The working set follows from the talk and the uses, whoever computes it and in whatever order things arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memories import FIRST, memory

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.bm25 import TermCounts
from memsched.policy.ranking import StandardPolicy
from memsched.policy.strategy import Candidate, Chosen, CubeState
from memsched.policy.talk import TalkEvent
from memsched.tiers.hot_state import HotState
from memsched.tiers.working_set import WorkingSets

HOME = CubeRef("alice", "home")
NOW = to_ms(FIRST)
CUBE = [
    memory("Anna is allergic to nuts", 0, importance=0.9),
    memory("Rex eats carrots", 1),
    memory("Rex sleeps in the basket", 2),
    memory("Bob repairs motorcycles", 3),
    memory("The lake is frozen", 4),
    memory("We moved to Porto", 5),
    memory("Rex hates the vacuum cleaner", 6),
]


class FakeCube:
    """Store, search and word counts of a few memories; ``asked`` are the searches."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = {each.memory_id: each for each in memories}
        self.asked: list[str] = []

    async def get(self, _: CubeRef, memory_ids: Sequence[str]) -> dict[str, Memory]:
        return {each: self.memories[each] for each in memory_ids if each in self.memories}

    async def important(self, _: CubeRef, least: float, limit: int) -> list[Memory]:
        vital = [each for each in self.memories.values() if each.importance >= least and each.status == "activated"]
        return sorted(vital, key=lambda each: each.at, reverse=True)[:limit]

    async def search(self, _: CubeRef, query: str, top_k: int) -> list[SearchResult]:
        self.asked.append(query)
        asked = set(stems(query))
        common = {name: float(len(asked & set(stems(each.text)))) for name, each in self.memories.items()}
        found = sorted((name for name, score in common.items() if score), key=lambda name: (-common[name], name))
        return [SearchResult(self.memories[name], common[name], {}) for name in found[:top_k]]

    async def counts(self, _: CubeRef, words: Sequence[str]) -> TermCounts:
        texts = [set(stems(each.text)) for each in self.memories.values()]
        return TermCounts(len(texts), {word: sum(word in text for text in texts) for word in words})


def working_sets(cube: FakeCube, size: int = 4, policy: Any = None, rerank: Any = None) -> WorkingSets:
    fake: Any = cube
    return WorkingSets(fake, fake, fake, fake, policy or StandardPolicy(), size=size, window=5, rerank=rerank)


def state(*said: str, **more: Any) -> HotState:
    events = [TalkEvent(event_id=f"e{at}", at=NOW + at, text=text) for at, text in enumerate(said)]
    return HotState(talk=events, **more)


async def texts(cube: FakeCube, before: HotState, **more: Any) -> list[str]:
    after = await working_sets(cube, **more).recompute(HOME, before)
    return [each.text for each in after.working_set]


async def test_it_holds_what_was_asked_for_and_what_is_vital() -> None:
    found = await texts(FakeCube(CUBE), state("What does Bob repair?", "What does Rex eat?"), size=5)

    assert found[0] == "Rex eats carrots"
    assert {"Anna is allergic to nuts", "Bob repairs motorcycles"} <= set(found)


async def test_without_talk_it_holds_what_is_vital_and_what_answers_used() -> None:
    used = HotState().with_uses("answer", NOW, ["The lake is frozen", "deleted since"])

    assert set(await texts(FakeCube(CUBE), used)) == {"Anna is allergic to nuts", "The lake is frozen"}


async def test_what_the_set_has_is_not_looked_for_again() -> None:
    cube = FakeCube(CUBE)

    await texts(cube, state("What does Rex eat?", "Does Rex eat carrots?"))

    assert cube.asked == ["What does Rex eat?"]


async def test_what_was_found_once_is_not_looked_for_again() -> None:
    cube = FakeCube(CUBE)
    after = await working_sets(cube).recompute(HOME, state("What does Rex eat?"))

    again = await working_sets(cube).recompute(HOME, after)

    assert cube.asked == ["What does Rex eat?"]
    assert again == after


@pytest.mark.parametrize("change", [{"status": "archived"}, {"superseded_by": "another"}])
async def test_what_was_archived_or_corrected_since_leaves(change: dict[str, str]) -> None:
    cube = FakeCube(CUBE)
    after = await working_sets(cube).recompute(HOME, state("What does Rex eat?"))
    cube.memories["Rex eats carrots"] = memory("Rex eats carrots", 1, **change)

    assert "Rex eats carrots" not in await texts(cube, after)


async def test_of_the_same_words_stored_twice_one_is_enough() -> None:
    cube = FakeCube([*CUBE, memory("Rex eats carrots!", 9), memory("REX eats carrots", 9)])

    found = await texts(cube, state("What does Rex eat?"))

    assert sum("eats carrots" in text for text in found) == 1


async def test_it_is_never_larger_than_it_may_be() -> None:
    assert len(await texts(FakeCube(CUBE), state("Rex Bob lake Porto vacuum"), size=3)) == 3


async def test_a_policy_of_the_users_own_decides() -> None:
    class Shortest:
        def choose(self, _: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
            found = [Chosen(each.memory, -len(each.memory.text), {}) for each in candidates]
            return sorted(found, key=lambda each: -each.score)[:size]

    found = await texts(FakeCube(CUBE), state("Rex Bob"), policy=Shortest())

    assert found == sorted(found, key=len)


async def test_an_order_by_a_model_is_taken_for_what_was_asked_last() -> None:
    asked: list[str] = []

    async def rerank(talk: Sequence[TalkEvent], chosen: Sequence[Chosen]) -> Sequence[Chosen]:
        asked.append(talk[-1].text)
        return chosen[::-1]

    plain = await texts(FakeCube(CUBE), state("Bob", "Rex"))
    assert await texts(FakeCube(CUBE), state("Bob", "Rex"), rerank=rerank) == plain[::-1]
    assert asked == ["Rex"]


SAID = ["What does Rex eat?", "Where does Rex sleep?", "Who repairs motorcycles?", "Porto", "Is the lake frozen?", "x"]


@given(st.permutations(SAID), st.randoms(use_true_random=False))
def test_the_order_of_arrival_makes_no_difference(said: list[str], chance: Random) -> None:
    events = state(*said).talk
    arrived = list(events)
    chance.shuffle(arrived)

    async def at_once() -> HotState:
        return await working_sets(FakeCube(CUBE)).recompute(HOME, HotState().with_talk(events, 5))

    async def one_by_one() -> HotState:
        after = HotState()
        for event in arrived:
            after = await working_sets(FakeCube(CUBE)).recompute(HOME, after.with_talk([event], 5))
        return after

    expected, got = asyncio.run(at_once()), asyncio.run(one_by_one())

    assert got.working_set == expected.working_set
