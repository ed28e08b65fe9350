"""What a permission hook withholds leaves by no way, and what it rewrites leaves rewritten."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json
from support.memories import conversation, idle, memories_of, said
from support.outcome import dead_letters

from memsched import AsyncMemScheduler, AsyncMOS
from memsched.errors import UnknownMemory
from memsched.memory.access.permissions import CubeRef
from memsched.memory.access.release import LeavingMemory, Release
from memsched.memory.search.retriever import Retriever
from memsched.messages import ScheduleLogForWebItem
from memsched.mos.chat import Question

pytestmark = pytest.mark.timeout(60)
SECRET, PLAIN = "The code of the safe in the cellar is kumquat.", "The cellar of the house is dry."


class Redacts:
    """The code, in words and in numbers, is seen by its owner only."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return memory.text if reader == memory.owner else re.sub("kumquat|90417", "####", memory.text)


class Vetoes:
    """Nobody sees the code."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "kumquat" in memory.text else memory.text


class OwnersOnly:
    """The code is its owner's."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "kumquat" in memory.text and reader != memory.owner else memory.text


class Fails:
    """It cannot say."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        raise OSError("the directory of people is away")


class Confused:
    """What it says is no text."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> list[str]:
        return [memory.text]


class BySpeaker:
    """Nothing that Bob said leaves."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if memory.speaker == "Bob" else memory.text


class ByText:
    """Nothing about the merger leaves."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "merger" in memory.text else memory.text


