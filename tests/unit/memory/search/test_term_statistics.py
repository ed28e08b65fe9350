"""Word counts of a cube: once per message, however often and beside whom it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.bm25 import TermCounts
from memsched.memory.search.term_statistics import MEMORIES, SPEAKER, TermStatistics

HOME, OTHER = CubeRef("alice", "home"), CubeRef("bob", "home")


@pytest.fixture
async def terms() -> AsyncIterator[TermStatistics]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    server = await Server.connect(Settings.load(redis_url=f"memory://{uuid4()}"))
    yield TermStatistics(server, Keys())
    await server.aclose()


async def test_it_counts_in_how_many_memories_a_word_is(terms: TermStatistics) -> None:
    await terms.add(HOME, {"m1": [["nut", "nut", "cat"], ["nut"]], "m2": [["cat"]]})

    assert await terms.counts(HOME, ["nut", "cat", "dog", "nut"]) == TermCounts(3, {"nut": 2, "cat": 2, "dog": 0})


async def test_a_message_that_comes_again_counts_once_and_its_neighbours_count(terms: TermStatistics) -> None:
    await terms.add(HOME, {"m1": [["nut"]]})
    await terms.add(HOME, {"m1": [["nut"]], "m2": [["nut"]]})
    await terms.add(HOME, {"m2": [["nut"]]})

    assert await terms.counts(HOME, ["nut"]) == TermCounts(2, {"nut": 2})


async def test_what_was_deleted_before_it_was_counted_counts_for_nothing(terms: TermStatistics) -> None:
    await terms.remove(HOME, {"memory": ["nut"]})
    before = await terms.counts(HOME, ["nut"])
    await terms.add(HOME, {"m1": [["nut"]]})
    after = await terms.counts(HOME, ["nut"])
    await terms.add(HOME, {"m2": [["nut"]]})

    assert before == after == TermCounts(0, {"nut": 0})
    assert await terms.counts(HOME, ["nut"]) == TermCounts(1, {"nut": 1})


async def test_cubes_count_for_themselves(terms: TermStatistics) -> None:
    await terms.add(HOME, {"same id": [["nut"]]})
    await terms.add(OTHER, {"same id": [["cat"]]})

    assert await terms.counts(HOME, ["nut", "cat"]) == TermCounts(1, {"nut": 1, "cat": 0})
    assert await terms.counts(OTHER, ["nut", "cat"]) == TermCounts(1, {"nut": 0, "cat": 1})


async def test_a_word_cannot_change_the_number_of_memories(terms: TermStatistics) -> None:
    from memsched.lexicon import stems

    await terms.add(HOME, {"m1": [stems(f"{MEMORIES} #1 {MEMORIES * 3}"), []]})

    assert (await terms.counts(HOME, [])).memories == 2


async def test_forgotten_counts_begin_anew(terms: TermStatistics) -> None:
    await terms.add(HOME, {"m1": [["nut"]]})
    await terms.reset(HOME)
    await terms.add(HOME, {})

    assert await terms.counts(HOME, ["nut"]) == TermCounts(0, {"nut": 0})


async def test_what_was_forgotten_all_at_once_counts_when_it_comes_again(terms: TermStatistics) -> None:
    await terms.add(HOME, {"m1": [["nut"]]})
    await terms.remove(HOME, {"one": ["nut"]})
    await terms.add(HOME, {"m2": [["cat"]]})

    await terms.reset(HOME)
    assert await terms.counts(HOME, ["nut", "cat"]) == TermCounts(0, {"nut": 0, "cat": 0})

    await terms.add(HOME, {"m1": [["nut"]], "m2": [["cat"]]})
    assert await terms.counts(HOME, ["nut", "cat"]) == TermCounts(2, {"nut": 1, "cat": 1})
    await terms.remove(HOME, {"one": ["nut"]})
    assert await terms.counts(HOME, ["nut"]) == TermCounts(1, {"nut": 0})


async def test_the_rarest_of_too_many_words_go(terms: TermStatistics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memsched.memory.search.term_statistics.STEMS_KEPT", 40)
    for number in range(200):
        await terms.add(HOME, {f"m{number}": [["nut", "cat", f"rare{number}", SPEAKER + "ann"]]})

    counts = await terms.counts(HOME, ["nut", "cat", "ann", "rare0"])
    assert (counts.memories, counts.by_stem["nut"], counts.by_stem["cat"]) == (200, 200, 200)
    assert counts.names == {"ann"}
    assert await terms._server.execute("HLEN", Keys().cube("alice", "home").terms) <= 40
    await terms.remove(HOME, {f"{number}": [f"rare{number}", "nut"] for number in range(200)})
    assert (await terms.counts(HOME, ["nut", "rare0"])).by_stem == {"nut": 0, "rare0": 0}
