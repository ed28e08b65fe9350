"""What moves between tiers, when, and what people are told of it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.memories import found, idle, memories_of, said, texts_of, without_working
from support.processes import clean_environment
from support.stories import HOUSE, RENOVATION

from benchmarks.chatgpt_export import ChatGptExport
from memsched import (
    AsyncMemScheduler,
    CubeForbidden,
    Explanation,
    MemoryPinned,
    MemorySuperseded,
    Permission,
    ScheduleMessageItem,
    TooManyPins,
    UnknownMemory,
)
from memsched.importing import Importer, Totals
from memsched.memory.access.permissions import CubeRef
from memsched.memory.exports.conversation import Conversation

pytestmark = pytest.mark.timeout(60)

MINUTES = 24 * 60
NOBODY = "00000000-0000-4000-8000-000000000000"
COLD = "The old boiler in the cellar makes a whistling noise at night."


@pytest.fixture
async def scheduler(memory_schedulers: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    made = memory_schedulers(working_set_size=4, archive_after_days=90)
    await made.start()
    return made


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    await scheduler.submit_messages(messages)
    await idle(scheduler)


def on(day: float, text: str, label: str = "add", **more: Any) -> ScheduleMessageItem:
    return said(text, day * MINUTES, label, **more)


async def statuses(scheduler: AsyncMemScheduler) -> dict[str, tuple[str, str]]:
    return {each.text: (each.status, each.archived_because) for each in await memories_of(scheduler)}


async def id_of(scheduler: AsyncMemScheduler, text: str) -> str:
    return next(each.memory_id for each in await memories_of(scheduler) if each.text == text)


async def moved(scheduler: AsyncMemScheduler) -> list[tuple[str, str, str]]:
    """(subject, from, to) of the events of moves between tiers."""
    events = await scheduler.get_web_log_messages(1000)
    return [
        (event.metadata["subject"], event.from_memory_type, event.to_memory_type)
        for event in events
        if isinstance(event.metadata, dict) and "subject" in event.metadata
    ]


async def test_the_second_theme_is_activated_the_first_given_up_and_both_are_told(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, *(on(day, text) for day, text in HOUSE["en"]))
    await tell(scheduler, *(on(day, text) for day, text in RENOVATION["en"]))

    assert sorted(await moved(scheduler)) == [
        ("theme", "ActivationMemory", "PlainText"),
        ("theme", "PlainText", "ActivationMemory"),
        ("theme", "PlainText", "ActivationMemory"),
    ]
    explained = await scheduler.explain("alice", "home")
    assert {theme.state for theme in explained.themes if len(theme.memory_ids) > 1} == {"activated", "plaintext"}
    assert all("%" in move.reason and move.parts["heat"] for move in explained.moves)


async def test_what_nothing_needed_for_long_is_archived_and_comes_back_when_a_question_means_it(
    scheduler: AsyncMemScheduler,
) -> None:
    await tell(scheduler, on(0, COLD), on(0, "My sister Ann is allergic to nuts."))
    await tell(scheduler, on(100, "The cat sleeps on the sofa."))

    assert await statuses(scheduler) == {
        COLD: ("archived", "cold"),
        "My sister Ann is allergic to nuts.": ("activated", ""),
        "The cat sleeps on the sofa.": ("activated", ""),
    }
    assert COLD not in await texts_of(scheduler)
    assert COLD not in await found(scheduler, "whistling boiler")
    assert ("memory", "LongTermMemory", "Archived") in await moved(scheduler)

    await tell(scheduler, on(101, "Where is the noise that somebody made about a sofa of the sister?", "query"))
    assert (await statuses(scheduler))[COLD][0] == "archived"
    await tell(scheduler, on(102, "Which boiler makes a whistling noise?", "query"))

    assert (await statuses(scheduler))[COLD] == ("activated", "")
    assert COLD in await texts_of(scheduler)
    assert ("memory", "Archived", "LongTermMemory") in await moved(scheduler)
    await tell(scheduler, on(180, "The cat is on the roof."))
    assert (await statuses(scheduler))[COLD] == ("activated", ""), "it was needed 78 days ago"


async def test_a_cube_at_rest_is_left_as_it_is_whatever_the_clock_says(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, on(-3000, COLD), on(-2999, "The cat sleeps on the sofa."))

    assert {status for status, _ in (await statuses(scheduler)).values()} == {"activated"}


async def test_what_is_imported_of_three_years_is_found_and_told_whatever_is_told_next(
    memory_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = memory_schedulers()
    frame = "My bicycle has the frame number 4711."
    first = Conversation("first", began="2021-01-04T10:00:00Z", messages=[{"role": "user", "content": frame}])
    others = [
        Conversation(each.value["id"], began=each.value["create_time"], messages=messages)
        for each in ChatGptExport(exchanges=1, hours=30 * 24).conversations(36)
        if (messages := [{"role": "user", "content": text} for text in each.kept])
    ]
    totals = Totals()
    importer = Importer(scheduler, "alice", "home", totals)

    await importer.bring(iter([first, *others]), lambda _: None)
    await importer.settle()
    await tell(scheduler, said("The cat sleeps on the sofa.", timestamp=datetime.now(UTC)))

    memories = await memories_of(scheduler)
    assert totals.kept + 1 == len(memories) == 74
    assert {each.status for each in memories} == {"activated"}
    assert min(each.at for each in memories) == datetime(2021, 1, 4, 10, tzinfo=UTC)
    assert (await found(scheduler, "Which frame number has my bicycle?"))[0] == frame
    assert frame in await without_working(scheduler).chat("Which frame number has my bicycle?", mem_cube_id="home")


async def test_of_too_many_the_least_valuable_are_archived_and_none_is_deleted(
    memory_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = memory_schedulers(long_term_capacity=60)
    await scheduler.start()
    lines = [f"Number {number}: the {word} is {number * 7} metres long." for number in range(65) for word in ("rope",)]
    await tell(scheduler, *(on(number / 1440, text) for number, text in enumerate(lines)))

    now = await statuses(scheduler)
    assert len(now) == 65
    assert sorted(why for _, why in now.values() if why) == ["capacity"] * 5


async def test_a_pinned_memory_stays_near_and_out_of_the_archive(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, on(0, COLD))
    pinned = await id_of(scheduler, COLD)
    assert await scheduler.pin("alice", "home", pinned)
    assert not await scheduler.pin("alice", "home", pinned)

    await tell(scheduler, *(on(100 + day, f"On day {day} the shop had {day + 3} red bicycles.") for day in range(6)))

    assert COLD in await texts_of(scheduler)
    assert (await statuses(scheduler))[COLD] == ("activated", "")
    explained = await scheduler.explain("alice", "home", pinned)
    assert explained.memory is not None
    assert explained.memory.pinned
    assert "until it is unpinned" in explained.memory.outlook
    with pytest.raises(MemoryPinned):
        await scheduler.archive("alice", "home", pinned)
    second, third = [each.memory_id for each in await memories_of(scheduler) if each.memory_id != pinned][:2]
    await scheduler.pin("alice", "home", second)
    with pytest.raises(TooManyPins, match="2 already"):
        await scheduler.pin("alice", "home", third)
    assert await scheduler.unpin("alice", "home", pinned)
    assert not await scheduler.unpin("alice", "home", pinned)
    assert COLD not in await texts_of(scheduler)


async def test_a_pin_goes_over_to_what_corrects_the_memory(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, on(0, "I live in Lisbon.", user_name="Alice"))
    lisbon = await id_of(scheduler, "I live in Lisbon.")
    await scheduler.pin("alice", "home", lisbon)
    await tell(scheduler, on(1, "Actually, I live in Porto.", user_name="Alice"))
    await tell(scheduler, *(on(2 + day, f"On day {day} the shop had {day + 3} red bicycles.") for day in range(6)))

    assert "Actually, I live in Porto." in await texts_of(scheduler)
    porto = await id_of(scheduler, "Actually, I live in Porto.")
    assert (await scheduler.explain("alice", "home")).pins == [porto]
    assert not await scheduler.pin("alice", "home", porto)
    with pytest.raises(MemorySuperseded, match=porto):
        await scheduler.pin("alice", "home", lisbon)
    assert await scheduler.unpin("alice", "home", porto)
    assert (await scheduler.explain("alice", "home")).pins == []


async def test_what_somebody_archived_stays_away_until_it_is_restored(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, on(0, COLD), on(1, "The cat sleeps on the sofa."))
    put_away = await id_of(scheduler, COLD)

    assert await scheduler.archive("alice", "home", put_away)
    assert not await scheduler.archive("alice", "home", put_away)
    await tell(scheduler, on(2, "Which boiler makes a whistling noise?", "query"))
    assert COLD not in await texts_of(scheduler)
    explained = await scheduler.explain("alice", "home", put_away)
    assert explained.memory is not None
    assert (explained.memory.tier, "restore" in explained.memory.outlook) == ("Archived", True)

    assert await scheduler.restore("alice", "home", put_away)
    assert not await scheduler.restore("alice", "home", put_away)
    assert COLD in await texts_of(scheduler)
    assert [each[1:] for each in await moved(scheduler) if each[0] == "memory"] == [
        ("LongTermMemory", "Archived"),
        ("Archived", "LongTermMemory"),
    ]


async def test_only_who_may_write_moves_what_is_in_the_cube_and_nobody_what_is_not(
    scheduler: AsyncMemScheduler,
) -> None:
    await tell(scheduler, on(0, COLD))
    memory_id = await id_of(scheduler, COLD)
    services = await scheduler.memory()
    await services.cubes.share("alice", "home", "bob", Permission.READ, accepted=True)

    for move in (scheduler.pin, scheduler.unpin, scheduler.archive, scheduler.restore):
        with pytest.raises(CubeForbidden):
            await move("bob", "alice/home", memory_id)
        for unknown in (NOBODY, "no id at all"):
            with pytest.raises(UnknownMemory):
                await move("alice", "home", unknown)
    with pytest.raises(UnknownMemory):
        await scheduler.explain("bob", "alice/home", NOBODY)
    assert (await scheduler.explain("bob", "alice/home", memory_id)).memory is not None


async def test_an_explanation_adds_up(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, *(on(day, text) for day, text in HOUSE["en"]))
    await tell(scheduler, on(9, "What does the bank offer?", "query"))
    await tell(scheduler, on(9.01, "The bank offers a mortgage of 240,000.", "answer"))
    bank = next(each for each in await memories_of(scheduler) if "mortgage" in each.text)

    explained = await scheduler.explain("alice", "home", bank.memory_id)

    memory = explained.memory
    assert memory is not None
    assert sum(explained.shares.values()) == pytest.approx(1.0)
    assert sum(memory.by_mode.values()) == pytest.approx(memory.value, abs=1e-6)
    near = {each.memory_id: each for each in await scheduler.working_set("alice", "home")}
    assert near[bank.memory_id].score == pytest.approx(memory.value, abs=1e-6)
    assert (memory.uses, len(memory.credited), memory.tier) == (1, 1, "WorkingMemory")
    assert memory.activated
    assert memory.theme is not None
    assert memory.theme.state == "activated"
    assert {each.name for each in memory.features} >= {"content", "age", "use"}
    assert "its theme is activated" in memory.outlook
    (nothing,) = [each for each in await memories_of(scheduler) if each.text == "Rain again."]
    outlook = (await scheduler.explain("alice", "home", nothing.memory_id)).memory
    assert outlook is not None
    assert "90 days" in outlook.outlook


Run = Callable[..., Awaitable[str]]


@pytest.fixture
def run(memory_place: dict[str, Any]) -> Run:
    """Runs a command on Alice's cube; returns what it printed."""
    environment = clean_environment(**{f"MEMSCHED_{name.upper()}": str(value) for name, value in memory_place.items()})

    async def printed(verb: str, *others: str) -> str:
        command = (sys.executable, "-m", "memsched.cli", verb, "--user", "alice", "--cube", "home", *others)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
        )
        output, _ = await process.communicate()
        return output.decode()

    return printed


