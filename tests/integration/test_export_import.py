"""Cubes on their way from the store to a folder, and from a folder or an object into a cube of the store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.windows import assert_windows_follow_from_texts

from memsched import AsyncMOS, CubeRef, GeneralMemCube, GeneralMemCubeConfig, ScheduleMessageItem
from memsched.errors import CubeDumpError
from memsched.handlers.services import MemoryServices
from memsched.lexicon import stems
from memsched.memory.model import Memory
from memsched.memory.transfer import export_cube as exporting
from memsched.memory.transfer import import_cube as importing
from memsched.memory.transfer.cube_object import TextMemory
from memsched.memory.transfer.export_cube import export_cube
from memsched.memory.transfer.import_cube import Imported, import_cube

pytestmark = pytest.mark.timeout(60)

SECONDS = 30.0
HOME, COPY = CubeRef("alice", "home"), CubeRef("bob", "copy")
SAID = ["My dog Max loves peanut butter.", "My sister Ann is allergic to nuts.", "We went to the lake on Sunday."]


@pytest.fixture
async def mos() -> AsyncIterator[AsyncMOS]:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    async with AsyncMOS(redis_url=f"memory://{uuid4()}", user_id="alice") as mos:
        yield mos


@pytest.fixture
async def services(mos: AsyncMOS) -> MemoryServices:
    return await mos.mem_scheduler.memory()


async def told(mos: AsyncMOS, *texts: str) -> None:
    await mos.add(list(texts or SAID), mem_cube_id="home", session_id="sunday", wait=True, timeout=SECONDS)


async def memories(services: MemoryServices, ref: CubeRef) -> dict[str, Memory]:
    return {memory.text: memory async for memory, _ in services.store.scan(ref)}


def cube_of(*records: dict[str, Any], **config: Any) -> GeneralMemCube:
    return GeneralMemCube(GeneralMemCubeConfig(**config), TextMemory(records))


async def test_a_cube_comes_back_with_everything_but_its_ids(
    mos: AsyncMOS, services: MemoryServices, tmp_path: Path
) -> None:
    await told(mos)
    before = await memories(services, HOME)
    await mos.update(before[SAID[0]].memory_id, "My dog Max loves carrots.", wait=True, timeout=SECONDS)
    before = await memories(services, HOME)

    written = await export_cube(services, HOME, tmp_path / "dump", name="home")
    imported = await import_cube(services, tmp_path / "dump", COPY, added_by="bob")
    after = await memories(services, COPY)

    assert (written, imported) == (4, Imported(4, 0))
    assert after.keys() == before.keys()
    assert {each.memory_id for each in after.values()}.isdisjoint(each.memory_id for each in before.values())
    changed = {
        "by_user",
        "memory_id",
        "user_id",
        "mem_cube_id",
        "updated_at",
        "added_by",
        "replaces",
        "superseded_by",
        "correctors",
    }
    for text, memory in before.items():
        assert after[text].model_dump(exclude=changed) == memory.model_dump(exclude=changed)
        assert (after[text].ref, after[text].added_by) == (COPY, "bob")
        assert (memory.by_user, after[text].by_user) == (True, False), "who brings it in is not who said it"
    assert after[SAID[0]].superseded_by == after["My dog Max loves carrots."].memory_id
    assert after["My dog Max loves carrots."].replaces == [after[SAID[0]].memory_id]
    assert after[SAID[0]].correctors == [after[SAID[0]].superseded_by]

    again = CubeRef("alice", "again")
    await import_cube(services, tmp_path / "dump", again, added_by="alice")
    assert all(each.by_user for each in (await memories(services, again)).values()), "who said it brings it in"


async def test_what_came_in_is_found_and_its_words_are_counted_once(
    mos: AsyncMOS, services: MemoryServices, tmp_path: Path
) -> None:
    await told(mos)
    await export_cube(services, HOME, tmp_path / "dump")
    words = sorted({stem for text in SAID for stem in stems(text)})

    for times in range(3):
        imported = await import_cube(services, tmp_path / "dump", COPY)
        assert imported == (Imported(0, 3) if times else Imported(3, 0))

    assert await services.terms.counts(COPY, words) == await services.terms.counts(HOME, words)
    (best, *_) = await services.search.search(COPY, "What does Max love?", 3)
    (there, *_) = await services.search.search(HOME, "What does Max love?", 3)
    assert (best.memory, best.score, best.parts) == (there.memory, there.score, there.parts)


async def test_a_dump_in_pieces_counts_each_word_once_and_leaves_none_of_what_is_deleted(
    services: MemoryServices,
) -> None:
    names = "falcon bridge candle desert engine garden".split()
    records = [
        {"memory_id": str(uuid4()), "text": f"common {name}", "session_id": "s", "turn": number}
        for number, name in enumerate(names)
    ]
    for piece in (records[3:], records[:2], records[1:5], records):
        await import_cube(services, cube_of(*piece), COPY)

    counts = await services.terms.counts(COPY, ["common", "falcon"])
    there = await assert_windows_follow_from_texts(services.store, COPY)
    await services.forgetting.forget(COPY, [each.memory_id for each in there if "falcon" in each.text])

    assert (counts.memories, counts.by_stem) == (6, {"common": 6, "falcon": 1})
    assert (await services.terms.counts(COPY, ["falcon"])).by_stem == {"falcon": 0}
    assert not await services.search.search(COPY, "falcon", 9, "lexical")


async def test_a_dump_that_comes_home_adds_only_what_is_missing(
    mos: AsyncMOS, services: MemoryServices, tmp_path: Path
) -> None:
    await told(mos)
    await export_cube(services, HOME, tmp_path / "dump")
    await mos.delete((await memories(services, HOME))[SAID[1]].memory_id)

    assert await import_cube(services, tmp_path / "dump", HOME) == Imported(1, 2)
    assert await import_cube(services, tmp_path / "dump", HOME) == Imported(0, 3)
    assert sorted(await memories(services, HOME)) == sorted(SAID)

    await mos.delete_all("home")
    assert await import_cube(services, tmp_path / "dump", HOME) == Imported(3, 0)
    assert sorted(await memories(services, HOME)) == sorted(SAID)


async def test_words_count_again_when_what_was_deleted_is_loaded_again(
    mos: AsyncMOS, services: MemoryServices, tmp_path: Path
) -> None:
    await told(mos)
    await export_cube(services, HOME, tmp_path / "dump")
    words = sorted({stem for text in SAID for stem in stems(text)})
    counted = await services.terms.counts(HOME, words)

    await mos.delete_all("home")
    for _ in range(2):
        assert await import_cube(services, tmp_path / "dump", HOME) == Imported(3, 0)
        assert await services.terms.counts(HOME, words) == counted
        for each in (await memories(services, HOME)).values():
            await mos.delete(each.memory_id)
        assert (await services.terms.counts(HOME, words)).memories == 0


async def test_a_crash_between_storing_and_counting_is_made_good_by_the_next_import(
    mos: AsyncMOS, services: MemoryServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(mos)
    await export_cube(services, HOME, tmp_path / "dump")

    async def crash(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(services.terms, "add", crash)
        with pytest.raises(ConnectionError):
            await import_cube(services, tmp_path / "dump", COPY)
    await import_cube(services, tmp_path / "dump", COPY)

    assert (await services.terms.counts(COPY, [])).memories == 3


async def test_a_cube_of_many_pages_comes_through_whole(
    services: MemoryServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_PAGE", 7)
    monkeypatch.setattr(exporting, "_PAGE", 7)
    texts = [f"City number {number} has {number} bridges." for number in range(30)]
    records = [
        {"memory_id": f"m{number}", "text": text, "superseded_by": f"m{29 - number}"}
        for number, text in enumerate(texts)
    ]

    assert await import_cube(services, cube_of(*records), HOME) == Imported(30, 0)
    assert await export_cube(services, HOME, tmp_path / "dump") == 30
    assert await import_cube(services, tmp_path / "dump", COPY) == Imported(30, 0)

    copied = await memories(services, COPY)
    assert sorted(copied) == sorted(texts)
    assert all(copied[texts[n]].superseded_by == copied[texts[29 - n]].memory_id for n in range(30))
    assert (await services.terms.counts(COPY, [])).memories == 30


async def test_a_record_needs_no_more_than_a_text(services: MemoryServices) -> None:
    cube = cube_of({"text": "I like rain."}, {"memory": "I like snow."}, {"text": "x", "importance": 7.0, "extra": []})

    assert await import_cube(services, cube, HOME) == Imported(3, 0)

    found = await memories(services, HOME)
    assert found.keys() == {"I like rain.", "I like snow.", "x"}
    assert found["x"].importance == 1.0


async def test_a_caption_comes_along_and_what_is_no_caption_does_not(services: MemoryServices, tmp_path: Path) -> None:
    dog = {"text": "Look!", "caption": "a dog\non a beach"}
    strange = [{"text": f"Picture {number}.", "caption": given} for number, given in enumerate((7, ["a"], None, {}))]

    assert await import_cube(services, cube_of(dog, *strange), HOME) == Imported(5, 0)
    await export_cube(services, HOME, tmp_path / "dump")
    assert await import_cube(services, tmp_path / "dump", COPY) == Imported(5, 0)

    copied = await memories(services, COPY)
    assert {text: each.caption for text, each in copied.items() if each.caption} == {"Look!": "a dog on a beach"}
    assert (await services.terms.counts(COPY, ["beach"])).by_stem["beach"] == 1


async def test_a_strangers_record_gets_neither_into_another_cube_nor_over_another_memory(
    mos: AsyncMOS, services: MemoryServices
) -> None:
    await told(mos)
    victim = (await memories(services, HOME))[SAID[0]]
    forged = {**victim.to_payload(), "memory_id": victim.memory_id, "text": "Max hates it.", "cube": "alice/home"}

    assert await import_cube(services, cube_of(forged), COPY) == Imported(1, 0)

    assert (await memories(services, HOME))[SAID[0]] == victim
    assert (await memories(services, COPY))["Max hates it."].ref == COPY
    assert len(await memories(services, HOME)) == 3


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "has no text"),
        ({"text": " "}, "has no text"),
        ({"text": 7}, "has no text"),
        ({"text": "x", "kind": "rumour"}, "kind:"),
        ({"text": "x", "turn": -1}, "turn and part are numbers"),
        ({"text": "x", "turn": 2**40}, "turn and part are numbers"),
        ({"text": "x", "at": 10**18}, "a time or a text"),
        ({"text": "x", "at": "now"}, "a time or a text"),
        ({"text": "\ud800"}, "a time or a text"),
        ({"text": "x", "sources": ["a"]}, "sources:"),
        ({"text": "x", "replaces": "a"}, "replaces:"),
    ],
)
async def test_a_record_that_is_no_memory_is_named_and_its_page_does_not_come_in(
    services: MemoryServices, record: dict[str, Any], said: str
) -> None:
    with pytest.raises(CubeDumpError, match="memory number 2") as refused:
        await import_cube(services, cube_of({"text": "good"}, record), HOME)

    assert said in str(refused.value)
    assert await memories(services, HOME) == {}


async def test_a_dump_that_fails_leaves_the_earlier_one(
    mos: AsyncMOS, services: MemoryServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(mos)
    await export_cube(services, HOME, tmp_path / "dump")

    def no_more(*_: Any) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(exporting, "_write", no_more)
    with pytest.raises(OSError, match="disk full"):
        await export_cube(services, HOME, tmp_path / "dump")

    assert len(GeneralMemCube.load(tmp_path / "dump").text_mem) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


# -- through MOS --------------------------------------------------------------------------------------------------


async def test_a_cube_can_be_registered_from_an_object_a_folder_and_a_name(mos: AsyncMOS, tmp_path: Path) -> None:
    cube = cube_of({"memory_id": "1", "text": "I like rain."}, cube_id="weather")
    cube.dump(tmp_path / "weather")

    assert await mos.register_mem_cube(cube) == "weather"
    assert await mos.register_mem_cube(cube) == "weather"
    assert await mos.register_mem_cube(str(tmp_path / "weather"), "from a text") == "from a text"
    assert await mos.register_mem_cube(tmp_path / "weather", "from a path", "bob") == "from a path"
    assert await mos.register_mem_cube("weather") == "weather", "a name, though there is a folder of that name here"
    assert await mos.register_mem_cube("owner/like") == "owner/like"
    assert await mos.register_mem_cube("x" * 512) == "x" * 512
    assert await mos.create_cube_for_user("/", "carol") == "/"
    with pytest.raises(CubeDumpError):
        await mos.register_mem_cube("./not there")
    await mos.wait(timeout=SECONDS)

    found = (await mos.search("rain"))["text_mem"]
    assert {each["cube_id"]: len(each["memories"]) for each in found} == {
        "from a text": 1,
        "owner/like": 0,
        "weather": 1,
        "x" * 512: 0,
    }
    assert len((await mos.search("rain", user_id="bob"))["text_mem"][0]["memories"]) == 1


async def test_what_matters_most_of_an_import_is_in_the_working_set(mos: AsyncMOS, tmp_path: Path) -> None:
    await told(mos)
    assert await mos.dump(tmp_path / "dump", "home") == 3

    assert await mos.load(tmp_path / "dump", "copy") == "copy"
    await mos.wait(timeout=SECONDS)

    assert SAID[1] in [each.text for each in await mos.working_set("copy")]
    manifest = json.loads((tmp_path / "dump" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"]["textual_memory.jsonl"]["memories"] == 3


async def test_pins_and_the_log_of_answers_come_along(mos: AsyncMOS, services: MemoryServices, tmp_path: Path) -> None:
    await told(mos)
    known = await memories(services, HOME)
    pinned, archived = known[SAID[0]].memory_id, known[SAID[1]].memory_id
    await mos.pin(pinned)
    await mos.archive(archived)
    scheduler = mos.mem_scheduler
    for label, text in (("query", f"Do you know: {SAID[0]}"), ("answer", SAID[0])):
        await scheduler.submit_messages(
            ScheduleMessageItem(user_id="alice", mem_cube_id="home", label=label, content=text)
        )
        await scheduler.wait(timeout=SECONDS)
    before = await services.states.load(HOME)
    assert any(each.credited for each in before.log)

    await export_cube(services, HOME, tmp_path / "dump")
    for _ in range(2):
        await import_cube(services, tmp_path / "dump", COPY)
        after = await services.states.load(COPY)
        there = await memories(services, COPY)

        assert after.placement.pins == [there[SAID[0]].memory_id]
        assert there[SAID[0]].memory_id in [each.memory_id for each in after.working_set]
        by_id = {each.memory_id: text for text, each in known.items()}
        here = {each.memory_id: text for text, each in there.items()}
        expected = {(each.event_id, each.at, *map(by_id.__getitem__, each.credited)) for each in before.log}
        assert {(each.event_id, each.at, *map(here.__getitem__, each.credited)) for each in after.log} == expected
