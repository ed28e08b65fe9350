"""What a permission hook withholds leaves by no way, and what it rewrites leaves rewritten."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.memories import conversation, idle, memories_of, said
from support.outcome import dead_letters

from memsched import AsyncMOS
from memsched.errors import UnknownMemory
from memsched.memory.access.release import LeavingMemory, Release
from memsched.messages import ScheduleLogForWebItem

pytestmark = pytest.mark.timeout(60)
SECRET, PLAIN = "The code of the safe in the cellar is 4711.", "The cellar of the house is dry."


class Redacts:
    """The code is seen by its owner only."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return memory.text if reader == memory.owner else memory.text.replace("4711", "####")


class Vetoes:
    """Nobody sees the code."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "4711" in memory.text else memory.text


class OwnersOnly:
    """The code is its owner's."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        return None if "4711" in memory.text and reader != memory.owner else memory.text


class Fails:
    """It cannot say."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> str | None:
        raise OSError("the directory of people is away")


class Confused:
    """What it says is no text."""

    def release(self, reader: str, purpose: str, memory: LeavingMemory) -> list[str]:
        return [memory.text]


@pytest.fixture
async def mos_with(tmp_path: Path) -> AsyncIterator[Callable[[type], Any]]:
    pytest.importorskip("fakeredis")
    made: list[AsyncMOS] = []

    async def make(hook: type) -> AsyncMOS:
        mos = AsyncMOS(redis_url=f"memory://{uuid4()}", user_id="alice", permissions=f"{__name__}:{hook.__name__}")
        made.append(mos)
        await mos.start()
        talk = conversation(("Alice", SECRET), ("Alice", PLAIN))
        await mos.mem_scheduler.submit_messages([talk, said("What is the code of the safe in the cellar?", 2, "query")])
        await idle(mos.mem_scheduler)
        await mos.share_cube_with_user("home", "bob")
        return mos

    yield make
    for mos in made:
        await mos.stop(grace_seconds=0)


async def ways_out(mos: AsyncMOS, reader: str, cube: str, folder: Path) -> dict[str, str]:
    """What leaves on each way, as one text each."""
    scheduler = mos.mem_scheduler
    found: dict[str, Any] = {
        "search": await scheduler.retriever.search("code of the safe in the cellar", reader, cube),
        "search of all": await mos.search("code of the safe in the cellar", reader),
        "working set": await scheduler.working_set(reader, cube),
        "set of a role": await scheduler.working_set(reader, cube, role="cook"),
        "all": await mos.get_all(cube, reader),
        "themes": await scheduler.themes(reader, cube),
        "activation block": await scheduler.activation(reader, cube),
        "explain": await scheduler.explain(reader, cube),
        "chat": await mos.chat("What is the code of the safe?", reader, cube),
        "events": await scheduler.get_web_log_messages(),
        "dump": await mos.dump(folder / reader, cube, reader),
    }
    for memory in await memories_of(scheduler):
        for way, ask in (
            ("get", lambda memory_id=memory.memory_id: mos.get(memory_id, cube, reader)),
            ("why", lambda memory_id=memory.memory_id: scheduler.explain(reader, cube, memory_id)),
        ):
            try:
                found[way] = (found.get(way, ""), await ask())
            except UnknownMemory:
                continue
    dumped = "".join(path.read_text("utf-8") for path in (folder / reader).rglob("*.json*"))
    return {**{way: repr(each) for way, each in found.items()}, "dump": dumped}


async def test_redacted_for_others_on_every_way(mos_with: Callable[..., Any], tmp_path: Path) -> None:
    mos = await mos_with(Redacts)

    others = await ways_out(mos, "bob", "alice/home", tmp_path)
    own = await ways_out(mos, "alice", "home", tmp_path)

    assert {way for way, text in others.items() if "4711" in text} == set()
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
    assert {way for way, text in own.items() if "4711" in text} >= shown - {"events"}


async def test_vetoed_on_every_way_and_the_rest_is_there(mos_with: Callable[..., Any], tmp_path: Path) -> None:
    mos = await mos_with(Vetoes)

    for text in (await ways_out(mos, "alice", "home", tmp_path)).values():
        assert "4711" not in text
    found = await mos.mem_scheduler.retriever.search("cellar", "alice", "home")
    assert PLAIN in [each.memory.text for each in found]


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

    (dead,) = await dead_letters(scheduler)
    assert "the cube has no memory" in dead.error
    assert SECRET in [each.text for each in await memories_of(scheduler) if each.superseded_by is None]
    assert await mos.pin(secret, "home")
    await mos.delete(secret, "home")


@pytest.mark.parametrize("hook", [Fails, Confused])
async def test_a_hook_that_fails_lets_nothing_out(mos_with: Callable[..., Any], tmp_path: Path, hook: type) -> None:
    mos = await mos_with(hook)

    for way, text in (await ways_out(mos, "alice", "home", tmp_path)).items():
        assert "4711" not in text, way
        assert "dry" not in text, way


def test_an_event_is_still_an_event() -> None:
    event = ScheduleLogForWebItem(
        user_id="a",
        mem_cube_id="c",
        label="add",
        from_memory_type="x",
        to_memory_type="y",
        log_content="4711",
        metadata=[{"memory_id": "m", "text": "4711", "score": 0.5}],
    )

    (shown,) = Release(Vetoes()).events([event])

    assert shown.log_content == "(withheld)"
    assert shown.metadata == [{"memory_id": "m", "text": None, "score": 0.5}]
    assert json.loads(shown.model_dump_json())
