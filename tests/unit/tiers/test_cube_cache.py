"""What a cube's cache keeps from call to call is what a fresh one computes, whatever happened to the cube."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memories import FIRST, memory

from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.content_value import Content, content_of
from memsched.memory.model import Memory, to_ms
from memsched.memory.search.window import Surroundings
from memsched.memory.store.changes import Changes
from memsched.policy.talk import Answered
from memsched.policy.themes import WINDOW, SharedWords, Told
from memsched.tiers import cube_cache
from memsched.tiers.cube_cache import CubeCache, CubeCaches

HOME = CubeRef("alice", "home")
WORDS = "tiles grout kitchen sofa delivery tiler bathroom price viewing garden school trumpet 地砖 瓷砖 厨房 7".split()
KINDS = ["told", "told", "asked", "answered", "late", "gone", "marked"]
HAPPENS = st.tuples(st.sampled_from(KINDS), st.integers(0, 9999))


def said(number: int, minute: float) -> Memory:
    chance = random.Random(number)
    text = " ".join(chance.choices(WORDS, k=chance.randint(1, 9)))
    return memory(f"{text} {number % 90}", minute, memory_id=f"m{number}", session_id=f"s{int(minute) // 900}")


def computed(cube: CubeCache, log: list[Answered]) -> tuple[Any, ...]:
    values = cube.valuation.values(cube.columns(), cube.used(log), cube.available(), cube.generation)
    themes = cube.themes(log)
    labels = [themes.label_of(each.memory_id) for each in cube.memories]
    return values.value.tolist(), values.shares, values.by_mode.tolist(), themes.themes, labels, +cube.sizes


@given(st.integers(0, 999), st.data())
def test_a_window_as_of_then_has_nothing_that_was_told_later(seed: int, data: st.DataObject) -> None:
    chance = random.Random(seed)
    told = []
    for minute, turn in enumerate(chance.sample(range(20), 20)):  # some came later than what was said after them
        place: dict[str, Any] = {"session_id": chance.choice(["a", "b", ""]), "turn": turn}
        told.append(memory(" ".join(chance.choices(WORDS, k=3)), minute, memory_id=f"m{minute}", **place))
    cube = CubeCache()
    cube.put(told)
    cube.put([told[3].model_copy(update={"at": told[9].at})])  # which takes off all after it, and puts it back
    known = data.draw(st.integers(0, len(told)))

    def words(surroundings: Surroundings, number: int) -> dict[str, float]:
        return {stem: found.weight for stem, found in surroundings.words(cube.memories[number]).items()}

    now, then = Surroundings(cube.memories), Surroundings(cube.memories[:known])
    other = cube.windows_at(known)

    for number in range(known):
        assert words(then, number) == other.get(cube.memories[number].memory_id, words(now, number))
    assert len(cube) == len(told)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.lists(HAPPENS, min_size=4, max_size=10))
def test_what_is_kept_changes_no_result(seed: int, happened: list[tuple[str, int]]) -> None:
    there = {each.memory_id: each for each in (said(seed + n, 90 * n) for n in range(WINDOW - 3))}
    cube, log = CubeCache(), list[Answered]()
    cube.put(there.values())
    for number, (what, drawn) in enumerate(happened):
        computed(cube, log)
        ids, end = sorted(there), 90 * (WINDOW + number)
        chosen = ids[drawn % len(ids)]
        if what in ("told", "late"):
            new = said(seed + WINDOW + number, end if what == "told" else drawn)
            there[new.memory_id] = new
            cube.put([new])
        elif what == "gone":
            del there[chosen]
            cube.remove([chosen])
        elif what == "marked":
            there[chosen] = there[chosen].model_copy(update={"status": "archived"})
            cube.put([there[chosen]])
        else:  # an answer says anew what the question before it used
            at = to_ms(FIRST) + 60_000 * end
            if what == "answered" and log:
                at = log.pop().at
            log.append(Answered(event_id=f"e{at}", at=at, credited=[chosen]))
    fresh = CubeCache()
    fresh.put(there.values())

    assert computed(cube, log) == computed(fresh, log)


class Overflowing:
    """A store, and a change feed that has always missed something."""

    def __init__(self, memories: Iterable[Memory]) -> None:
        self.memories = {each.memory_id: each for each in memories}

    async def since(self, _: CubeRef, position: str | None) -> Changes:
        return Changes("1", None)

    async def scan(self, *_: Any) -> AsyncIterator[tuple[Memory, list[float]]]:
        for memory_id in sorted(self.memories):
            await asyncio.sleep(0)
            yield self.memories[memory_id], []


@pytest.mark.parametrize("left", [0, 1, WINDOW])
def test_who_missed_changes_reads_only_the_texts_that_are_new(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def content(speaker: str, text: str) -> Content:
        read.append(text)
        return content_of(speaker, text)

    monkeypatch.setattr(cube_cache, "content_of", content)
    store: Any = Overflowing(said(n, 90 * n) for n in range(WINDOW + 20))
    caches, told = CubeCaches(store, store), list(store.memories.values())

    async def run() -> CubeCache:
        before = await caches.current(HOME)
        computed(before, [])
        read.clear()
        late, last = said(500, 100), said(501, 90 * 900)
        marked = [each.model_copy(update={"status": "archived", "importance": 0.9}) for each in told[3:4]]
        moved = [each.model_copy(update={"turn": 7}) for each in told[7:8]]
        there = [*told[:left], *marked * bool(left), *moved * bool(left), late, last]
        store.memories = {each.memory_id: each for each in there}
        cube = await caches.current(HOME)
        assert sorted(read) == sorted(each.text for each in (there if not left else (late, last)))
        return cube

    cube, fresh = asyncio.run(run()), CubeCache()
    fresh.put(store.memories.values())

    assert cube.memories == fresh.memories
    assert computed(cube, []) == computed(fresh, [])


@pytest.mark.parametrize("seed", range(3))
def test_shared_words_that_moved_on_are_those_of_the_new_window(seed: int) -> None:
    told = [Told(each.memory_id, each.text, to_ms(each.at)) for each in (said(seed + n, 40 * n) for n in range(140))]
    moved = SharedWords.of(tuple(told[:WINDOW]))
    for at in range(WINDOW, len(told)):
        moved = moved.moved_on(told[at])
        anew = SharedWords.of(tuple(told[at + 1 - WINDOW : at + 1]))
        assert moved.told == anew.told
        assert np.array_equal(moved.products, anew.products)
        assert np.array_equal(moved.links, anew.links)


def test_a_pin_goes_on_to_the_last_correction_however_many_there_were_and_to_who_says_the_same() -> None:
    cube = CubeCache()
    for number in range(40):
        cube.put([memory(f"rent {number}", number, superseded_by=f"rent {number + 1}")])
    cube.put([memory("rent 40", 40)])
    cube.put(memory(text, minute, content_hash="same") for minute, text in enumerate(("first", "again"), 50))

    assert cube.pinned(["rent 0", "rent 7", "first", "gone"]) == ["rent 40", "again"]
    cube.put([memory("rent 40", 40, superseded_by="rent 0")])
    assert len(cube.pinned(["rent 0"])) == 1, "whoever corrects in a circle"
