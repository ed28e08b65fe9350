"""Several workers, repetitions and latecomers on one cube: it ends as if one worker had done each message once."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.crew import Crew
from support.memories import (
    Snapshot,
    conversation,
    forget_everything,
    found,
    idle,
    left_of,
    memories_of,
    put,
    said,
    snapshot,
    texts_of,
    without_working,
)
from support.outcome import dead_letters
from support.stories import HOUSE, RENOVATION

from memsched import AsyncMemScheduler, CubeForbidden, ScheduleMessageItem
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import turns_of
from memsched.tiers.moves import Placement

pytestmark = pytest.mark.timeout(90)

Schedulers = Callable[..., AsyncMemScheduler]
SEEDS = range(int(os.environ.get("CHAOS_SEEDS", "5")))

TALK: list[ScheduleMessageItem] = [
    said("My sister Ann is allergic to nuts.", 0, item_id="a0", user_name="Alice"),
    said("I live in Lisbon.", 1, item_id="a1", user_name="Alice"),
    conversation(
        ("Alice", "We got a puppy called Rex."),
        ("Bob", "How sweet, what does Rex eat?"),
        ("Alice", "He eats carrots and he hates the vacuum cleaner."),
        minute=2,
        item_id="a2",
    ),
    said("Our renovation of the kitchen begins in March.", 3, item_id="a3", user_name="Alice"),
    said("I prefer trains to planes", 4, "pref_add", item_id="p4", user_name="Alice"),
    said("Actually, I live in Porto.", 5, item_id="a5", user_name="Alice"),
    said("What does the puppy eat?", 6, "query", item_id="q6"),
    said("The kitchen renovation costs 9000 euros.", 7, item_id="a7", user_name="Alice"),
    said("When does the renovation begin?", 8, "query", item_id="q8"),
    said("Where does Alice live?", 9, "query", item_id="q9"),
    said("Bob repairs old motorcycles in his garage.", 10, item_id="a10", user_name="Alice"),
    said("What does Bob do in the garage?", 11, "query", item_id="q11"),
]
ANSWER = said("Rex eats carrots, and Bob repairs old motorcycles in his garage.", 12, "answer", item_id="n12")


async def alone(memory_schedulers: Schedulers, name: str, messages: list[ScheduleMessageItem]) -> Snapshot:
    """What one worker makes of it, message by message."""
    scheduler = memory_schedulers(prefix=f"{name}-alone", collection=f"{name}-alone", batch_size=1)
    await scheduler.start()
    for message in messages:
        await scheduler.submit_messages(message)
        await idle(scheduler)
    return await snapshot(scheduler)


@pytest.fixture
async def replicas(memory_schedulers: Schedulers) -> list[AsyncMemScheduler]:
    two = [memory_schedulers(), memory_schedulers(batch_size=3)]
    for scheduler in two:
        await scheduler.start()
    return two


@pytest.mark.long
async def test_two_replicas_and_three_deliveries_in_any_order_end_like_one_worker(
    memory_schedulers: Schedulers, memory_place: dict[str, Any], replicas: list[AsyncMemScheduler]
) -> None:
    expected = await alone(memory_schedulers, memory_place["prefix"], [*TALK, ANSWER])
    assert len(expected.working_set) >= 8
    for seed in SEEDS:
        chance = random.Random(seed)
        deliveries = TALK * 3
        chance.shuffle(deliveries)
        while deliveries:
            part = [deliveries.pop() for _ in range(min(len(deliveries), chance.randint(1, 9)))]
            await asyncio.gather(*(put(replicas[0], message) for message in part))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.uniform(0, 0.02))
        await idle(replicas[0])
        await asyncio.gather(*(put(replicas[0], ANSWER) for _ in range(3)))
        await idle(replicas[0])

        got = await snapshot(replicas[1])

        assert await dead_letters(replicas[0]) == []
        assert got.words == expected.words, f"seed {seed}"
        assert got.working_set == expected.working_set, f"seed {seed}"
        assert got == expected, f"seed {seed}"
        await forget_everything(replicas)


@pytest.mark.long
async def test_two_worker_processes_and_three_deliveries_end_like_one_worker(
    memory_schedulers: Schedulers, memory_place: dict[str, Any], crews: Callable[..., Crew]
) -> None:
    expected = await alone(memory_schedulers, memory_place["prefix"], [*TALK, ANSWER])
    scheduler = memory_schedulers()
    place = {name: value for name, value in memory_place.items() if name != "redis_url"}
    crew = crews(memory_place["redis_url"], **{**place, "app": "", "batch_size": 3})
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2, "the workers to start")
    for seed in SEEDS[:4]:
        chance = random.Random(seed)
        deliveries = TALK * 3
        chance.shuffle(deliveries)
        for at in range(0, len(deliveries), 6):
            await asyncio.gather(*(put(scheduler, message) for message in deliveries[at : at + 6]))
        await idle(scheduler)
        await asyncio.gather(*(put(scheduler, ANSWER) for _ in range(3)))
        await idle(scheduler)

        assert await dead_letters(scheduler) == []
        assert await snapshot(scheduler) == expected, f"seed {seed}"
        await forget_everything([scheduler])


async def standing(scheduler: AsyncMemScheduler) -> tuple[Snapshot, Placement]:
    """The cube, and where its memories and themes stand; statuses are of the memories.

    Not in how many steps it came there, nor what people were told on the way.
    """
    services = await scheduler.memory()
    placement = (await services.states.load(CubeRef("alice", "home"))).placement
    return await snapshot(scheduler), placement.model_copy(update={"changes": 0, "told": {}})


@pytest.mark.long
async def test_workers_that_are_killed_in_the_middle_leave_everything_where_one_worker_puts_it(
    memory_schedulers: Schedulers, memory_place: dict[str, Any], crews: Callable[..., Crew]
) -> None:
    settings = {"archive_after_days": 20}
    acts = [
        [said(text, day * 1440, item_id=f"h{day}") for day, text in HOUSE["en"]],
        [said(text, day * 1440, item_id=f"r{day}") for day, text in RENOVATION["en"]],
        [said(HOUSE["en"][1][1], 34 * 1440, "query", item_id="q")],
        [said("The tiler is done.", 36 * 1440, item_id="end")],
    ]
    name = f"{memory_place['prefix']}-alone"
    one = memory_schedulers(prefix=name, collection=name, batch_size=1, **settings)
    await one.start()
    for message in [message for act in acts for message in act]:
        await one.submit_messages(message)
        await idle(one)
    expected = await standing(one)
    assert {memory["archived_because"] for memory in expected[0].memories.values()} == {"", "cold"}
    assert [each["text"] for each in expected[0].memories.values() if each["restored_at"]] == [HOUSE["en"][1][1]]
    assert len(expected[1].activated) == 1

    chance = random.Random(3)
    scheduler = memory_schedulers(**settings)
    place = {key: value for key, value in memory_place.items() if key != "redis_url"}
    crew = crews(memory_place["redis_url"], **{**place, "app": "", "batch_size": 3, "max_crashes": 40, **settings})
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2, "the workers to start")
    killed = 0
    for act in acts:
        await scheduler.submit_messages(act)
        await asyncio.sleep(chance.uniform(0, 0.15))
        killed += crew.kill_one(chance) > 0
        await idle(scheduler)

    assert killed >= len(acts) - 1
    assert await dead_letters(scheduler) == []
    assert await standing(scheduler) == expected


@pytest.fixture
async def crew(memory_place: dict[str, Any], crews: Callable[..., Crew]) -> Crew:
    """Two worker processes, and a supervisor that starts others for those that are killed."""
    place = {name: value for name, value in memory_place.items() if name != "redis_url"}
    crew = crews(memory_place["redis_url"], **{**place, "app": "", "batch_size": 3, "max_crashes": 40})
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2, "the workers to start")
    return crew


@pytest.mark.long
async def test_what_is_deleted_while_killed_workers_store_it_once_more_stays_deleted(
    memory_schedulers: Schedulers, crew: Crew, chance: random.Random
) -> None:
    scheduler = memory_schedulers()
    mos = without_working(scheduler)
    secrets = [
        said(text, 20 + number, item_id=f"s{number}", user_name="Alice")
        for number, text in enumerate(
            ("My safe opens with zyzzogeton.", "Zyzzogeton is my cousin's ferry.", "I planted a zyzzogeton in May.")
        )
    ]

    async def stored() -> list[str]:
        return [each.memory_id for each in await memories_of(scheduler) if "zyzzogeton" in each.text.lower()]

    await scheduler.submit_messages(TALK[:4])
    await idle(scheduler)
    before, killed = await snapshot(scheduler), 0
    for secret in secrets:
        # deleted as soon as it is stored: most often before its worker, which dies, has said that it is done
        await scheduler.submit_messages([secret, said(f"Where is the zyzzogeton of {secret.item_id}?", 50, "query")])
        (memory_id,) = await until(stored, "it to be stored")
        killed += crew.kill_one(chance) > 0
        await mos.delete(memory_id, "home")
        # and it comes again, from a producer that is not sure
        await asyncio.gather(*(put(scheduler, secret) for _ in range(3)))
        await asyncio.sleep(chance.uniform(0, 0.1))
        killed += crew.kill_one(chance) > 0
    await idle(scheduler)
    await asyncio.gather(*(put(scheduler, secret) for secret in secrets))
    await idle(scheduler)

    assert killed >= len(secrets)
    assert await dead_letters(scheduler) == []
    after = await snapshot(scheduler)
    assert (after.memories, after.words) == (before.memories, before.words)
    assert not [text for text in await found(scheduler, "zyzzogeton") if "zyzzogeton" in text.lower()]
    asked = [line for line in await left_of(scheduler, "zyzzogeton") if "where is the zyzzogeton" not in line]
    assert asked == []


@pytest.mark.long
async def test_an_invitation_that_is_accepted_while_workers_die_counts_from_then_on(
    memory_schedulers: Schedulers, crew: Crew, chance: random.Random
) -> None:
    scheduler = memory_schedulers()
    mos = without_working(scheduler)

    def by_bob(name: str, number: int) -> ScheduleMessageItem:
        text = f"Guest {name} {number} sleeps in room {number + 100}."
        return said(text, number, item_id=f"{name}{number}", user_id="bob", mem_cube_id="alice/home")

    async def refused() -> set[str]:
        letters = await dead_letters(scheduler)
        assert all("not accepted yet" in letter.error for letter in letters)
        return {letter.item_id for letter in letters}

    async def stored() -> list[str]:
        return sorted(each.text for each in await memories_of(scheduler) if each.text.startswith("Guest"))

    await scheduler.submit_messages(said("My sister Ann is allergic to nuts.", 0, user_name="Alice"))
    await idle(scheduler)
    grant = await mos.share_cube_with_user("home", "bob", "write")

    # before he accepted it
    early = [by_bob("early", number) for number in range(6)]
    await scheduler.submit_messages(early)
    killed = crew.kill_one(chance) > 0
    await idle(scheduler)
    assert await refused() == {each.item_id for each in early}
    assert await stored() == []
    assert (await mos.search("Who is allergic?", "bob"))["text_mem"] == []
    with pytest.raises(CubeForbidden, match="not accepted yet"):
        await mos.search("Who is allergic?", "bob", mem_cube_ids=[grant.name])

    # while he does
    between = [by_bob("between", number) for number in range(20)]
    for number, each in enumerate(between):
        await scheduler.submit_messages(each)
        if number == 10:
            await mos.accept_cube(grant.name, "bob")
        if number in (6, 10, 14):
            killed += crew.kill_one(chance) > 0
    await idle(scheduler)
    late = await refused() - {each.item_id for each in early}
    taken = [each for each in between if each.item_id not in late]
    assert late <= {each.item_id for each in between[:11]}, "what he says afterwards is taken"
    assert await stored() == sorted(each.content for each in taken), "each is stored once, or refused"

    # and afterwards
    await mos.accept_cube(grant.name, "bob")
    assert killed >= 2
    assert await mos.list_invitations("bob") == []
    ((name, results),) = [
        (each["cube_id"], each["memories"]) for each in (await mos.search("allergic", "bob"))["text_mem"]
    ]
    assert name == grant.name
    assert results[0].memory == "My sister Ann is allergic to nuts."
    print(f"{len(late)} of 20 refused before the acceptance, {len(taken)} taken; {killed} workers killed")


async def test_an_answer_that_comes_three_times_to_two_replicas_counts_once(
    replicas: list[AsyncMemScheduler],
) -> None:
    await replicas[0].submit_messages(TALK)
    await idle(replicas[0])
    await asyncio.gather(*(put(replicas[0], ANSWER) for _ in range(6)))
    await idle(replicas[0])

    used = {memory.text: memory.use_count for memory in await memories_of(replicas[0]) if memory.use_count}
    assert used["Bob repairs old motorcycles in his garage."] == 1
    assert set(used.values()) == {1}


async def test_the_same_words_in_two_messages_at_once_are_in_the_working_set_once(
    replicas: list[AsyncMemScheduler],
) -> None:
    # Two workers that look at the same moment both find nothing that says it already, and both store it.
    services = [await replica.memory() for replica in replicas]
    for number in range(5):
        text = f"My aunt number {number} is allergic to cats."
        one, other = (said(text, number, item_id=f"same-{number}-{name}") for name in ("one", "other"))
        await asyncio.gather(
            *(
                service.writer.write_turns(CubeRef("alice", "home"), {message.item_id: turns_of(message)})
                for service, message in zip(services, (one, other), strict=True)
            )
        )
    await replicas[0].submit_messages(said("Who is allergic to cats?", 9, "query"))
    await idle(replicas[0])

    near = await texts_of(replicas[0])
    assert sorted(near) == sorted(set(near))
    assert len(near) == 5
    results = await replicas[0].retriever.search("allergic to cats", "alice", "home")
    assert len({result.memory for result in results}) == len(results)