@pytest.mark.long
async def test_the_commands_pin_and_explain(scheduler: AsyncMemScheduler, run: Run) -> None:
    await tell(scheduler, *(on(day, text) for day, text in HOUSE["en"]))
    memory = next(each for each in await memories_of(scheduler) if "mortgage" in each.text)
    short = memory.memory_id[:8]

    searched, archived = await asyncio.gather(
        run("search", "mortgage", "--top", "1", "--why"), run("archive", memory.memory_id)
    )
    pinned = await run("pin", short)
    cube, one, past = await asyncio.gather(run("explain"), run("explain", short), run("history", short))

    assert re.search(rf"^{short} .*mortgage", searched, re.MULTILINE), searched
    assert re.search(r"^ +its own words: mortgage \d", searched, re.MULTILINE), searched
    assert archived == f"{memory.memory_id} is archived\n"
    assert pinned == f"{memory.memory_id} is pinned\n"
    assert re.search(rf"^{short} .* pinned .*mortgage", cube, re.MULTILINE), cube
    assert re.search(rf"Archived to Pinned: {short} .*mortgage", cube), cube
    assert re.search(r"7 of 20 in the working set .*, 1 of 10 pinned", cube), cube
    assert "PlainText to ActivationMemory: " in cube
    assert "WorkingMemory, pinned, activated" in one
    assert re.search(r"content +-?\d\.\d{3} +[+-]\d", one)
    assert "It is pinned: it stays in the working set" in one
    assert re.search(rf"{short} +said .*mortgage", past), past
    assert re.search(rf"{short} +moved .*Archived to Pinned; somebody asked for it", past), past


