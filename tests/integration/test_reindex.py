"""`memsched reindex`: all memories embedded anew, while workers go on, through kills, and by one process at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models
from support.conditions import until
from support.memories import conversation, found, idle, memories_of, said
from support.processes import clean_environment
from support.tiny_model import write_model
from support.windows import assert_windows_follow_from_texts

from memsched import AsyncMemScheduler, EmbedderMismatch, Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.memory.access.permissions import CubeRef
from memsched.memory.embedding.factory import embedder_from
from memsched.memory.forgetting import Forgetting
from memsched.memory.reindex import reindex as reindex_module
from memsched.memory.reindex.reindex import Reindexer, ReindexRefused
from memsched.settings import PREFIX

pytestmark = pytest.mark.timeout(90)
QUICK = {"store_timeout_seconds": 2.0}

Schedulers = Callable[..., AsyncMemScheduler]
Place = dict[str, Any]


@pytest.fixture
def model(tmp_path: Path) -> str:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    return str(write_model(tmp_path / "model"))


@pytest.fixture(autouse=True)
def _notice_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memsched.memory.store.store.RESOLVE_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(reindex_module, "RESOLVE_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(reindex_module, "_CLOCKS_DIFFER_SECONDS", 0.0)
    monkeypatch.setattr("memsched.handlers.admission._OPERATOR_NEEDED_SECONDS", 1.0)


def quiet(what: str, done: int, total: int) -> None:
    """Nobody looks."""


@asynccontextmanager
async def reindexer_at(place: Place, model: str, **given: Any) -> AsyncIterator[Reindexer]:
    settings = Settings.load(**{**place, **QUICK, "store_timeout_seconds": 0.5, "embedding_model": model})
    server = await Server.connect(settings)
    embedder = embedder_from(settings)
    try:
        async with Reindexer.open(settings, server, Keys(settings.prefix), embedder, **given) as reindexer:
            yield reindexer
    finally:
        await embedder.aclose()
        await server.aclose()


def command(place: Place, model: str, *words: str) -> tuple[list[str], dict[str, str]]:
    values = {**place, **QUICK, "store_timeout_seconds": 0.5, "embedding_model": model}
    environment = {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}
    return [sys.executable, "-m", "memsched.cli", "reindex", *words], clean_environment(**environment)


def reindex(place: Place, model: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv, environment = command(place, model, *words)
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


async def remember(scheduler: AsyncMemScheduler, count: int, first: int = 0, cube: str = "home") -> None:
    turns = [
        ("Alice", f"Guest number {number} sleeps in room {number + 100}.") for number in range(first, first + count)
    ]
    await scheduler.submit_messages(conversation(*turns, mem_cube_id=cube, item_id=f"guests-{first}"))
    await idle(scheduler)


async def collections(scheduler: AsyncMemScheduler) -> dict[str, Any]:
    """The metadata of the collections of this test, by name."""
    client = (await scheduler.memory()).store._client
    assert client is not None
    alias = scheduler.settings.collection
    names = [each.name for each in (await client.get_collections()).collections if each.name.startswith(f"{alias}-")]
    return {name: (await client.get_collection(name)).config.metadata for name in names}


@pytest.mark.long
async def test_after_a_change_of_the_model_all_is_found_again(
    memory_place: Place, memory_schedulers: Schedulers, model: str
) -> None:
    before = memory_schedulers(**QUICK)
    await before.start()
    await remember(before, 30)
    await remember(before, 5, first=100, cube="cabin")
    old = {each.memory_id: each for each in await memories_of(before)}
    await before.stop()

    # given workers with the new model: what comes in waits
    scheduler = memory_schedulers(**QUICK, embedding_model=model)
    await scheduler.start()
    with pytest.raises(EmbedderMismatch, match="memsched reindex"):
        await scheduler.retriever.search("Who sleeps in room 103?", "alice", "home")
    await scheduler.submit_messages(said("The cellar is locked.", 700, mem_cube_id="cabin", item_id="waits"))
    await until(lambda: _waiting(scheduler), "the message to be put off")

    # when it is said what would be done, and then done
    planned = json.loads(reindex(memory_place, model, "--dry-run", "--json").stdout)
    done = reindex(memory_place, model, "--json")

    assert planned | {"memories": 35, "needed": True, "begun": False} == planned
    outcome = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert outcome | {"memories": 35, "embedded": 35, "kept": False} == outcome
    assert "embeds all memories: " in done.stderr, "plain lines where there is no terminal"
    assert "hashing-1" in outcome["made_with"]

    # then all is there as it was, in new vectors, and the old collection is gone
    assert {each.memory_id: each for each in await memories_of(scheduler)} == old
    assert "Guest number 3 sleeps in room 103." in await found(scheduler, "room 103", method="lexical")
    assert len(await found(scheduler, "room 103", method="dense")) == 10
    assert list(await collections(scheduler)) == [f"{memory_place['collection']}-2"]
    await idle(scheduler)
    assert "The cellar is locked." in await found(scheduler, "cellar", cube="cabin"), "without a restart"
    await remember(scheduler, 1, first=500)
    assert len(await memories_of(scheduler)) == 31
    again = reindex(memory_place, model)
    assert (again.returncode, again.stdout.strip()[-13:]) == (0, "nothing to do")


async def _waiting(scheduler: AsyncMemScheduler) -> bool:
    return (await scheduler.read_status()).total.delayed == 1


@pytest.mark.long
async def test_what_changes_meanwhile_is_copied(memory_place: Place, memory_schedulers: Schedulers, model: str) -> None:
    scheduler = memory_schedulers(**QUICK)
    await scheduler.start()
    await remember(scheduler, 300)
    store = (await scheduler.memory()).store
    ref = (await memories_of(scheduler))[0].ref
    changed: list[str] = []

    async with reindexer_at(memory_place, model, batch=20) as reindexer:
        looked = asyncio.Event()

        def progress(what: str, done: int, total: int) -> None:
            if what.startswith("embeds all") and done:
                looked.set()

        running = asyncio.create_task(reindexer.run(progress))
        # when workers with the old model go on in the middle of it
        await looked.wait()
        some = sorted(await memories_of(scheduler), key=lambda each: each.memory_id)
        await store.delete(ref, [some[0].memory_id, some[-1].memory_id])
        changed = [some[1].memory_id, some[-2].memory_id]
        await store.patch(ref, {each: {"importance": 0.77} for each in changed})
        await scheduler.submit_messages(said("The cellar is locked.", 900, item_id="late"))
        await until(lambda: _has(store, ref, "The cellar is locked."), "it to be stored")
        outcome = await running

    after = memory_schedulers(**QUICK, embedding_model=model)
    memories = {each.memory_id: each for each in await memories_of(after)}
    assert outcome.memories == len(memories) == 299
    assert not {some[0].memory_id, some[-1].memory_id} & memories.keys()
    assert [memories[each].importance for each in changed] == [0.77, 0.77]
    assert "The cellar is locked." in await found(after, "cellar", method="lexical")
    with pytest.raises(EmbedderMismatch):
        await memories_of(scheduler)


async def _has(store: Any, ref: Any, text: str) -> bool:
    return text in [memory.text async for memory, _ in store.scan(ref)]


@pytest.mark.long
async def test_a_run_that_was_killed_is_gone_on_with(
    memory_place: Place, memory_schedulers: Schedulers, model: str, tmp_path: Path
) -> None:
    scheduler = memory_schedulers(**QUICK)
    await scheduler.start()
    await remember(scheduler, 150)

    # given one that is killed when some of its batches are written
    argv, environment = command(memory_place, model, "--batch-size", "4", "--yes")
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target = f"{memory_place['collection']}-2"
    store = (await scheduler.memory()).store

    async def some_are_written() -> bool:
        client = store._client
        assert client is not None
        return bool(await client.collection_exists(target)) and (await client.count(target)).count >= 20

    await until(some_are_written, "some to be written")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(await memories_of(scheduler)) == 150, "nobody noticed"

    # when it is called again: first too early
    server = await scheduler.server()
    early = reindex(memory_place, model, "--yes")
    assert early.returncode == 1
    assert "Another process" in early.stderr
    await server.execute("DEL", scheduler.keys.reindex(memory_place["collection"]))  # as after its 30 s
    planned = json.loads(reindex(memory_place, model, "--dry-run", "--json").stdout)
    done = json.loads(reindex(memory_place, model, "--json").stdout)

    assert planned["begun"]
    assert done["collection"] == target
    assert 0 < done["embedded"] < 150
    after = memory_schedulers(**QUICK, embedding_model=model)
    assert len(await memories_of(after)) == done["memories"] == 150
    assert list(await collections(after)) == [target]


@pytest.mark.long
async def test_a_run_that_was_killed_after_the_switch_is_brought_to_its_end(
    memory_place: Place, memory_schedulers: Schedulers, model: str
) -> None:
    scheduler = memory_schedulers(**QUICK)
    await scheduler.start()
    await remember(scheduler, 20)
    old = sorted(await memories_of(scheduler), key=lambda each: each.memory_id)
    after = memory_schedulers(**QUICK, embedding_model=model)

    # given one that ends while it waits for others to notice; somebody with the old model has not
    async with reindexer_at(memory_place, model) as reindexer:
        waits = asyncio.Event()
        running = asyncio.create_task(reindexer.run(lambda what, *_: waits.set() if "waits" in what else None))
        await waits.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    now = 1000 * 4_000_000_000
    client = (await scheduler.memory()).store._client
    assert client is not None
    first = f"{memory_place['collection']}-1"
    change = models.SetPayload(payload={"importance": 0.66, "updated_at": now}, points=[old[0].memory_id])
    await client.batch_update_points(first, [models.SetPayloadOperation(set_payload=change)])
    # and somebody with the new one deletes
    await (await after.memory()).store.delete(old[1].ref, [old[1].memory_id])

    done = json.loads(reindex(memory_place, model, "--json").stdout)

    memories = {each.memory_id: each for each in await memories_of(after)}
    assert (done["replaced"], done["embedded"]) == (first, 0)
    assert memories.keys() == {each.memory_id for each in old} - {old[1].memory_id}
    assert memories[old[0].memory_id].importance == 0.66
    assert list(await collections(after)) == [f"{memory_place['collection']}-2"]


@pytest.mark.long
async def test_killed_again_and_again_it_gets_there_and_nobody_is_ever_without_memories(
    memory_place: Place, memory_schedulers: Schedulers, model: str
) -> None:
    old, new = memory_schedulers(**QUICK), memory_schedulers(**QUICK, embedding_model=model)
    await old.start()
    await remember(old, 120)
    ids = {each.memory_id for each in await memories_of(old)}
    server = await old.server()
    argv, environment = command(memory_place, model, "--batch-size", "8", "--json")
    steps = ["embeds all", "looks at what was said", "waits", "waits", "copies what came last", ""]
    store, ref = (await old.memory()).store, CubeRef("alice", "home")

    for step in steps:
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        # when it is killed as soon as it says that it is so far; the last one is let be
        while (line := (await process.stderr.readline()).decode()) and not (step and line.startswith(step)):
            pass
        if line:
            process.kill()
        said_last, _ = await process.communicate()
        # then one of the two models has all memories; one that goes is gone for good
        try:
            assert {each.memory_id for each in await memories_of(old)} == ids
            await Forgetting(store, (await old.memory()).terms).forget(ref, [ids.pop()])
        except EmbedderMismatch:
            assert {each.memory_id for each in await memories_of(new)} == ids
        await server.execute("DEL", old.keys.reindex(memory_place["collection"]))  # as after its 30 s

    assert process.returncode == 0
    assert {each.memory_id for each in await memories_of(new)} == ids
    await assert_windows_follow_from_texts((await new.memory()).store, ref)
    assert list(await collections(new)) == [f"{memory_place['collection']}-2"], said_last


@pytest.mark.long
async def test_it_can_be_forced_and_the_old_collection_kept(memory_place: Place, memory_schedulers: Schedulers) -> None:
    scheduler = memory_schedulers(**QUICK)
    await scheduler.start()
    await remember(scheduler, 3)

    async with reindexer_at(memory_place, "hashing") as reindexer:
        with pytest.raises(ReindexRefused, match="already"):
            await reindexer.run(quiet)
        outcome = await reindexer.run(quiet, force=True, keep_old=True)

    assert outcome.kept
    assert sorted(await collections(scheduler)) == [
        f"{memory_place['collection']}-1",
        f"{memory_place['collection']}-2",
    ]
    await remember(scheduler, 1, first=10)
    assert len(await memories_of(scheduler)) == 4


async def test_without_memories_there_is_nothing_to_do(memory_place: Place, model: str) -> None:
    nothing = await asyncio.to_thread(reindex, memory_place, model)

    assert nothing.returncode == 1
    assert "nothing has been remembered" in nothing.stderr.splitlines()[-1]
    assert "Traceback" not in nothing.stderr
