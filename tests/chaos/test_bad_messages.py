"""Messages that fail, kill, or are none; streams and groups that somebody removes: the neighbours are handled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from support.conditions import until
from support.crew import Crew
from support.messages import message, messages
from support.outcome import (
    all_finished,
    assert_nothing_lost_and_nothing_twice,
    dead_letters,
    effect_count,
    effects,
)
from support.servers import RedisServer
from support.truth import watched

from memsched import AsyncMemScheduler
from memsched.broker.keys import GROUP, Keys

MakeCrew = Callable[..., Crew]
LANE = Keys().lane("task", "", "")
pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize(
    ("label", "supervised"),
    [
        pytest.param("task", True, id="task-supervised"),
        pytest.param("threaded", False, id="threaded-alone", marks=pytest.mark.long),
        pytest.param("task", False, id="task-alone", marks=pytest.mark.long),
        pytest.param("threaded", True, id="threaded-supervised", marks=pytest.mark.long),
    ],
)
async def test_a_message_that_kills_its_process_is_found_out_and_takes_nobody_with_it(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer, supervised: bool, label: str
) -> None:
    crew, client = make_crew(max_crashes=2, concurrency=32, prefetch_ms=1000), own_redis.client
    neighbours = messages(120, label=label, info={"sleep": 0.02})
    poison = message("poison", label=label, cube="the bad one", info={"kill": True})
    await scheduler.submit_messages([*neighbours[:20], poison, *neighbours[20:]])
    if supervised:
        crew.supervise(2)
    else:
        crew.start()

    def dead_workers() -> int:
        return len(crew.said("worker.died")) + sum(not member.running for member in crew.members)

    if not supervised:
        for deaths in (1, 2, 3):
            await until(lambda wanted=deaths: dead_workers() == wanted, "the worker to be killed by its message")
            crew.start()
    await all_finished(scheduler, label)

    (letter,) = await dead_letters(scheduler)
    assert (letter.item_id, letter.reason, letter.attempts["crashes"]) == (poison.item_id, "crashes", 2)
    assert crew.record.runs()[poison.item_id] == 3, "the first death is nobody's"
    assert await assert_nothing_lost_and_nothing_twice(crew, client, scheduler, [*neighbours, poison]) == {
        poison.item_id
    }


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_several_killers_take_nobody_with_them(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    # They come one after another, so that a new one starts while those that died with the last one run again.
    crew = make_crew(max_crashes=2, concurrency=8)
    neighbours = messages(96, info={"sleep": 0.05})
    killers = [message(cube=f"killer-{number}", info={"kill": True}) for number in range(3)]
    parts = [[*neighbours[32 * number : 32 * number + 32], killer] for number, killer in enumerate(killers)]
    await scheduler.submit_messages([item for part in parts for item in part])
    crew.supervise(2)

    await all_finished(scheduler, seconds=120)  # nine deaths, and a new process after each

    dead = await assert_nothing_lost_and_nothing_twice(crew, own_redis.client, scheduler, [*neighbours, *killers])
    assert dead == {item.item_id for item in killers}
    assert {letter.reason for letter in await dead_letters(scheduler)} == {"crashes"}
    runs = crew.record.runs()
    assert all(1 <= runs[item.item_id] <= 4 for item in killers)


async def test_a_message_that_always_fails_is_dead_after_its_retries(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    crew, client = make_crew(), own_redis.client
    good, bad = messages(60), messages(20, user="bad", info={"fail": True})
    crew.start()
    crew.start()
    await scheduler.submit_messages([item for pair in zip(good[:20], bad, strict=True) for item in pair] + good[20:])

    async with watched(scheduler, client, "task", 80):
        await all_finished(scheduler)

    assert Counter({item.item_id: crew.record.runs()[item.item_id] for item in bad}) == Counter(
        {item.item_id: 6 for item in bad}
    )
    letters = await dead_letters(scheduler)
    assert {letter.item_id for letter in letters} == {item.item_id for item in bad}
    assert {(letter.reason, letter.attempts["errors"]) for letter in letters} == {("errors", 6)}
    assert all("it was told to fail" in letter.error for letter in letters)
    await assert_nothing_lost_and_nothing_twice(crew, client, scheduler, good + bad)


async def test_what_is_no_message_is_a_dead_letter_and_its_neighbours_are_done(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    crew, client = make_crew(), own_redis.client
    good = messages(100)
    bad = [
        {"user_id": "u"},
        {"nothing": "here"},
        {"v": "0", "user_id": "u", "mem_cube_id": "c", "content": "x"},
        {"user_id": b"\xff\xfe", "mem_cube_id": "c", "content": "x"},
        {"user_id": "u", "mem_cube_id": "c", "content": "x", "info": "{no json"},
    ]
    for number in range(10):
        await scheduler.submit_messages(good[10 * number : 10 * number + 10])
        client.xadd(LANE.stream, bad[number % len(bad)])
    crew.start()
    crew.start()

    await all_finished(scheduler)

    assert [letter.reason for letter in await dead_letters(scheduler)] == ["malformed"] * 10
    assert effects(client) == Counter(item.item_id for item in good)


async def test_a_group_that_is_destroyed_in_the_middle_loses_nothing(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    crew, client = make_crew(), own_redis.client
    crew.start()
    crew.start()
    await until(lambda: len(crew.workers()) == 2)
    sent = messages(500, cubes=50, info={"sleep": 0.005})
    await scheduler.submit_messages(sent)
    for times in (1, 2, 3):
        await until(lambda enough=60 * times: effect_count(client) > enough, "the workers to be in the middle")
        client.xgroup_destroy(LANE.stream, GROUP)

    await all_finished(scheduler)

    assert await assert_nothing_lost_and_nothing_twice(crew, client, scheduler, sent) == set()


async def test_workers_go_on_after_their_stream_was_deleted(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    crew, client = make_crew(), own_redis.client
    crew.start()
    crew.start()
    await until(lambda: len(crew.workers()) == 2)
    await scheduler.submit_messages(messages(200, cubes=20, info={"sleep": 0.005}))
    await until(lambda: effect_count(client) > 20, "the workers to be in the middle")

    client.delete(LANE.stream)
    later = messages(50)
    await scheduler.submit_messages(later)

    await all_finished(scheduler)
    left = effects(client)
    assert all(left[item.item_id] == 1 for item in later)
    assert max(left.values()) == 1
