"""One message that leads to thousands: a kill in the middle loses none of them, and doubles none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.conditions import until
from support.crew import Crew
from support.handlers import EFFECT
from support.messages import message
from support.outcome import effects
from support.servers import RedisServer

from memsched import AsyncMemScheduler
from memsched.broker.keys import Keys
from memsched.deadline import Deadline

MakeScheduler = Callable[..., AsyncMemScheduler]
MANY = 3000


def staged(client: Any) -> bool:
    return any(True for _ in client.scan_iter("*:outbox:*", count=1000))


def in_outbox(client: Any) -> bool:
    return bool(client.exists(Keys().lane("fan", "", "").outbox))


def on_the_way(client: Any) -> bool:
    return in_outbox(client) and bool(client.exists(Keys().lane(EFFECT, "", "").stream))


@pytest.mark.parametrize(
    "moment",
    [
        staged,
        pytest.param(in_outbox, marks=pytest.mark.long),
        pytest.param(on_the_way, marks=pytest.mark.long),
    ],
    ids=lambda moment: moment.__name__,
)
async def test_a_kill_in_the_middle_of_a_fan_out_loses_none_and_doubles_none(
    real_redis: RedisServer, schedulers_at: MakeScheduler, tmp_path: Path, moment: Callable[[Any], bool]
) -> None:
    client = real_redis.client
    crew = Crew(tmp_path, real_redis.url, min_idle_ms=500, beat_seconds=0.2, worker_ttl_seconds=1, max_crashes=9)
    scheduler = schedulers_at(real_redis.url, beat_seconds=0.2, worker_ttl_seconds=1)
    try:
        first = crew.start()
        await until(crew.workers, "a worker")
        await scheduler.submit_messages(sent := message(str(MANY), label="fan"))
        deadline = Deadline(20)
        while not moment(client):
            assert not deadline.passed
        first.kill()
        crew.start()
        wanted = Counter(f"{sent.item_id}/{number}" for number in range(MANY))

        async def all_there() -> bool:
            status = await scheduler.read_status()
            assert status.total.backlog >= 1, "never done when it is not"
            return status.labels["fan"].backlog == 0

        await until(all_there, "all of it to be sent on")
        assert (await scheduler.read_status()).labels[EFFECT].backlog == MANY
        assert effects(client) == wanted
        assert not staged(client) or all(client.ttl(key) > 0 for key in client.scan_iter("*:outbox:*", count=1000))
    finally:
        crew.end()
