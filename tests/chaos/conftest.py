"""What all chaos tests have: a server of their own, short times, random moments that can be had again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from support.crew import Crew
from support.servers import RedisServer

from memsched import AsyncMemScheduler


@pytest.fixture
def chance() -> random.Random:
    """CHAOS_SEED=N repeats the moments of a run."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def make_crew(own_redis: RedisServer, crews: Callable[..., Crew]) -> Callable[..., Crew]:
    short = {
        "min_idle_ms": 1000,
        "beat_seconds": 0.3,
        "worker_ttl_seconds": 1.5,
        "retry_base_ms": 10,
        "concurrency": 8,
        "max_crashes": 40,
        "grace_seconds": 5,
    }
    return lambda **settings: crews(own_redis.url, **{**short, **settings})


@pytest.fixture
def scheduler(own_redis: RedisServer, schedulers_at: Callable[..., AsyncMemScheduler]) -> AsyncMemScheduler:
    """To submit and to look; it knows the crew's idea of how long a worker may be silent."""
    return schedulers_at(own_redis.url, beat_seconds=0.3, worker_ttl_seconds=1.5, connect_timeout_seconds=30.0)
