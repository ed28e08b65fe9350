"""Workers and the server are killed at random moments: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from support.conditions import until
from support.crew import Crew
from support.messages import message, messages
from support.outcome import all_finished, assert_nothing_lost_and_nothing_twice, effect_count, effects
from support.servers import RedisServer
from support.truth import watched

from memsched import AsyncMemScheduler

MakeCrew = Callable[..., Crew]
MESSAGES = 1000
KILLS = int(os.environ.get("CHAOS_KILLS") or 4)
pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]


class Killer:
    """Kills workers at random moments."""

    def __init__(self, crew: Crew, chance: random.Random, *, replaces: bool) -> None:
        self._crew = crew
        self._chance = chance
        self._replaces = replaces
        self.killed = 0

    async def kill_until(self, done: Callable[[], bool], most: int = KILLS) -> None:
        while self.killed < most and not done():
            await asyncio.sleep(self._chance.uniform(0.05, 0.4))
            self.killed += 1  # before it happens, for the sampler looks at the same time
            if not self._crew.kill_one(self._chance):
                self.killed -= 1
            elif self._replaces:
                self._crew.start()


@pytest.mark.parametrize("label", ["task", pytest.param("threaded", marks=pytest.mark.long)])
@pytest.mark.parametrize("supervised", [True, False], ids=["supervised", "alone"])
async def test_workers_killed_at_random_moments_lose_nothing_and_count_nothing_twice(
    label: str,
    supervised: bool,
    make_crew: MakeCrew,
    scheduler: AsyncMemScheduler,
    own_redis: RedisServer,
    chance: random.Random,
) -> None:
    crew, client = make_crew(), own_redis.client
    killer = Killer(crew, chance, replaces=not supervised)
    if supervised:
        crew.supervise(3)
    else:
        for _ in range(3):
            crew.start()
    await until(lambda: len(crew.workers()) == 3)
    sent = messages(MESSAGES, cubes=100, label=label, info={"sleep": 0.06})
    await scheduler.submit_messages(sent)

    async with watched(scheduler, client, label, MESSAGES, lambda: killer.killed):
        await killer.kill_until(lambda: effect_count(client) > MESSAGES * 0.9)
        await all_finished(scheduler, label)

    assert killer.killed >= 3
    assert await assert_nothing_lost_and_nothing_twice(crew, client, scheduler, sent) == set()


async def test_what_a_killed_worker_had_done_and_not_reported_runs_again_elsewhere_and_counts_once(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer, tmp_path: Path
) -> None:
    # given a worker that has done the first message of a call, and is still at work on the second one
    crew, gate = make_crew(), tmp_path / "gate"
    supervisor = crew.supervise(3)
    await until(lambda: len(crew.workers()) == 3)
    sent = [message("first"), message("second", info={"gate": str(gate)})]
    await scheduler.submit_messages(sent)
    (done,) = await until(lambda: crew.record.lines("done"), "the first message to be done")
    (victim,) = [row["worker"] for row in crew.said("worker.started") if row["pid"] == done.pid]
    assert effects(own_redis.client) == {}

    # when it dies
    killed = time.time()
    os.kill(done.pid, signal.SIGKILL)
    await until(lambda: max(crew.record.runs().values()) == 2, "another to go on")
    gate.touch()
    await all_finished(scheduler)
    supervisor.terminate()

    # then both are in other hands soon, the first one has run twice, and neither counts twice
    assert await assert_nothing_lost_and_nothing_twice(crew, own_redis.client, scheduler, sent) == set()
    assert len({line.pid for line in crew.record.lines("done") if line.item_id == sent[0].item_id}) == 2
    recovered = crew.said("message.recovered")
    assert {row["item_id"] for row in recovered} == {item.item_id for item in sent}
    assert {row["previous_owner"] for row in recovered} == {victim}
    assert victim not in {row["worker"] for row in recovered}
    assert max(datetime.fromisoformat(row["timestamp"]).timestamp() for row in recovered) < killed + 10
    assert supervisor.wait() == 0


async def test_after_all_workers_were_killed_new_ones_go_on(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    crew, client = make_crew(), own_redis.client
    for _ in range(3):
        crew.start()
    await until(lambda: len(crew.workers()) == 3)
    sent = messages(MESSAGES, cubes=100, info={"sleep": 0.06})
    await scheduler.submit_messages(sent)
    await until(lambda: effect_count(client) > 100, "the workers to be in the middle")

    async with watched(scheduler, client, "task", MESSAGES, lambda: 3) as sampler:
        for member in crew.members:
            member.kill()
        await until(lambda: sampler.most_orphaned > 0, "the dead workers' messages to be orphaned")
        crew.start()
        crew.start()
        await all_finished(scheduler)

    assert await assert_nothing_lost_and_nothing_twice(crew, client, scheduler, sent) == set()
    assert (await scheduler.read_status()).total.orphaned == 0
    recovered = crew.said("message.recovered")
    assert {row["previous_owner"] for row in recovered} <= {member.name for member in crew.members[:3]}
    assert recovered


async def test_a_killed_server_that_comes_back_has_everything(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer
) -> None:
    crew = make_crew()
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2)
    sent = messages(MESSAGES, cubes=100, info={"sleep": 0.06})
    await scheduler.submit_messages(sent[:500])
    for kills in (1, 2):
        await until(
            lambda enough=150 * kills: len(crew.record.lines("end")) > enough, "the workers to be in the middle"
        )
        own_redis.kill()
        submitting = asyncio.create_task(scheduler.submit_messages(sent[250 + 250 * kills : 500 + 250 * kills]))
        told = len(crew.said("server.gone"))
        await until(
            lambda told=told: len(crew.said("server.gone")) >= min(told + 1, 2 * kills), "the outage to be felt"
        )
        own_redis.start()
        await submitting

    await all_finished(scheduler)

    assert await assert_nothing_lost_and_nothing_twice(crew, own_redis.client, scheduler, sent) == set()
    assert crew.said("worker.died") == [], "an outage is no reason to die"


async def test_the_server_and_the_workers_are_killed_together(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer, chance: random.Random
) -> None:
    crew = make_crew()
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2)
    sent = messages(400, cubes=50, info={"sleep": 0.06})
    await scheduler.submit_messages(sent)
    for rounds in range(1, 4):
        await until(
            lambda enough=60 * rounds: len(crew.record.lines("end")) > enough, "the workers to be in the middle"
        )
        crew.kill_one(chance)
        own_redis.kill()
        own_redis.start()

    await all_finished(scheduler)

    assert await assert_nothing_lost_and_nothing_twice(crew, own_redis.client, scheduler, sent) == set()


async def test_broken_connections_lose_nothing_and_count_nothing_twice(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer, chance: random.Random
) -> None:
    crew, client = make_crew(), own_redis.client
    for _ in range(2):
        crew.start()
    await until(lambda: len(crew.workers()) == 2)
    sent = messages(600, cubes=60, info={"sleep": 0.02})
    await scheduler.submit_messages(sent)
    for _ in range(25):
        await asyncio.sleep(chance.uniform(0.01, 0.05))
        client.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
    left = effect_count(client)

    await all_finished(scheduler, seconds=30)

    assert left < 600
    assert await assert_nothing_lost_and_nothing_twice(crew, client, scheduler, sent) == set()


async def test_checkpoints_survive_kills(
    make_crew: MakeCrew, scheduler: AsyncMemScheduler, own_redis: RedisServer, chance: random.Random
) -> None:
    crew, client = make_crew(), own_redis.client
    crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2)
    sent = messages(60, label="steps", info={"sleep": 0.02})
    await scheduler.submit_messages(sent)
    killer = Killer(crew, chance, replaces=False)

    await killer.kill_until(lambda: effect_count(client) >= 60, most=4)
    await all_finished(scheduler, "steps")

    # A step is repeated only by the kill that came between it and its checkpoint: 8 run in each process.
    steps = Counter((line.item_id, line.more) for line in crew.record.lines("step"))
    assert set(steps) == {(item.item_id, str(step)) for item in sent for step in range(10)}
    assert sum(steps.values()) - len(steps) <= 8 * killer.killed
    assert effects(client) == Counter({item.item_id: 1 for item in sent})
