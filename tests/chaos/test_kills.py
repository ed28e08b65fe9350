"""Workers and the server are killed at random moments: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from support.chaos_handlers import COUNTED
from support.conditions import until
from support.crew import Crew
from support.messages import messages
from support.servers import RedisServer
from support.truth import watched

from memsched import AsyncMemScheduler, ScheduleMessageItem

MESSAGES = 1000
pytestmark = pytest.mark.timeout(120)


async def settled(scheduler: AsyncMemScheduler, label: str, seconds: float = 60.0) -> None:
    """Until nothing of the label is unfinished."""

    async def empty() -> bool:
        return (await scheduler.read_status()).labels[label].backlog == 0

    await until(empty, f"all {label} messages to be finished", seconds=seconds)


def assert_each_ran_and_counts_once(crew: Crew, sent: Sequence[ScheduleMessageItem]) -> None:
    ids = {message.item_id for message in sent}
    ran = Counter(line.split()[0] for line in crew.lines("runs"))
    assert set(ran) == ids, "some never ran"
    entries = crew.server.client.xrange(f"memsched:{{{COUNTED}}}:stream")
    counted = Counter(fields["content"] for _, fields in entries)
    assert set(counted) == ids, "some were not counted"
    assert max(counted.values()) == 1, "some were counted twice"


async def kill_until(
    crew: Crew, chance: random.Random, done: Callable[[], bool], kills: int, replace: bool
) -> list[int]:
    """SIGKILL workers at random moments; gives their process ids."""
    killed: list[int] = []
    while len(killed) < kills and not done():
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        if pid := crew.kill_one(chance):
            killed.append(pid)
            if replace:
                crew.start()
    return killed


@pytest.mark.parametrize("label", ["work", "thread"])
@pytest.mark.parametrize("supervised", [True, False], ids=["supervised", "alone"])
async def test_workers_killed_at_random_moments_lose_nothing(
    label: str, supervised: bool, make_crew, schedulers_at, own_redis: RedisServer, chance: random.Random
) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    if supervised:
        crew.supervise(3)
    else:
        crew.start(3)
    await crew.ready(3)
    sent = messages(MESSAGES, cubes=100, label=label)
    await scheduler.submit_messages(sent)

    async with watched(scheduler, own_redis.client, label, MESSAGES):
        counted = f"memsched:{{{COUNTED}}}:stream"
        killed = await kill_until(
            crew, chance, lambda: own_redis.client.xlen(counted) > MESSAGES * 0.9, 8, not supervised
        )
        await settled(scheduler, label)

    assert killed
    assert_each_ran_and_counts_once(crew, sent)


async def test_after_all_workers_were_killed_new_ones_go_on(
    make_crew, schedulers_at, own_redis: RedisServer
) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    crew.start(3)
    await crew.ready(3)
    sent = messages(MESSAGES, cubes=100, label="work")
    await scheduler.submit_messages(sent)
    await until(lambda: len(crew.lines("runs")) > 100, "the workers to be in the middle")

    async with watched(scheduler, own_redis.client, "work", MESSAGES) as sampler:
        for process in crew.processes:
            process.kill()
        await until(lambda: sampler.most_orphaned > 0, "the dead workers' messages to be orphaned")
        crew.start(2)
        await settled(scheduler, "work")

    assert_each_ran_and_counts_once(crew, sent)
    assert (await scheduler.read_status()).total.orphaned == 0
    assert crew.actions("message.recovered")


async def test_a_killed_server_that_comes_back_has_everything(
    make_crew, schedulers_at, own_redis: RedisServer
) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    crew.supervise(2)
    await crew.ready(2)
    sent = messages(MESSAGES, cubes=100, label="work")
    await scheduler.submit_messages(sent[:500])
    for kills in (1, 2):
        await until(lambda enough=150 * kills: len(crew.lines("runs")) > enough, "the workers to be in the middle")
        own_redis.kill()
        submitting = asyncio.create_task(scheduler.submit_messages(sent[250 + 250 * kills : 500 + 250 * kills]))
        await asyncio.sleep(0.3)  # an outage has a length
        own_redis.start()
        await submitting

    await settled(scheduler, "work")

    assert_each_ran_and_counts_once(crew, sent)


async def test_checkpoints_survive_kills(make_crew, schedulers_at, own_redis: RedisServer, chance: random.Random) -> None:
    crew: Crew = make_crew()
    scheduler = schedulers_at(own_redis.url)
    crew.supervise(2)
    await crew.ready(2)
    sent = messages(60, label="steps")
    await scheduler.submit_messages(sent)

    counted = f"memsched:{{{COUNTED}}}:stream"
    killed = await kill_until(crew, chance, lambda: own_redis.client.xlen(counted) >= 60, 4, False)
    await settled(scheduler, "steps")

    # A step is repeated only by the kill that came between it and its checkpoint.
    steps = Counter(crew.lines("steps"))
    assert set(steps) == {f"{message.item_id} {step}" for message in sent for step in range(10)}
    assert sum(steps.values()) - len(steps) <= 8 * len(killed)
    assert own_redis.client.xlen(counted) == 60