@pytest.mark.long
async def test_the_commands_find_what_is_archived_and_say_what_they_cannot_find(
    scheduler: AsyncMemScheduler, run: Run
) -> None:
    await tell(scheduler, *(on(day, text) for day, text in HOUSE["en"]))
    memory = next(each for each in await memories_of(scheduler) if "mortgage" in each.text)
    await scheduler.archive("alice", "home", memory.memory_id)

    away, unknown, nobody, typo = await asyncio.gather(
        run("search", "mortgage of the bank"),
        run("archive", NOBODY),
        run("activation", "--user", "alise"),
        run("themes", "--cube", "hone"),
    )
    await scheduler.pin("alice", "home", memory.memory_id)
    as_json = await run("explain", "--json")

    assert re.search(rf"^{memory.memory_id[:8]} .*archived: asked.*mortgage", away, re.MULTILINE), away
    assert unknown.startswith("memsched: There is no such memory")
    assert "the user has none; users are 'alice'" in nobody
    assert (
        typo == "memsched: The user has no cube of this name. user_id='alice' mem_cube_id='hone': there are 'home'.\n"
    )
    assert Explanation.model_validate_json(as_json).pins == [memory.memory_id]


async def test_nothing_of_what_was_deleted_is_left_in_pins_and_moves(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, *(on(day, text) for day, text in HOUSE["en"]))
    memory = next(each for each in await memories_of(scheduler) if "mortgage" in each.text)
    await scheduler.pin("alice", "home", memory.memory_id)
    services = await scheduler.memory()

    await services.deletion.delete(memory.ref, [memory], user_id="alice", name="home")

    explained = await scheduler.explain("alice", "home")
    assert explained.pins == []
    assert explained.moves == []


