"""Messages that fail, kill, or are none; streams and groups that somebody removes: the neighbours are handled."""

from __future__ import annotations

from collections import Counter

import pytest
from support.chaos_handlers import COUNTED
from support.conditions import until
from support.crew import Crew
from support.messages import message, messages
from support.servers import RedisServer

from memsched import AsyncMemScheduler
from memsched.queue.dead import DeadFilter, DeadLetter

pytestmark = pytest.mark.timeout(90)


async def dead_letters(scheduler: AsyncMemScheduler) -> list[DeadLetter]:
    return [letter async for letter in (await scheduler.dead_letters()).letters(DeadFilter())]


def counted_ids(server: RedisServer) -> Counter[str]:
    return Counter(fields["content"] for _, fields in server.client.xrange(f"memsched:{{{COUNTED}}}:stream"))


async def empty(scheduler: AsyncMemScheduler, label: str) -> bool:
    return (await scheduler.read_status()).labels[label].backlog == 0


async def test_a_message_that_kills_its_process_is_dead_after_two_deaths_and_its_neighbours_are_done(
    make_crew, schedulers_at, own_redis: RedisServer
) -> None:
    crew: Crew = make_crew(MEMSCHED_MAX_CRASHES="2", MEMSCHED_CONCURRENCY="32")
    scheduler = schedulers_at(own_redis.url)
    neighbours = messages(100, label="poison")
    poison = message("poison", label="poison", cube="the-bad-one")
    await scheduler.submit_messages([*neighbours[:20], poison, *neighbours[20:]])
    crew.supervise(2)

    await until(lambda: empty(scheduler, "poison"), "all to be finished", seconds=60)

    (letter,) = await dead_letters(scheduler)
    assert (letter.item_id, letter.reason, letter.attempts["crashes"]) == (poison.item_id, "crashes", 2)
    assert len(crew.lines("deaths")) == 2
    assert counted_ids(own_redis) == Counter(neighbour.item_id for neighbour in neighbours)


async def test_a_message_that_always_fails_is_dead_after_its_retries(
    make_crew, schedulers_at, own_redis: RedisServer
) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    crew.start(2)
    sent = messages(20, label="fail")
    await scheduler.submit_messages(sent)

    await until(lambda: empty(scheduler, "fail"), "all to be given up")

    assert Counter(crew.lines("runs")) == Counter({one.item_id: 6 for one in sent})
    letters = await dead_letters(scheduler)
    assert {letter.item_id for letter in letters} == {one.item_id for one in sent}
    assert {(letter.reason, letter.attempts["errors"]) for letter in letters} == {("errors", 6)}
    assert all("it never works" in letter.error for letter in letters)


async def test_what_is_no_message_is_a_dead_letter_and_its_neighbours_are_done(
    make_crew, schedulers_at, own_redis: RedisServer
) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    good = messages(100, label="work")
    stream = "memsched:{work}:stream"
    bad = [{"user_id": "u"}, {"nothing": "here"}, {"v": "99", "user_id": "u", "mem_cube_id": "c", "content": "x"},
           {"user_id": b"\xff\xfe", "mem_cube_id": "c", "content": "x"},
           {"user_id": "u", "mem_cube_id": "c", "content": "x", "info": "{no json"}]  # fmt: skip
    for number in range(10):
        await scheduler.submit_messages(good[10 * number : 10 * number + 10])
        own_redis.client.xadd(stream, bad[number % len(bad)])
    crew.start(2)

    await until(lambda: empty(scheduler, "work"), "all to be finished")

    letters = await dead_letters(scheduler)
    assert [letter.reason for letter in letters] == ["malformed"] * 10
    assert counted_ids(own_redis) == Counter(one.item_id for one in good)


async def test_a_group_that_is_destroyed_in_the_middle_loses_nothing(
    make_crew, schedulers_at, own_redis: RedisServer
) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    crew.start(2)
    await crew.ready(2)
    sent = messages(500, cubes=50, label="work")
    await scheduler.submit_messages(sent)
    await until(lambda: len(crew.lines("runs")) > 50, "the workers to be in the middle")

    own_redis.client.xgroup_destroy("memsched:{work}:stream", "memsched")

    await until(lambda: empty(scheduler, "work"), "all to be finished", seconds=30)
    assert counted_ids(own_redis) == Counter(one.item_id for one in sent)


async def test_workers_go_on_after_their_stream_was_deleted(make_crew, schedulers_at, own_redis: RedisServer) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    crew.start(2)
    await crew.ready(2)
    await scheduler.submit_messages(messages(200, cubes=20, label="work"))
    await until(lambda: len(crew.lines("runs")) > 20, "the workers to be in the middle")

    own_redis.client.delete("memsched:{work}:stream")
    later = messages(50, label="work")
    await scheduler.submit_messages(later)

    await until(lambda: empty(scheduler, "work"), "all to be finished", seconds=30)
    counts = counted_ids(own_redis)
    assert all(counts[one.item_id] == 1 for one in later)
    assert max(counts.values()) == 1
