from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.crew import Crew
from support.servers import RedisServer

MakeCrew = Callable[..., Crew]


@pytest.fixture
def make_crew(own_redis: RedisServer, tmp_path: Path) -> Iterator[MakeCrew]:
    """Makes the worker processes of a test; none of them outlives it."""
    made: list[Crew] = []

    def make(**environment: str) -> Crew:
        crew = Crew(own_redis, tmp_path, **environment)
        made.append(crew)
        return crew

    yield make
    for crew in made:
        crew.remove()


@pytest.fixture
def chance() -> random.Random:
    """Random moments that can be had again: CHAOS_SEED=N."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)
