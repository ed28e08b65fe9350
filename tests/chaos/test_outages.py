"""The server stands still, and is killed, for longer than the min idle: nobody's silence, and nobody's crash."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable

from support.conditions import until
from support.messages import message
from support.outcome import dead_letters
from support.servers import RedisServer

from memsched import AsyncMemScheduler, Handler, ScheduleMessageItem
from memsched.broker.client import RECONNECT_CAP_SECONDS

WORKERS = 4
MESSAGES = 16
MIN_IDLE_SECONDS = 1.0
_ENOUGH_TO_CLAIM_SECONDS = RECONNECT_CAP_SECONDS + MIN_IDLE_SECONDS
"""Of a worker that is silent. Nothing else tells that nobody claims."""


async def test_outages_longer_than_the_min_idle_make_nothing_run_twice(
    own_redis: RedisServer, schedulers_at: Callable[..., AsyncMemScheduler]
) -> None:
    runs: Counter[str] = Counter()
    over = asyncio.Event()

    async def handle(batch: list[ScheduleMessageItem]) -> None:
        runs.update(item.item_id for item in batch)
        await over.wait()

    crew = [
        schedulers_at(own_redis.url, min_idle_ms=int(1000 * MIN_IDLE_SECONDS), concurrency=MESSAGES // WORKERS)
        for _ in range(WORKERS)
    ]
    for worker in crew:
        worker.register_handlers({"task": Handler(handle)})
        await worker.start()
    await crew[0].submit_messages([message(str(number), cube=str(number)) for number in range(MESSAGES)])
    await until(lambda: len(runs) == MESSAGES, "all to run")

    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.5 * MIN_IDLE_SECONDS)
    own_redis.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(_ENOUGH_TO_CLAIM_SECONDS)
    own_redis.kill()
    await asyncio.sleep(1.5 * MIN_IDLE_SECONDS)
    own_redis.start()
    await asyncio.sleep(_ENOUGH_TO_CLAIM_SECONDS)

    over.set()
    await crew[0].wait(timeout=30)
    assert set(runs.values()) == {1}
    assert await dead_letters(crew[0]) == []
