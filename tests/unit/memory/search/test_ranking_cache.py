"""What earlier searches found answers a later one, where that is near enough, and never after a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.memories import FIRST, memory

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import to_ms
from memsched.memory.search.ranking_cache import CERTAIN, REACH, RankingCache
from memsched.memory.store.changes import Changes
from memsched.memory.store.collection import InUse
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.points import Hit, Ranking, Sparse

HOME = CubeRef("alice", "home")
PLAIN = Conditions()
LIMIT = 24


class FakeStore:
    """Store and change feed of so many memories, one a minute, with vectors in few dimensions: some are near."""

    def __init__(self, count: int, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        self.dense = chance.normal(size=(count, 3))
        self.dense /= np.linalg.norm(self.dense, axis=1, keepdims=True)
        self.words = chance.uniform(0.3, 1.8, size=(count, 8)) * (chance.random(size=(count, 8)) < 0.4)
        self.payloads = [{**memory(f"m{at}", at).to_payload(), "status": "activated"} for at in range(count)]
        self.changes: list[str] = []
        self.asked = 0
        self.collection = InUse("memsched-1", 2)

    async def in_use(self) -> InUse:
        return self.collection

    async def query(self, _: CubeRef, rankings: Sequence[Ranking]) -> list[list[Hit]]:
        self.asked += 1
        dense, lexical = (each.vector for each in rankings)
        assert isinstance(lexical, Sparse)
        assert not isinstance(dense, Sparse)
        conditions, limit = rankings[0].conditions, rankings[0].limit
        assert conditions is not None
        until = np.inf if conditions.until is None else to_ms(conditions.until)
        there = [
            at
            for at, payload in enumerate(self.payloads)
            if payload["at"] < until and (conditions.include_archived or payload["status"] == "activated")
        ]
        weights = np.zeros(8)
        weights[lexical.indices] = lexical.values
        by_dense, by_words = self.dense @ np.array(dense) / np.linalg.norm(dense), self.words @ weights

        def hits(scores: Any, chosen: Sequence[int]) -> list[Hit]:
            return [
                Hit(f"m{at}", float(scores[at]), self.payloads[at])
                for at in sorted(chosen, key=lambda at: -scores[at])[:limit]
            ]

        return [hits(by_dense, there), hits(by_words, [at for at in there if by_words[at] > 0])]

    async def vectors(self, _: CubeRef, memory_ids: Sequence[str]) -> dict[str, tuple[list[float], Sparse]]:
        found = {}
        for memory_id in memory_ids:
            at = int(memory_id[1:])
            indices = np.flatnonzero(self.words[at]).tolist()
            found[memory_id] = self.dense[at].tolist(), Sparse(indices, self.words[at][indices].tolist())
        return found

    async def since(self, _: CubeRef, position: str | None) -> Changes:
        ids = None if position is None else frozenset(self.changes[int(position) :])
        return Changes(str(len(self.changes)), ids)


def cache_of(store: Any, slack: float = 1.0) -> RankingCache:
    return RankingCache(store, store, slack)


async def ask(
    of: Any, dense: Sequence[float], words: dict[int, float], conditions: Any = PLAIN, limit: int = LIMIT
) -> list[list[str]]:
    lexical = Sparse(list(words), list(words.values()))
    found = await of.query(HOME, [Ranking(each, conditions, limit) for each in (dense, lexical)])
    return [[hit.memory_id for hit in ranking] for ranking in found]


@pytest.mark.parametrize("seed", range(2))
async def test_without_slack_the_best_of_both_rankings_are_those_of_the_store(seed: int) -> None:
    chance, store = np.random.default_rng(seed), FakeStore(250, seed)
    cache = cache_of(store)

    for _ in range(100):
        words = {int(word): float(chance.uniform(0.5, 3)) for word in chance.choice(8, size=2, replace=False)}
        dense = chance.normal(size=3).tolist()
        given, truth = await ask(cache, dense, words), await ask(store, dense, words)
        assert [ranking[:CERTAIN] for ranking in given] == [ranking[:CERTAIN] for ranking in truth]

    assert 10 < cache.counters.saved < cache.counters.asked == 100


async def test_slack_saves_more() -> None:
    saved = []
    for slack in (0.5, 1.0, 2.0):
        chance, cache = np.random.default_rng(1), cache_of(FakeStore(250), slack)
        for _ in range(40):
            await ask(cache, chance.normal(size=3).tolist(), {int(chance.integers(8)): 1.0, 7: 1.0})
        saved.append(cache.counters.saved)

    assert saved[0] < saved[1] < saved[2]


async def test_any_change_of_the_cube_voids_it() -> None:
    store = FakeStore(REACH * 3)
    cache = cache_of(store)
    best = (await ask(cache, [1, 0, 0], {1: 1.0}))[0][0]
    await ask(cache, [1, 0, 0], {1: 1.0})
    assert store.asked == 1

    store.payloads[int(best[1:])]["status"] = "archived"
    store.changes.append(best)

    assert best not in (await ask(cache, [1, 0, 0], {1: 1.0}))[0]
    assert store.asked == 2
    everything = Conditions(include_archived=True)
    assert (await ask(cache, [1, 0, 0], {1: 1.0}, everything))[0][0] == best


async def test_a_time_limit_is_kept_and_other_conditions_are_asked_of_the_store() -> None:
    store = FakeStore(REACH * 3)
    cache = cache_of(store)
    await ask(cache, [1, 0, 0], {1: 1.0})

    for minute in (REACH * 3, REACH * 2, 10):
        until = Conditions(until=FIRST.replace(hour=9 + minute // 60, minute=minute % 60))
        assert await ask(cache, [1, 0, 0], {1: 1.0}, until) == await ask(store, [1, 0, 0], {1: 1.0}, until)
    before = cache.counters.asked
    await ask(cache, [1, 0, 0], {1: 1.0}, Conditions(speaker=["Ann"]))
    await ask(cache, [1, 0, 0], {1: 1.0}, Conditions(since=FIRST))
    assert cache.counters.asked == before


async def test_who_asks_for_many_gets_as_many_as_from_the_store() -> None:
    store = FakeStore(REACH * 3)
    cache = cache_of(store, 100.0)
    await ask(cache, [1, 0, 0], {1: 1.0})

    for limit in (REACH // 2, REACH * 3):
        assert [len(ranking) for ranking in await ask(cache, [1, 0.1, 0], {1: 1.0}, limit=limit)] == [
            len(ranking) for ranking in await ask(store, [1, 0.1, 0], {1: 1.0}, limit=limit)
        ]


async def test_of_a_cube_that_a_ball_holds_whole_everything_is_known() -> None:
    store = FakeStore(REACH - 1)
    cache = cache_of(store)
    await ask(cache, [1, 0, 0], {1: 1.0})

    for words in ({2: 1.0, 3: 0.5}, {99 % 8: 2.0}):
        assert await ask(cache, [-1, 0, 0.5], words) == await ask(store, [-1, 0, 0.5], words)
    assert cache.counters.saved == 2


async def test_of_an_empty_cube_nothing_is_found_until_something_is_told() -> None:
    store = FakeStore(0)
    cache = cache_of(store)

    assert await ask(cache, [1, 0, 0], {1: 1.0}) == await ask(cache, [0, 1, 0], {2: 1.0}) == [[], []]
    assert store.asked == 1


async def test_what_is_kept_ends_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memsched.memory.search.ranking_cache._KEPT_SECONDS", 0.0)
    store = FakeStore(REACH * 2)
    cache = cache_of(store)

    await ask(cache, [1, 0, 0], {1: 1.0})
    await ask(cache, [1, 0, 0], {1: 1.0})

    assert store.asked == 2
