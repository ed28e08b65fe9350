"""Conversations of other programs in a cube: each message once, whatever comes again or in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from support.processes import ROOT

from memsched import AsyncMemScheduler, AsyncMOS, ScheduleMessageItem, importing
from memsched.errors import CubeForbidden, SettingsError
from memsched.importing import Importer, Judged, Totals, judge
from memsched.memory.exports.conversation import Conversation
from memsched.memory.exports.read import conversations_in
from memsched.memory.ingest.turns.wordless import without_files
from memsched.mos.mos import MOSSearchResult
from memsched.queue.dead_letters import DeadFilter, DeadLetters
from memsched.queue.workers import WorkerRegistry

pytestmark = pytest.mark.timeout(60)
DATA = ROOT / "tests" / "data" / "exports"
BEGAN = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
LARGEST = 1_000_000
"""Bytes of a message."""
SKI = [{"role": "user", "content": "I ski.", "id": "1"}, {"role": "assistant", "content": "Where?", "id": "2"}]

SWIM = [{"role": "user", "content": "I swim.", "id": "1"}]


@pytest.fixture
async def mos(quick_place: Callable[[], dict[str, Any]]) -> AsyncIterator[AsyncMOS]:
    mos = AsyncMOS(**quick_place(), user_id="alice", retry_base_ms=10, max_message_bytes=LARGEST)
    yield mos
    await mos.stop(grace_seconds=0)


async def brought(mos: AsyncMOS, found: Iterable[Conversation], cube: str = "home", user: str = "alice") -> Totals:
    totals, done = Totals(), list[Judged]()
    importer = Importer(mos.mem_scheduler, user, cube, totals)
    await importer.bring(iter(found), done.append)
    await importer.settle()
    return totals


async def told(mos: AsyncMOS, cube: str = "home") -> list[tuple[str, str, str]]:
    found: MOSSearchResult = await mos.get_all(cube)
    return [(each.session_id, each.speaker, each.text) for each in found["text_mem"][0]["memories"]]


def chat(key: str, messages: list[dict[str, Any]], **more: Any) -> Conversation:
    return Conversation(key, began=BEGAN, messages=messages, **more)


async def test_an_export_becomes_sessions_with_their_times_and_again_changes_nothing(mos: AsyncMOS) -> None:
    first = await brought(mos, conversations_in(DATA / "chatgpt.json"))
    before = await mos.get_all("home")

    again = await brought(mos, conversations_in(DATA / "chatgpt.json"))

    assert await told(mos) == [
        ("oslo-1", "", "I move to Oslo in May."),
        ("oslo-1", "assistant", "Oslo is light in May."),
        ("oslo-1", "", "This is my cat Mimi."),
        ("oslo-1", "assistant", "Mimi is a lovely cat."),
        ("spoken-1", "", "I play the cello."),
        ("spoken-1", "assistant", "Since when?"),
    ]
    assert before["text_mem"][0]["memories"][0].at == datetime.fromtimestamp(1710000003.5, UTC)
    assert (first.conversations, first.new, first.kept, first.refused) == (2, 2, 6, 1)
    assert (again.conversations, again.new, again.kept, again.known) == (2, 0, 0, 6)
    assert await mos.get_all("home") == before


async def test_a_later_export_brings_what_is_new_in_it(mos: AsyncMOS) -> None:
    await brought(mos, [chat("c", SKI)])
    more = [*SKI, {"role": "user", "content": "In Oslo.", "id": "3"}]

    totals = await brought(mos, [chat("c", more), chat("d", SWIM)])

    assert (totals.kept, totals.known, totals.new, totals.held) == (2, 2, 2, 2)
    assert [text for _, _, text in await told(mos)] == ["I ski.", "Where?", "In Oslo.", "I swim."]


async def test_a_message_of_which_a_later_export_tells_more_is_the_same_one(mos: AsyncMOS) -> None:
    before = [{"uuid": "1", "sender": "human", "content": [{"type": "text", "text": "I ski."}]}]
    after = [{"uuid": "1", "sender": "human", "content": [{"type": "text", "text": "I ski.", "citations": []}]}]
    edited = [{"uuid": "1", "sender": "human", "content": [{"type": "text", "text": "I ski a lot."}]}]

    totals = [await brought(mos, [chat("c", said)]) for said in (before, after, edited)]

    assert [(each.kept, each.known) for each in totals] == [(1, 0), (0, 1), (1, 0)]


async def test_a_second_time_starts_nothing(mos: AsyncMOS) -> None:
    await brought(mos, [chat("c", SKI)])
    await mos.stop()

    assert (await brought(mos, [chat("c", SKI)])).known == 2
    assert not mos.mem_scheduler.running


async def test_what_was_given_up_is_told_each_time_until_it_is_brought_in(mos: AsyncMOS) -> None:
    async def fail(messages: list[ScheduleMessageItem]) -> None:
        raise ValueError("not today")

    mos.register_handlers({"add": fail})

    assert (await brought(mos, [chat("c", SKI)])).dead == 1
    again = await brought(mos, [chat("c", SKI)])
    assert (again.known, again.dead) == (2, 1)
    letters = DeadLetters(await mos.mem_scheduler.server(), mos.mem_scheduler.keys)
    await letters.purge(DeadFilter(label="add"))
    assert (await brought(mos, [chat("c", SKI)])).dead == 0


async def test_what_was_handed_over_right_before_a_crash_is_there_once(mos: AsyncMOS) -> None:
    await brought(mos, [chat("c", SKI)])
    server, keys = await mos.mem_scheduler.server(), mos.mem_scheduler.keys
    await server.execute("DEL", keys.cube("alice", "home").imported)

    await asyncio.gather(brought(mos, [chat("c", SKI)]), brought(mos, [chat("c", SKI)]))

    assert [text for _, _, text in await told(mos)] == ["I ski.", "Where?"]


async def test_the_same_messages_without_ids_are_as_many_as_there_are(mos: AsyncMOS) -> None:
    yes = {"role": "user", "content": "I like tea a lot.", "timestamp": "2024-01-01T10:00:00Z"}
    later = {**yes, "timestamp": "2024-01-02T10:00:00Z"}

    first = await brought(mos, [chat("c", [yes, later, yes])])
    again = await brought(mos, [chat("c", [yes, later, yes])])

    assert (first.kept, again.kept, again.known) == (3, 0, 3)


async def test_what_was_deleted_comes_back_only_when_all_of_the_cube_was(mos: AsyncMOS) -> None:
    await brought(mos, [chat("c", SKI)])
    (skis,) = [each for each in (await mos.get_all("home"))["text_mem"][0]["memories"] if each.text == "I ski."]
    await mos.delete(skis.memory_id, "home")

    await brought(mos, [chat("c", SKI)])
    assert [text for _, _, text in await told(mos)] == ["Where?"]

    await mos.delete_all("home")
    await brought(mos, [chat("c", SKI)])
    assert [text for _, _, text in await told(mos)] == ["I ski.", "Where?"]


async def test_two_cubes_of_a_user_get_the_same_file_each(mos: AsyncMOS) -> None:
    for cube in ("home", "work"):
        assert (await brought(mos, [chat("c", SKI)], cube)).kept == 2

    assert await told(mos, "work") == await told(mos)


async def test_long_conversations_go_in_windows_and_keep_their_order(mos: AsyncMOS) -> None:
    long = [{"role": "user", "content": f"I counted to {number}.", "id": str(number)} for number in range(55)]

    await brought(mos, [chat("c", long)])

    found = (await mos.get_all("home"))["text_mem"][0]["memories"]
    assert [each.text for each in found] == [each["content"] for each in long]
    assert [each.turn for each in found] == list(range(55))


async def test_one_that_cannot_be_sent_is_refused_and_the_others_are_kept(mos: AsyncMOS) -> None:
    huge = [*SKI, {"role": "user", "content": "so " * 100_000, "id": "3", "more": "x" * LARGEST}]

    totals = await brought(mos, [chat("bad", [], refused="it is no tree"), chat("c", huge), chat("d", SWIM)])

    assert (totals.refused, totals.kept) == (2, 3)
    assert [text for _, _, text in await told(mos)] == ["I ski.", "Where?", "I swim."]


async def test_while_the_label_is_paused_nothing_is_waited_for(mos: AsyncMOS) -> None:
    await mos.start()
    await mos.mem_scheduler.pause("add")
    totals = Totals()
    importer = Importer(mos.mem_scheduler, "alice", "home", totals)

    await importer.bring(iter([chat("c", SKI)]), lambda _: None)
    await importer.settle()

    assert importer.paused
    assert totals.waiting == 1


async def test_live_workers_are_left_to_it_and_without_them_it_is_done_here(
    mos: AsyncMOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LOOK_EVERY_SECONDS", 0.02)
    scheduler, totals = mos.mem_scheduler, Totals()
    registry = WorkerRegistry(await scheduler.server(), scheduler.keys, scheduler.settings.worker_ttl_seconds)
    await registry.register("another", {"labels": "add,query", "host": "elsewhere", "pid": "1"})
    importer = Importer(scheduler, "alice", "home", totals)

    await importer.bring(iter([chat("c", SKI)]), lambda _: None)
    assert (scheduler.running, totals.waiting) == (False, 1)

    await registry.remove("another")
    await importer.settle()
    assert (scheduler.running, totals.waiting) == (True, 0)
    assert len(await told(mos)) == 2


async def test_without_workers_and_memory_there_is_nobody_to_do_it() -> None:
    scheduler = AsyncMemScheduler(redis_url=f"memory://{uuid4()}", memory=False)

    with pytest.raises(SettingsError, match="no worker takes messages with the label add"):
        await Importer(scheduler, "alice", "home", Totals()).bring(iter([chat("c", SKI)]), lambda _: None)

    await scheduler.stop()


async def test_who_may_not_write_to_a_cube_brings_nothing_in(mos: AsyncMOS) -> None:
    await brought(mos, [chat("c", SKI)])
    name = (await mos.share_cube_with_user("home", "bob", "read")).name
    await mos.accept_cube(name, "bob")

    with pytest.raises(CubeForbidden):
        await brought(mos, [chat("d", SKI)], name, "bob")


def test_what_would_be_kept_is_said_without_a_server() -> None:
    oslo, _, broken = (judge(each, "alice", "home") for each in conversations_in(DATA / "chatgpt.json"))

    assert [message["id"] for message in oslo.kept.values()] == ["q1", "a1", "q2", "a2"]
    assert oslo.passed == {
        "an instruction": 2,
        "thoughts of a model": 1,
        "a tool's call or result": 2,
        "nothing is said": 1,
    }
    assert oslo.speakers == ["user", "assistant"]
    assert oslo.began == datetime.fromtimestamp(1710000003.5, UTC)
    assert oslo.ended == datetime.fromtimestamp(1710000100, UTC)
    assert broken.refused == ["its mapping is no object"]


def test_what_cannot_be_read_of_a_conversation_is_refused_by_its_place_and_the_rest_is_kept() -> None:
    strange = [*SKI, {"role": "user", "content": [{"type": "hologram"}]}, {**SWIM[0], "id": 4, "timestamp": "soon"}]

    judged = judge(chat("c", strange), "alice", "home", known={*judge(chat("c", SKI), "alice", "home").kept})
    timeless = judge(Conversation("c", began="soon", messages=SKI), "alice", "home")

    assert judged.known == 2
    assert judged.refused[0].startswith("message 3.content[0] is no part that is known: 'hologram'")
    assert judged.refused[1].startswith("message 4.timestamp has a time that is not understood: 'soon'")
    assert timeless.refused[0].startswith("message 1: the conversation has a time that is not understood: 'soon'")


def test_of_a_picture_only_what_is_said_with_it_travels() -> None:
    pictures = conversations_in(DATA / "openai.json")

    (_, dog) = (judge(each, "alice", "home") for each in pictures)

    assert len(json.dumps(without_files(list(dog.kept.values())))) < 400