async def test_no_message_makes_a_cube_unreadable_or_says_when_a_memory_is_needed_in_future(
    scheduler: AsyncMemScheduler,
) -> None:
    await tell(scheduler, on(0, COLD), on(100, "The cat sleeps on the sofa."))
    cold = await id_of(scheduler, COLD)
    many = {str(number): 1 for number in range(1200)}
    told: list[ScheduleMessageItem] = []
    values: list[Any] = [10**17, 4_102_444_800_000, -(10**15), 0, True, "soon", None, 1.5]
    for at in values:
        told += [
            on(101, " ", "mem_archive", info={"needed": {cold: at, NOBODY: 1, "no id": 1, **many}}),
            on(101, "The boiler is old.", "answer", info={"memory_ids": [cold, NOBODY, "no id", at, {}, [cold]]}),
            on(101, "The cat is black.", info={"role": {"a": at}, "task": at}),
            on(101, "The boiler is quiet.", "mem_feedback", info={"memory_id": at, "action": at}),
        ]
    told.append(on(101, " ", "mem_archive", info={"needed": [cold]}))

    await tell(scheduler, *told)

    await tell(scheduler, on(102, "The dog is brown."))
    assert "The dog is brown." in await found(scheduler, "brown dog")
    assert (await scheduler.explain("alice", "home", cold)).themes
    restored = [each.restored_at for each in await memories_of(scheduler) if each.restored_at is not None]
    assert restored
    assert all(each <= datetime.now(UTC) for each in restored)


async def test_what_an_older_version_let_through_is_not_there_and_the_rest_is(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, on(0, COLD), on(100, "The cat sleeps on the sofa."), on(100, "The dog is brown."))
    cold, cat, dog = [
        await id_of(scheduler, each) for each in (COLD, "The cat sleeps on the sofa.", "The dog is brown.")
    ]
    services = await scheduler.memory()
    home = CubeRef("alice", "home")
    poison = {"restored_at": 10**17, "last_used_at": "x", "turn": "one", "tags": 7, "status": "activated"}
    await services.store.patch(home, {cold: poison, cat: {"text": 5, "status": "activated"}, dog: {"at": 10**17}})
    server = await scheduler.server()
    hot = scheduler.keys.cube("alice", "home").hot
    await server.execute("HSET", hot, "moves", '[{"at": "never"}]', "block", "[{}]", "sent", '{"at": []}')

    await tell(scheduler, on(102, "The mouse is white."), on(102, "Where is the boiler?", "query"))

    assert {each.text for each in await memories_of(scheduler)} == {COLD, "The dog is brown.", "The mouse is white."}
    assert {COLD, "The dog is brown."} <= {*await found(scheduler, "boiler whistling brown dog")}
    explained = await scheduler.explain("alice", "home", cold)
    assert explained.memory is not None
    assert await scheduler.activation("alice", "home")
    assert await scheduler.themes("alice", "home")