class ByTag:
    """Nothing that is bound to the role of a lawyer leaves: whatever says it, it is said of each memory."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "role:lawyer" in memory.tags or (memory.memory_id and not memory.at) else memory.text


@pytest.fixture
async def mos_with(quick_place: Callable[[], dict[str, Any]]) -> AsyncIterator[Callable[[type], Any]]:
    made: list[AsyncMOS] = []

    async def make(hook: type) -> AsyncMOS:
        mos = AsyncMOS(**quick_place(), user_id="alice", permissions=f"{__name__}:{hook.__name__}")
        made.append(mos)
        await mos.start()
        talk = conversation(("Alice", SECRET), ("Alice", PLAIN))
        await mos.mem_scheduler.submit_messages([talk, said("What is the code of the safe in the cellar?", 2, "query")])
        await idle(mos.mem_scheduler)
        await mos.share_cube_with_user("home", "bob")
        await mos.accept_cube("alice/home", "bob")
        return mos

    yield make
    for mos in made:
        await mos.stop(grace_seconds=0)


async def ways_out(mos: AsyncMOS, reader: str, cube: str, folder: Path) -> dict[str, str]:
    """What leaves on each way, as one text each."""
    scheduler = mos.mem_scheduler
    question = Question("What about the gate in the cellar?", reader, cube, "talk")
    chat = mos._chat
    found: dict[str, Any] = {
        "prompt": chat._prompt(await chat._begin(question)),
        "prompt of one's own": await mos.prompt("What about the gate in the cellar?", cube, reader),
        "status": await scheduler.get_tasks_status(),
        "search": await scheduler.retriever.search("code of the safe in the cellar", reader, cube),
        "why it was found": await scheduler.retriever.search(
            "code of the safe in the cellar", reader, cube, search_args={"explain": True}
        ),
        "search of all": await mos.search("code of the safe in the cellar", reader),
        "working set": await scheduler.working_set(reader, cube),
        "set of a role": await scheduler.working_set(reader, cube, role="cook"),
        "all": await mos.get_all(cube, reader),
        "page": await mos.list_memories(cube, reader),
        "themes": await scheduler.themes(reader, cube),
        "activation block": await scheduler.activation(reader, cube),
        "explain": await scheduler.explain(reader, cube),
        "chat": await mos.chat("What is the code of the safe?", reader, cube),
        "events": await scheduler.get_web_log_messages(),
        "events as they happen": await all_events(scheduler.follow_events("0-0")),
        "events of the cube": await all_events(scheduler.follow_cube_events(reader, cube, "0-0")),
        "last events of the cube": await scheduler.cube_events(reader, cube),
        "dump": await mos.dump(folder / reader, cube, reader),
    }
    for memory in await memories_of(scheduler):
        for way, ask in (
            ("get", lambda memory_id=memory.memory_id: mos.get(memory_id, cube, reader)),
            ("why", lambda memory_id=memory.memory_id: scheduler.explain(reader, cube, memory_id)),
            ("history", lambda memory_id=memory.memory_id: scheduler.history(reader, cube, memory_id)),
        ):
            try:
                found[way] = (found.get(way, ""), await ask())
            except UnknownMemory:
                continue
    dumped = "".join(path.read_text("utf-8") for path in (folder / reader).rglob("*.json*"))
    return {**{way: to_json(each, fallback=repr).decode() for way, each in found.items()}, "dump": dumped}


async def all_events(source: AsyncGenerator[Any, None]) -> list[Any]:
    found = []

    async def collect() -> None:
        async with aclosing(source) as events:
            async for _, each in events:
                found.append(each)

    collecting = asyncio.create_task(collect())
    await asyncio.sleep(0.1)
    while (
        not collecting.done()
    ):  # before Python 3.12, asyncio.wait_for (fakeredis' way) loses a cancellation now and then
        collecting.cancel()
        await asyncio.wait({collecting}, timeout=0.1)
    return found


NO_WAYS_OUT = {
    *(
        "add_middleware",
        "cancel_task",
        "clear",
        "config",
        "current_mem_cube",
        "dead_letters",
        "dispatcher",
        "memory",
        "memory_soon",
    ),
    *("pause", "pin", "predict", "preload", "register_handlers", "restore", "resume", "running", "search_method"),
    *("server", "start", "stop", "submit_messages", "transition_rules", "unpin", "archive", "use_redis_queue", "wait"),
    *("working_set_policy", "add", "clear_messages", "create_cube_for_user", "create_user", "delete", "delete_all"),
    *("get_user_info", "list_users", "load", "over", "register_mem_cube", "revoke_cube_from_user", "update"),
    *("find_tasks", "tasks_of", "unfinished"),
    *("share_cube_with_user", "list_invitations", "accept_cube", "decline_cube", "activation_status", "warm"),
    *("tag_cube", "cube_tags"),
    *("cube_of", "cube_meant", "record", "writable", "statistics", "scaling"),
}
"""What gives nothing of a memory: it takes something in, or tells of messages, users and cubes."""
WAYS_OUT = {
    *(
        "follow_events",
        "follow_cube_events",
        "cube_events",
        "activation",
        "explain",
        "get_task_status",
        "get_tasks_status",
        "get_web_log_messages",
        "print_tasks_status",
    ),
    *(
        "read_status",
        "history",
        "themes",
        "working_set",
        "prompt",
        "chat",
        "chat_stream",
        "dump",
        "get",
        "get_all",
        "list_memories",
        "search",
    ),
}
"""What ``ways_out`` walks."""


def test_every_method_of_the_faces_is_known_to_be_a_way_out_or_none() -> None:
    public = {name for face in (AsyncMemScheduler, AsyncMOS, Retriever) for name in dir(face) if name[0] != "_"}

    assert public == WAYS_OUT | NO_WAYS_OUT, "have ways_out walk a new way out, or say that it is none"


@pytest.mark.parametrize("hook", [BySpeaker, ByText, ByTag])
async def test_on_every_way_the_hook_is_told_of_the_whole_memory(
    mos_with: Callable[..., Any], tmp_path: Path, hook: type
) -> None:
    mos = await mos_with(hook)
    scheduler = mos.mem_scheduler
    for day in range(6):
        secret = f"The secret merger with Quuxcorp costs {40 + day} million, the lawyers meet on the {day + 3}th."
        plain = f"The garden gate number {day} is painted on the {day + 5}th."
        at, role = 1440 * (day + 1), {"role": "lawyer"}
        await scheduler.submit_messages(
            [
                conversation(("Bob", secret), minute=at, info=role, session_id=f"s{day}"),
                conversation(("Alice", plain), minute=at + 5, session_id=f"s{day}"),
            ]
        )
        await idle(scheduler)
    bobs = [each.memory_id for each in await memories_of(scheduler) if each.speaker == "Bob"]
    services = await scheduler.memory()
    home = CubeRef("alice", "home")
    await services.moving.pin(home, bobs[0], user_id="alice", name="home")
    await services.moving.archive(home, bobs[1], user_id="alice", name="home")
    told = services.states
    assert "quuxcorp" in repr([each.why.lower() for each in await told.moves(home)]), "a theme of theirs moved"
    assert "merger" in repr(await told.load(home))

    for reader, cube in (("alice", "home"), ("bob", "alice/home")):
        for way, text in (await ways_out(mos, reader, cube, tmp_path)).items():
            for word in ("merger", "quuxcorp", "lawyers"):
                assert word not in text.lower(), f"{word} by way of {way}"
        explained = await scheduler.explain(reader, cube)
        assert not {*bobs} & {*explained.pins, *(each.subject_id for each in explained.moves)}
        assert not {*bobs} & {each.theme_id for each in await scheduler.themes(reader, cube)}
        assert any("gate" in each.text for each in await scheduler.working_set(reader, cube))
        assert "gate" in (await scheduler.activation(reader, cube)).text
    events = await scheduler.get_web_log_messages(1000)
    assert any("gate" in each.log_content for each in events if each.label == "add")


async def test_a_caption_is_told_to_the_hook_and_does_not_leave_beside_its_text(
    mos_with: Callable[..., Any], tmp_path: Path
) -> None:
    mos = await mos_with(Redacts)
    seen = {"blip_caption": "a note on the cellar that says kumquat"}
    pictures = [{"role": "user", "content": "Look at the safe!", **seen}, {"role": "user", "content": "", **seen}]
    await mos.mem_scheduler.submit_messages(said("", 5, chat_history=pictures))
    await idle(mos.mem_scheduler)

    for way, text in (await ways_out(mos, "bob", "alice/home", tmp_path)).items():
        assert "kumquat" not in text, way
    found = await mos.mem_scheduler.retriever.search("note on the cellar", "bob", "alice/home")
    shown = {each.memory: each.item.caption for each in found}
    assert shown["Look at the safe! [picture: a note on the cellar that says ####]"] == ""
    own = await mos.mem_scheduler.retriever.search("note on the cellar", "alice", "home")
    assert seen["blip_caption"] in {each.item.caption for each in own}
    assert "Look at the safe! [picture: a note" in (await mos.prompt("What about the note?", "home", "alice")).text


async def test_redacted_for_others_on_every_way(mos_with: Callable[..., Any], tmp_path: Path) -> None:
    mos = await mos_with(Redacts)

    others = await ways_out(mos, "bob", "alice/home", tmp_path)
    own = await ways_out(mos, "alice", "home", tmp_path)

    assert {way for way, text in others.items() if "kumquat" in text} == set()
    shown = {way for way, text in others.items() if "####" in text}
    assert shown >= {
        "search",
        "search of all",
        "working set",
        "activation block",
        "all",
        "get",
        "why",
        "events",
        "dump",
    }
    assert {way for way, text in own.items() if "kumquat" in text} >= shown - {"events", "events as they happen"}


async def test_vetoed_on_every_way_and_the_rest_is_there(mos_with: Callable[..., Any], tmp_path: Path) -> None:
    mos = await mos_with(Vetoes)

    for text in (await ways_out(mos, "alice", "home", tmp_path)).values():
        assert "kumquat" not in text
    found = await mos.mem_scheduler.retriever.search("cellar", "alice", "home")
    assert PLAIN in [each.memory for each in found]


async def test_what_is_withheld_from_a_writer_can_be_changed_by_its_owner_only(mos_with: Callable[..., Any]) -> None:
    mos = await mos_with(OwnersOnly)
    await mos.share_cube_with_user("home", "bob", "write")
    scheduler = mos.mem_scheduler
    (secret,) = [each.memory_id for each in await memories_of(scheduler) if each.text == SECRET]

    for cube in ("alice/home", None):
        for call in (mos.get, mos.delete, mos.pin, mos.unpin, mos.archive, mos.restore, mos.explain):
            with pytest.raises(UnknownMemory):
                await call(secret, cube, "bob")
        with pytest.raises(UnknownMemory):
            await mos.update(secret, "The code of the safe is 1.", cube, "bob")
    by_message = said("The code of the safe is 1.", 3, "mem_feedback", info={"memory_id": secret})
    await scheduler.submit_messages(by_message.model_copy(update={"user_id": "bob", "mem_cube_id": "alice/home"}))
    await idle(scheduler)

    shown = await scheduler.explain("bob", "alice/home")
    assert secret not in {*shown.texts, *(each.memory_id for each in shown.working_set)}
    assert secret in (await scheduler.explain("alice", "home")).texts
    (dead,) = await dead_letters(scheduler)
    assert "the cube has no memory" in dead.error
    assert SECRET in [each.text for each in await memories_of(scheduler) if each.superseded_by is None]
    assert await mos.pin(secret, "home")
    await mos.delete(secret, "home")


@pytest.mark.parametrize("hook", [Fails, Confused])
async def test_a_hook_that_fails_lets_nothing_out(mos_with: Callable[..., Any], tmp_path: Path, hook: type) -> None:
    mos = await mos_with(hook)

    for way, text in (await ways_out(mos, "alice", "home", tmp_path)).items():
        assert "kumquat" not in text, way
        assert "dry" not in text, way


def test_an_event_is_still_an_event() -> None:
    event = ScheduleLogForWebItem(
        user_id="a",
        mem_cube_id="c",
        label="add",
        from_memory_type="x",
        to_memory_type="y",
        log_content="kumquat",
        metadata=[{"memory_id": "m", "text": "kumquat", "score": 0.5}],
    )

    (shown,) = Release(Vetoes()).events([event], {})

    assert shown.log_content == "(withheld)"
    assert shown.metadata == [{"memory_id": "m", "text": None, "score": 0.5}]
    assert json.loads(shown.model_dump_json())


async def test_metadata_leaves_as_its_texts_may(mos_with: Callable[..., Any], tmp_path: Path) -> None:
    mos = await mos_with(Redacts)
    given = {"note": "kumquat", "notes": ["plain", "a kumquat"], "kumquat": True, "year": 2026}
    given |= {"salary": 90417, "rooms": [3, 90417], "ratio": 0.90417}
    await mos.add(memory_content="The gate of the cellar is green.", mem_cube_id="home", metadata=given, wait=True)

    for way, text in (await ways_out(mos, "bob", "alice/home", tmp_path)).items():
        assert re.search("kumquat|90417", text) is None, way
    gate = "the green gate"
    (shown,) = await mos.mem_scheduler.retriever.search(gate, "bob", "alice/home", top_k=1)
    masked = {"salary": "####", "rooms": [3, "####"], "ratio": "0.####"}
    assert shown.metadata == {"note": "####", "notes": ["plain", "a ####"], "year": 2026, **masked}
    (own,) = await mos.mem_scheduler.retriever.search(gate, "alice", "home", top_k=1)
    assert own.metadata == given
    search = mos.mem_scheduler.retriever.search
    for asked, found in (
        ({"note": "kumquat"}, []),
        ({"kumquat": True}, []),
        ({"salary": {"gt": 90000}}, []),
        ({"notes": "plain", "year": 2026}, [shown]),
    ):
        assert await search(gate, "bob", "alice/home", filter=asked) == found
        assert [each.id for each in await search(gate, "alice", "home", filter=asked)] == [own.id]


@pytest.mark.parametrize("hook", [Redacts, Vetoes])
async def test_a_page_neither_counts_nor_finds_by_what_may_not_be_seen(
    mos_with: Callable[..., Any], hook: type
) -> None:
    mos = await mos_with(hook)

    async def total(word: str) -> int:
        conditions = {"filter": {"@text": {"contains": word}}}
        return int((await mos.list_memories("alice/home", "bob", conditions=conditions)).total)

    every = await mos.list_memories("alice/home", "bob", limit=1)
    following = await mos.list_memories("alice/home", "bob", after=every.cursor) if every.cursor else None
    assert (await total("kumquat"), await total("kumquax")) == (0, 0)
    assert await total("dry") == 1
    assert every.total == len(every.memories) + (len(following.memories) if following else 0)
