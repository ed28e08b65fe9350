"""Supervisors, their workers and the server are killed at random, for as long as one likes.

In the suite it is short. ``CHAOS_SECONDS=120 CHAOS_MESSAGES=5000 pytest tests/chaos/test_storm.py`` is a long one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable

import pytest
from support.conditions import until
from support.crew import Crew
from support.messages import messages
from support.outcome import all_finished, assert_nothing_lost_and_nothing_twice, effect_count
from support.servers import RedisServer

from memsched import AsyncMemScheduler, ScheduleMessageItem

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 8)
MESSAGES = int(os.environ.get("CHAOS_MESSAGES") or 400)
SUPERVISORS = 2
pytestmark = [pytest.mark.timeout(SECONDS * 4 + 120), pytest.mark.long]


async def test_a_storm_of_kills_loses_nothing_and_doubles_no_follow_up(
    make_crew: Callable[..., Crew], scheduler: AsyncMemScheduler, own_redis: RedisServer, chance: random.Random
) -> None:
    crew = make_crew()
    for _ in range(SUPERVISORS):
        crew.supervise(2)
    await until(lambda: len(crew.workers()) == 2 * SUPERVISORS)
    # Enough work for the whole storm: 16 to 32 places, each busy for so long that the messages last to its end.
    sent = messages(MESSAGES, cubes=max(50, MESSAGES // 10), info={"sleep": SECONDS * 16 / MESSAGES})
    submitting = asyncio.create_task(submit_in_parts(scheduler, sent))
    kills = {"supervisor": 0, "worker": 0, "server": 0}
    ends = time.monotonic() + SECONDS

    while time.monotonic() < ends:
        await asyncio.sleep(chance.uniform(0.2, 1.2))
        what = chance.choices(tuple(kills), weights=(2, 3, 1))[0]
        kills[what] += 1
        match what:
            case "supervisor":
                chance.choice([member for member in crew.members if member.running]).kill()
                crew.supervise(2)
            case "worker":
                crew.kill_one(chance)
            case "server":
                own_redis.kill()
                await asyncio.sleep(chance.uniform(0, 1.5))
                own_redis.start()
    left = MESSAGES - effect_count(own_redis.client)
    await submitting
    await all_finished(scheduler, seconds=SECONDS * 2 + 60)

    print(f"kills: {kills}; {left} of {MESSAGES} messages were unfinished at the end of the storm")
    assert sum(kills.values()) >= SECONDS / 2 or SECONDS < 4
    assert await assert_nothing_lost_and_nothing_twice(crew, own_redis.client, scheduler, sent) == set()


async def submit_in_parts(scheduler: AsyncMemScheduler, sent: list[ScheduleMessageItem]) -> None:
    """While the storm goes on: a submit waits for a server that is gone."""
    part = max(1, len(sent) // 20)
    for at in range(0, len(sent), part):
        await scheduler.submit_messages(sent[at : at + part])
        await asyncio.sleep(SECONDS / 40)
