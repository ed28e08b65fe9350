"""What a person deleted stays deleted, with what was derived from it, whatever comes again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from support.llm import Asked, FakeLLM, Reply, says_json
from support.memories import conversation, found, idle, left_of, memories_of, put, said, snapshot, texts_of

from memsched import AsyncMemScheduler, AsyncMOS, ScheduleMessageItem
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import turns_of
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.store import MemoryStore
from memsched.memory.tombstones import Deleted
from memsched.mos.options import MosOptions

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
HOME = CubeRef("alice", "home")
SECRET = "My safe at the cabin opens with quixotic zyzzogeton."
WORDS = ("quixot", "zyzzogeton")


@pytest.fixture
async def scheduler(quick_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = quick_schedulers()
    await made.start()
    return made


@pytest.fixture
async def mos(scheduler: AsyncMemScheduler) -> AsyncMOS:
    return AsyncMOS.over(scheduler, MosOptions(user_id="alice"))


async def told(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    await scheduler.submit_messages(messages)
    await idle(scheduler)


async def again(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    """Deliver messages once more: as after a crash, a redrive, or by a producer who is not sure."""
    for message in messages:
        await put(scheduler, message)
    await idle(scheduler)


async def one(scheduler: AsyncMemScheduler, text: str) -> str:
    """The id of the memory with this text."""
    (memory_id,) = [each.memory_id for each in await memories_of(scheduler) if text in each.text]
    return memory_id


async def test_no_message_brings_back_what_was_deleted(scheduler: AsyncMemScheduler, mos: AsyncMOS) -> None:
    plain, talk = said(SECRET), conversation(("Alice", "The cabin is dry."), ("Alice", SECRET), minute=3)
    liked = said("I prefer quixotic teas.", 4, "pref_add")
    right = said("The number of the cabin is quixotic 12.", 5, "mem_feedback")
    messages = [plain, liked, talk, right]
    for each in messages:
        await told(scheduler, each)
    for each in [each for each in await memories_of(scheduler) if "quixotic" in each.text]:
        await mos.delete(each.memory_id, "home")
    assert await left_of(scheduler, *WORDS) == []

    await again(scheduler, *messages)

    assert [each.text for each in await memories_of(scheduler)] == ["The cabin is dry."]
    assert await texts_of(scheduler) == ["The cabin is dry."]
    assert await left_of(scheduler, *WORDS) == []
    await told(scheduler, said(SECRET, 9))  # said anew, it is a new statement
    assert SECRET in await found(scheduler, "quixotic")


async def test_a_message_that_said_the_same_does_not_bring_it_back_either(
    scheduler: AsyncMemScheduler, mos: AsyncMOS
) -> None:
    first, second = said(SECRET), said(SECRET, 5)
    await told(scheduler, first)
    await told(scheduler, second)
    await mos.delete(await one(scheduler, SECRET), "home")

    await again(scheduler, second, first)

    assert await memories_of(scheduler) == []
    assert await left_of(scheduler, *WORDS) == []


@pytest.mark.parametrize("when", ["before it is stored", "after it is stored"])
async def test_of_a_deletion_and_a_message_at_the_same_time_nothing_is_left(
    scheduler: AsyncMemScheduler, mos: AsyncMOS, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    message = said(SECRET)
    await told(scheduler, message, said("The cabin is dry.", 1))
    insert, deleted = MemoryStore.insert, False

    async def slow(self: MemoryStore, *args: Any) -> None:
        nonlocal deleted
        if when == "after it is stored":
            await insert(self, *args)
        if not deleted:
            deleted = True
            await mos.delete(await one(scheduler, SECRET), "home")
        await insert(self, *args)

    monkeypatch.setattr(MemoryStore, "insert", slow)
    await again(scheduler, message)

    assert [each.text for each in await memories_of(scheduler)] == ["The cabin is dry."]
    assert await left_of(scheduler, *WORDS) == []


async def test_what_is_said_while_the_same_is_being_deleted_is_kept(
    scheduler: AsyncMemScheduler, mos: AsyncMOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(scheduler, said(SECRET))
    add_sources, first = MemoryStore.add_sources, await one(scheduler, SECRET)

    async def slow(self: MemoryStore, *args: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryStore, "add_sources", add_sources)
            if first in [each.memory_id for each in await memories_of(scheduler)]:
                await mos.delete(first, "home")
        await add_sources(self, *args)

    monkeypatch.setattr(MemoryStore, "add_sources", slow)
    await told(scheduler, said(SECRET, 5))

    (kept,) = await memories_of(scheduler)
    assert kept.memory_id != first
    assert await found(scheduler, "quixotic") == [SECRET]


@pytest.mark.parametrize("deliveries", [1, 3])
async def test_what_was_deleted_before_it_was_counted_leaves_the_counts_as_they_were(
    scheduler: AsyncMemScheduler, mos: AsyncMOS, monkeypatch: pytest.MonkeyPatch, deliveries: int
) -> None:
    await told(scheduler, said("The safe of the bank is open."))
    before = (await snapshot(scheduler)).words
    message = conversation(("Alice", SECRET), ("Alice", "My safe is old."), minute=5, item_id="talk")
    writer, turns = (await scheduler.memory()).writer, {message.item_id: turns_of(message)}

    async def dies(*_: Any) -> None:
        raise ConnectionAbortedError

    with pytest.MonkeyPatch.context() as patch:  # stored, and not counted
        patch.setattr(TermStatistics, "add", dies)
        with pytest.raises(ConnectionAbortedError):
            await writer.write_turns(HOME, turns)
    await mos.delete(await one(scheduler, SECRET), "home")
    for _ in range(deliveries):
        await writer.write_turns(HOME, turns)
    await mos.delete(await one(scheduler, "My safe is old."), "home")

    assert (await snapshot(scheduler)).words == before


async def test_a_run_that_died_over_it_leaves_nothing_when_it_comes_again(
    scheduler: AsyncMemScheduler, mos: AsyncMOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = said(SECRET)
    await told(scheduler, message)
    await mos.delete(await one(scheduler, SECRET), "home")
    writer, turns = (await scheduler.memory()).writer, {message.item_id: turns_of(message)}
    looks = iter([True, False])

    async def looked_too_early(*_: Any) -> Deleted:
        if next(looks):
            return Deleted(frozenset(), 0)
        raise asyncio.CancelledError  # stored, and then it died

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_deleted", looked_too_early)
        with pytest.raises(asyncio.CancelledError):
            await writer.write_turns(HOME, turns, "alice")
    assert len(await memories_of(scheduler)) == 1

    await writer.write_turns(HOME, turns, "alice")

    assert await memories_of(scheduler) == []
    assert await left_of(scheduler, *WORDS) == []


def extracts(asked: Asked) -> Reply:
    """A fact of each turn that is about the safe or the ferry."""
    (given,) = re.findall(r"<data>\n(.*?)\n</data>", asked.prompt, re.DOTALL)
    turns = json.loads(given)
    facts = [
        {
            "kind": "fact",
            "text": turn["text"].replace("My", "The"),
            "quote": turn["text"],
            "source_turns": [turn["index"]],
            "about_user": True,
            "importance": 0.6,
        }
        for turn in turns
        if "zyzzogeton" in turn["text"] or "ferry" in turn["text"]
    ]
    return says_json({"memories": facts})


async def test_what_a_model_took_from_it_goes_with_it_and_does_not_come_back(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    with FakeLLM(extracts) as model:
        scheduler = quick_schedulers(llm_model="m", llm_base_url=model.url, llm_api_key="k")
        await scheduler.start()
        mos = AsyncMOS.over(scheduler, MosOptions(user_id="alice"))
        talk = conversation(("Alice", SECRET), ("Alice", "The ferry leaves at nine."), label="mem_read")
        second = conversation(("Alice", "The ferry leaves at nine."), minute=5, label="mem_read")
        await told(scheduler, talk)
        await told(scheduler, second)
        facts = {each.text: each for each in await memories_of(scheduler) if each.kind == "fact"}
        assert facts.keys() == {SECRET.replace("My", "The"), "The ferry leaves at nine."}
        turn = next(each for each in await memories_of(scheduler) if each.text == SECRET and each.kind == "turn")

        await mos.delete(turn.memory_id, "home")
        assert await left_of(scheduler, *WORDS) == []
        model.asked.clear()
        await again(scheduler, talk)

        assert await left_of(scheduler, *WORDS) == []
        assert not any("zyzzogeton" in asked.prompt for asked in model.asked), "nor is the model told once more"
        ferry = [each for each in await memories_of(scheduler) if "ferry" in each.text]
        assert {each.kind for each in ferry} == {"turn", "fact"}, "it was said in another message too"
        await mos.delete(next(each.memory_id for each in ferry if each.kind == "turn"), "home")
        await again(scheduler, second, talk)
        assert await memories_of(scheduler) == []


async def test_what_was_merged_goes_as_one(scheduler: AsyncMemScheduler, mos: AsyncMOS) -> None:
    for minute, text in enumerate(("My dog Rex eats quixotic carrots.", "Oh, my dog Rex eats quixotic carrots.")):
        await told(scheduler, said(text, minute))
    await told(scheduler, said("", 5, "mem_organize"))
    old, new = sorted(await memories_of(scheduler), key=lambda each: each.at)
    assert old.superseded_by == new.memory_id

    await mos.delete(new.memory_id, "home")

    assert await memories_of(scheduler) == []
    assert await left_of(scheduler, "quixot") == []


async def test_what_was_submitted_before_all_was_deleted_does_not_arrive_afterwards(
    scheduler: AsyncMemScheduler, mos: AsyncMOS
) -> None:
    done = [said(SECRET), said("How does the quixotic safe open?", 1, "query")]
    await told(scheduler, *done)
    for label in ("add", "query", "mem_update"):
        await scheduler.pause(label)
    waiting = [said("The quixotic boat is blue.", 2), said("Where is the quixotic boat?", 3, "query")]
    await scheduler.submit_messages(waiting)

    await mos.delete_all("home")
    later = said("The ferry leaves at nine.", 4)
    await scheduler.submit_messages(later)
    for label in ("add", "query", "mem_update"):
        await scheduler.resume(label)
    await idle(scheduler)

    assert [each.text for each in await memories_of(scheduler)] == ["The ferry leaves at nine."]
    assert await left_of(scheduler, *WORDS) == []


async def test_whoever_stores_while_all_is_deleted_takes_it_back(
    scheduler: AsyncMemScheduler, mos: AsyncMOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(scheduler, said("The cabin is dry."))
    insert, emptied = MemoryStore.insert, False

    async def slow(self: MemoryStore, *args: Any) -> None:
        nonlocal emptied
        if not emptied:
            emptied = True
            await mos.delete_all("home")
        await insert(self, *args)

    monkeypatch.setattr(MemoryStore, "insert", slow)
    await told(scheduler, said(SECRET, 5))

    assert await memories_of(scheduler) == []
    assert await left_of(scheduler, *WORDS) == []


async def test_a_correction_that_comes_again_corrects_no_second_memory(scheduler: AsyncMemScheduler) -> None:
    lines = ["The meeting with Bob is on Monday.", "The meeting with Eve is on Monday."]
    await told(scheduler, *(said(text, minute) for minute, text in enumerate(lines)))
    message = said("The meeting is on Tuesday.", 5, "mem_feedback")
    services = await scheduler.memory()
    supersession, crashed = services.corrections.supersession, 0
    wrote = supersession.supersede

    async def crashes(*args: Any) -> Any:
        nonlocal crashed
        done = await wrote(*args)
        crashed += 1
        if crashed == 1:
            raise OSError("after the effect, before the acknowledgement")
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supersession, "supersede", crashes)
        await told(scheduler, message)
    await again(scheduler, message)

    assert crashed == 2
    assert len([each for each in await memories_of(scheduler) if each.superseded_by]) == 1
