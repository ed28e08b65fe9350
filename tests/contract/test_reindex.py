"""Embedding all memories anew, step by step: what others change while the alias moves, outages, what earlier runs left.

On both stores that need no server of their own: the client's in-process one, and the vector process.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_DNS, uuid4, uuid5

import pytest
from qdrant_client import models
from structlog.testing import capture_logs
from support.windows import assert_windows_follow_from_texts

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.lock import LockHeld
from memsched.deadline import Deadline
from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.content_value import text_value
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.embedding.hashing import HashingEmbedder
from memsched.memory.forgetting import Forgetting
from memsched.memory.ingest.windows import Windows
from memsched.memory.model import Memory
from memsched.memory.reindex import reindex
from memsched.memory.reindex.copy import CollectionCopy
from memsched.memory.reindex.reindex import Outcome, Reindexer, ReindexRefused
from memsched.memory.search.bm25 import index_of
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.search.term_statistics import TermStatistics, terms_of
from memsched.memory.search.window import own_name, sparse_of
from memsched.memory.store import collection
from memsched.memory.store.client import RetryingClient, _in_process, close_client, open_client
from memsched.memory.store.errors import EmbedderMismatch, StoreUnavailable
from memsched.memory.store.points import Point, Ranking
from memsched.memory.store.store import MemoryStore

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]
HOME, CABIN = CubeRef("alice", "home"), CubeRef("bob/x", "cabin {1}")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp() * 1000)


class Lengths:
    """Another model: three dimensions, and a list of what it was asked for."""

    dimensions = 3

    def __init__(self, name: str = "lengths") -> None:
        self.name = name
        self.asked: list[str] = []
        self.failures: list[Exception] = []

    async def prepare(self) -> None: ...

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if self.failures:
            raise self.failures.pop()
        self.asked += texts
        return [[0.6, 0.8, 0.0] if len(text) % 2 else [0.0, 0.6, 0.8] for text in texts]

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        return (await self.embed_documents([text]))[0]

    async def aclose(self) -> None: ...


class Place:
    """A store of the test's own, and whoever uses it."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self.settings = settings
        self.server = server
        self.old = MemoryStore(settings, HashingEmbedder.name, HashingEmbedder.dimensions)
        self.new = MemoryStore(settings, "lengths", Lengths.dimensions)
        self.terms = TermStatistics(server, Keys(settings.prefix))

    @asynccontextmanager
    async def reindexer(self, model: Any, **given: Any) -> AsyncIterator[Reindexer]:
        keys = Keys(self.settings.prefix)
        async with Reindexer.open(self.settings, self.server, keys, model, **given) as reindexer:
            # It waits for the calls of others as long as those may take: here they are done at once. What the store is
            # asked may still take its time, where the machine has other things to do.
            reindexer._settings = self.settings.model_copy(update={"store_timeout_seconds": 0.1})
            yield reindexer

    async def reindex(self, model: Any, progress: Any = None, **given: Any) -> Outcome:
        async with self.reindexer(model) as reindexer:
            return await reindexer.run(progress or (lambda *_: None), **given)

    async def remember(self, count: int, ref: CubeRef = HOME, first: int = 0) -> list[str]:
        return await self.store([memory_of(ref, number) for number in range(first, first + count)])

    async def store(self, memories: Sequence[Memory]) -> list[str]:
        """As a writer does."""
        ref = memories[0].ref
        vectors = await HashingEmbedder().embed_documents([each.indexed_text for each in memories])
        windows = Windows(self.old)
        first = await windows.first(ref, memories)
        points = [
            Point(each, vector, first.vectors[each.memory_id]) for each, vector in zip(memories, vectors, strict=True)
        ]
        await self.old.insert(ref, points)
        await windows.settle(ref, memories, first)
        await self.terms.add(ref, {each.memory_id: [terms_of(each)] for each in memories})
        return [each.memory_id for each in memories]

    async def of_earlier_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the collection made as by the version that knew no windows."""
        with monkeypatch.context() as patched:
            patched.setattr(collection, "SCHEMA_VERSION", 1)
            await self.old.open()

    async def forget(self, *memory_ids: str) -> None:
        await Forgetting(self.old, self.terms).forget(HOME, memory_ids)

    async def collections(self) -> list[str]:
        client, _ = await open_client(self.settings)
        names = [each.name for each in (await client.get_collections()).collections]
        await close_client(client, self.settings.store_url)
        return sorted(name for name in names if name.startswith(self.settings.collection))


def memory_of(ref: CubeRef, number: int) -> Memory:
    text = f"Guest number {number} sleeps in room {number + 100}."
    return Memory(
        memory_id=str(uuid5(NAMESPACE_DNS, f"{ref}{number}")),
        user_id=ref.user_id,
        mem_cube_id=ref.mem_cube_id,
        text=text,
        value=text_value(text, number),
        speaker="Alice",
        at=NOW,
        created_at=NOW,
        updated_at=NOW,
        status="archived" if number % 5 == 4 else "activated",
        session_id="s",
        turn=number,
    )


async def all_of(store: MemoryStore, ref: CubeRef = HOME) -> dict[str, Memory]:
    return {memory.memory_id: memory async for memory, _ in store.scan(ref)}


@pytest.fixture(params=["in_process", pytest.param("vector_process", marks=pytest.mark.long)])
async def place(
    request: pytest.FixtureRequest, settings_at: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    in_process = request.param == "in_process"
    store = ":memory:" if in_process else f"embedded://{request.getfixturevalue('vector_folder')}"
    url = f"memory://{uuid4()}"
    settings = settings_at(
        url, qdrant_url=store, collection=f"r{uuid4().hex[:12]}", memory=True, store_timeout_seconds=5.0
    )
    monkeypatch.setattr("memsched.memory.store.store.RESOLVE_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(reindex, "RESOLVE_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(reindex, "_OUTAGE_PAUSE_SECONDS", 0.01)
    server = await Server.connect(settings)
    place = Place(settings, server)
    yield place
    await place.old.aclose()
    await place.new.aclose()
    await server.aclose()
    _in_process.pop(url, None)


def after_the_switch(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Awaitable[Any]]) -> None:
    """Do something when the alias has moved, as somebody does who has not noticed."""
    end = Reindexer._end

    async def late(reindexer: Reindexer, *given: Any) -> None:
        await do()
        await end(reindexer, *given)

    monkeypatch.setattr(Reindexer, "_end", late)


def turn(number: int, turns: int = 12) -> Memory:
    """One of sessions of so many turns, with two words that no other has; its value is not known yet."""
    session, place = divmod(number, turns)
    said = f"Guest guest{number} sleeps in room{number}{'?' if number % 3 else '.'}"
    who = "Alice" if number % 2 else "Bob"
    given = {"text": said, "value": 0.0, "session_id": f"s{session}", "turn": place, "speaker": who}
    return memory_of(HOME, number).model_copy(update=given)


async def assert_nothing_leaks(store: MemoryStore, *numbers: int) -> None:
    """No word of these memories finds anything, or is in any vector."""
    words = [word for number in numbers for word in stems(turn(number).text) if word.endswith(str(number))]
    names = [name for word in words for name in (word, own_name(word))]
    assert len(words) == 2 * len(numbers)
    found = await store.query(HOME, [Ranking(sparse_of({name: 1.0}), None, 5) for name in names])
    assert not any(found)
    left = set(map(index_of, names))
    ids = list(await all_of(store))
    for memory_id, (_, vector) in (await store.vectors(HOME, ids)).items():
        assert not left & set(vector.indices), memory_id


class Killed(BaseException):
    """As by SIGKILL: nobody catches it."""


async def test_the_memories_of_all_cubes_get_new_vectors_and_stay_what_they_are(place: Place) -> None:
    await place.remember(70)
    await place.remember(10, CABIN)
    before = [await all_of(place.old, ref) for ref in (HOME, CABIN)]
    model = Lengths()

    outcome = await place.reindex(model)

    assert [await all_of(place.new, ref) for ref in (HOME, CABIN)] == before
    vectors = [vector async for _, vector in place.new.scan(HOME, with_vectors=True)]
    assert {len(vector) for vector in vectors} == {3}
    [lexical] = await place.new.query(HOME, [Ranking(sparse_of({"own\n107": 1.0}), None, 2)])
    assert [hit.memory().turn for hit in lexical] == [7], "words are there as well"
    assert (outcome.memories, outcome.embedded, len(model.asked)) == (80, 80, 80)
    assert await place.collections() == [f"{place.settings.collection}-2"]
    with pytest.raises(EmbedderMismatch, match="memsched reindex"):
        await all_of(place.old)


async def test_a_collection_of_an_earlier_version_gets_windows_while_everything_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given one without windows, with a session of 12 turns after the other
    monkeypatch.setattr(reindex, "_FEW", 0)
    await place.of_earlier_version(monkeypatch)
    ids = await place.store([turn(number) for number in range(60)])
    assert await place.old.has_windows() is False
    dense = {name: vector for name, (vector, _) in (await place.old.vectors(HOME, ids)).items()}
    client = (await place.old._ready())[0]
    stranger = models.PointStruct(id=str(uuid4()), vector={}, payload={"cube": HOME.tenant, "text": 7})
    await client.upsert(f"{place.settings.collection}-1", [stranger])

    # when it is reindexed, while turns are said, deleted and searched: in any round, and around the switch
    copy_changes, rounds = CollectionCopy.copy_changes, iter(range(100))
    search = HybridSearch(place.old, HashingEmbedder(), place.terms)

    async def meanwhile(number: int) -> None:
        await place.store([turn(number)])
        await place.forget(ids[number - 60])
        assert [each.item.turn for each in await search.search(HOME, f"Where does guest{number} sleep?", 1)]

    async def busy(copy: CollectionCopy, *given: Any) -> int:
        changes = await copy_changes(copy, *given)
        if (number := next(rounds)) < 3:
            await meanwhile(60 + number)
        return changes

    async def late() -> None:
        # one process has noticed nothing, and in the middle of a deletion it does
        place.old._name_cached = Deadline(1000)
        await meanwhile(63)
        await place.old.patch(HOME, {ids[20]: {"text": "", "caption": ""}})
        place.old._name_cached = Deadline(0)
        await place.forget(ids[20])
        await meanwhile(64)

    monkeypatch.setattr(CollectionCopy, "copy_changes", busy)
    after_the_switch(monkeypatch, late)
    outcome = await place.reindex(HashingEmbedder())

    # then whatever is stored has the vectors that follow from what is stored, and the model was not asked
    assert await place.old.has_windows()
    memories = await all_of(place.old)
    assert memories.keys() == {turn(number).memory_id for number in range(65)} - {*ids[:5], ids[20]}
    await assert_windows_follow_from_texts(place.old, HOME)
    assert outcome.embedded == 0
    kept = {name: vector for name, (vector, _) in (await place.old.vectors(HOME, ids)).items()}
    assert kept == {name: pytest.approx(dense[name], abs=0.02) for name in kept}
    assert all(memories[each].value == text_value(memories[each].text, memories[each].turn) for each in kept)
    await assert_nothing_leaks(place.old, *range(5), 20)
    assert (await client.retrieve(outcome.collection, [stranger.id]))[0].payload == stranger.payload
    with pytest.raises(ReindexRefused, match="already"):
        await place.reindex(HashingEmbedder())


@pytest.mark.parametrize("place", ["in_process"], indirect=True)
async def test_killed_at_any_step_it_ends_in_the_same_vectors(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.of_earlier_version(monkeypatch)
    ids = await place.store([turn(number) for number in range(24)])
    ask, left = RetryingClient.ask, 0

    async def ask_until(client: RetryingClient, *given: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return await ask(client, *given)

    monkeypatch.setattr(RetryingClient, "ask", ask_until)
    for kills in range(100):
        left = 2 * kills
        try:
            async with place.reindexer(HashingEmbedder(), batch=4) as reindexer:
                await reindexer.run(lambda *_: None)
            break
        except Killed:
            place.old._name_cached = Deadline(0)
        except ReindexRefused:  # nothing was left but to say so
            break
        # some of what is there goes, whatever is in use, and more comes
        if kills < 8:
            await place.forget(ids[kills])
            await place.store([turn(24 + kills)])

    assert kills >= 8
    assert (await all_of(place.old)).keys() == {turn(number).memory_id for number in range(8, 32)}
    await assert_windows_follow_from_texts(place.old, HOME)
    await assert_nothing_leaks(place.old, *range(8))
    assert len(await place.collections()) == 1


async def test_what_was_deleted_before_a_killed_run_is_gone_on_with_does_not_come_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await place.store([turn(number) for number in range(12)])

    async def killed() -> None:
        place.old._name_cached = Deadline(1000)
        await place.old.delete(HOME, [ids[5]])
        raise Killed

    with monkeypatch.context() as patched:
        after_the_switch(patched, killed)
        with pytest.raises(Killed):
            await place.reindex(HashingEmbedder(), force=True)
    place.old._name_cached = Deadline(0)
    await place.store([turn(12)])
    await place.reindex(HashingEmbedder())

    assert (await all_of(place.old)).keys() == {turn(each).memory_id for each in range(13)} - {ids[5]}
    await assert_nothing_leaks(place.old, 5)
    await assert_windows_follow_from_texts(place.old, HOME)


async def test_what_was_deleted_after_the_switch_does_not_come_back_by_a_run_that_ends_a_killed_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await place.store([turn(number) for number in range(12)])

    async def killed() -> None:
        raise Killed

    with monkeypatch.context() as patched:
        after_the_switch(patched, killed)
        patched.setattr(reindex, "_CLOCKS_DIFFER_SECONDS", 1e10)  # all of it may have been written after the last round
        with pytest.raises(Killed):
            await place.reindex(HashingEmbedder(), force=True)
    await place.forget(ids[5])
    await place.reindex(HashingEmbedder())

    assert (await all_of(place.old)).keys() == {*ids} - {ids[5]}
    await assert_nothing_leaks(place.old, 5)


async def test_the_speakers_of_old_memories_are_known_by_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.of_earlier_version(monkeypatch)
    with monkeypatch.context() as patched:  # as it was counted then
        patched.setattr(sys.modules[__name__], "terms_of", lambda memory: stems(memory.indexed_text))
        ids = await place.store([turn(number) for number in range(10)])
    await place.store([turn(10)])  # Bob's, by this version

    await place.reindex(HashingEmbedder())
    await place.reindex(HashingEmbedder(), force=True)

    key = Keys(place.settings.prefix).cube(HOME.user_id, HOME.mem_cube_id).terms
    said = await place.server.execute("HMGET", key, "@alic", "@bob")
    assert list(map(int, said)) == [5, 6]
    await place.forget(*ids[:9])
    assert (await place.terms.counts(HOME, ["alic", "bob"])).names == {"alic", "bob"}


async def test_a_change_that_leaves_the_text_alone_makes_no_new_vector(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "_FEW", 0)
    ids = await place.remember(30)

    class WhileUsed(Lengths):
        async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
            await place.old.patch(HOME, {each: {"use_count": 7} for each in ids})
            return await super().embed_documents(texts)

    model = WhileUsed()
    outcome = await place.reindex(model)

    assert {each.use_count for each in (await all_of(place.new)).values()} == {7}
    assert (outcome.embedded, len(model.asked)) == (30, 30)
    assert outcome.rounds == 5, "all, what changed, nothing, what came around the switch, and the last one"


async def test_what_both_models_write_around_the_switch_is_put_together(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three, four, *_ = await place.remember(20)
    late: list[str] = []

    async def both() -> None:
        # given a process that still believes the old name
        place.old._name_cached = Deadline(1000)
        await place.old.patch(HOME, {one: {"superseded_by": four, "updated_at": LATER}, two: {"importance": 0.7}})
        await place.old.delete(HOME, [three])
        late.extend(await place.remember(1, first=500))
        await place.old.patch(HOME, {four: {"use_count": 9}})
        # and another one with the new model, which is at work already
        await place.new.patch(HOME, {one: {"use_count": 4}})
        await place.new.delete(HOME, [four])

    after_the_switch(monkeypatch, both)
    outcome = await place.reindex(Lengths())

    after = await all_of(place.new)
    assert (after[one].superseded_by, after[one].use_count) == (four, 4)
    assert after[two].importance == 0.7
    assert late[0] in after
    assert not {three, four} & after.keys(), "what was deleted on either side stays deleted"
    assert len(after) == outcome.memories == 19


async def test_an_end_that_an_earlier_run_did_not_reach_is_made_up_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await place.remember(20)

    async def killed() -> None:
        raise Killed

    with monkeypatch.context() as patched:
        after_the_switch(patched, killed)
        with pytest.raises(Killed):
            await place.reindex(Lengths())
    # given what was written to both collections since
    place.old._name_cached = Deadline(1000)
    await place.old.patch(HOME, {ids[0]: {"use_count": 3}, ids[1]: {"use_count": 3}})
    await place.new.patch(HOME, {ids[0]: {"importance": 0.9, "updated_at": LATER}})
    await place.new.delete(HOME, [ids[2]])
    assert len(await place.collections()) == 2

    # when it is run again: the model is in use already, and the end is to come
    outcome = await place.reindex(model := Lengths())

    after = await all_of(place.new)
    assert (after[ids[0]].importance, after[ids[0]].use_count, after[ids[1]].use_count) == (0.9, 3, 3)
    assert after.keys() == set(ids) - {ids[2]}
    assert (outcome.memories, outcome.embedded, model.asked) == (19, 0, [])
    assert await place.collections() == [f"{place.settings.collection}-2"]
    with pytest.raises(ReindexRefused, match="already"):
        await place.reindex(Lengths())


async def test_what_an_earlier_run_began_with_a_third_model_is_dropped(place: Place) -> None:
    await place.remember(5)
    third = Lengths("third")
    third.failures.append(EmbeddingError("no such model any more", temporary=False))
    with pytest.raises(EmbeddingError):
        await place.reindex(third)
    assert len(await place.collections()) == 2

    await place.reindex(Lengths())

    assert await place.collections() == [f"{place.settings.collection}-3"]
    assert len(await all_of(place.new)) == 5


async def test_collections_that_were_kept_are_kept_by_later_runs(place: Place) -> None:
    await place.remember(5)
    name = place.settings.collection

    assert (await place.reindex(Lengths(), keep_old=True)).kept
    await place.reindex(Lengths("third"))

    assert await place.collections() == [f"{name}-1", f"{name}-3"]


async def test_an_outage_is_waited_for(place: Place) -> None:
    await place.remember(80)
    model = Lengths()
    model.failures = [EmbeddingError("busy", temporary=True), StoreUnavailable("http://x", "no answer")]

    outcome = await place.reindex(model)

    assert (outcome.memories, outcome.embedded) == (80, 80)


async def test_an_outage_that_lasts_ends_the_run_and_nothing_is_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "_OUTAGE_SECONDS", 0.0)
    await place.remember(5)
    model = Lengths()
    model.failures = [EmbeddingError("busy", temporary=True)]

    with pytest.raises(EmbeddingError, match="busy"):
        await place.reindex(model)

    assert len(await all_of(place.old)) == 5
    assert (await place.reindex(model)).memories == 5


async def test_the_second_of_two_is_refused(place: Place) -> None:
    await place.remember(5)
    second: list[BaseException] = []

    class Meanwhile(Lengths):
        async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
            with pytest.raises(LockHeld) as refused:
                await place.reindex(Lengths())
            second.append(refused.value)
            return await super().embed_documents(texts)

    assert (await place.reindex(Meanwhile())).memories == 5
    assert len(second) == 1


async def test_a_plan_tells_and_changes_nothing(place: Place) -> None:
    async with place.reindexer(Lengths()) as reindexer:
        with pytest.raises(ReindexRefused, match="nothing has been remembered"):
            await reindexer.plan()
        await place.remember(5)
        plan = await reindexer.plan()

    assert (plan.memories, plan.needed, plan.old_form, plan.switched, plan.target) == (5, True, False, False, "")
    assert (plan.made_with, plan.wanted) == ("hashing-1 (1024 dimensions)", "lengths (3 dimensions)")
    assert await place.collections() == [f"{place.settings.collection}-1"]


async def test_that_a_collection_is_old_is_said_once_and_planned_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture_logs() as logs:
        await place.of_earlier_version(monkeypatch)
        await place.remember(3)
        await place.new.aclose()
        again = MemoryStore(place.settings, HashingEmbedder.name, HashingEmbedder.dimensions)
        await again.open()
        await again.aclose()

    told = [each["event"] for each in logs if each.get("action") == "store.old_form"]
    assert told == ["its memories are found by their own words only; run `memsched reindex`"]
    async with place.reindexer(HashingEmbedder()) as reindexer:
        plan = await reindexer.plan()
    assert (plan.needed, plan.old_form, plan.keeps_dense) == (True, True, True)
