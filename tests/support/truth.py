"""Compares every status with what is provably true at that moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from memsched import AsyncMemScheduler, MemschedError
from memsched.broker.keys import Keys
from memsched.errors import UnreachableError
from support.outcome import effect_count


@dataclass
class Sampler:
    """Looks all the time. A message's effect is counted in the same script that acknowledges it, and a dead letter in
    the one that removes it: so the numbers just before and just after a look are bounds for what the look may say."""

    scheduler: AsyncMemScheduler
    client: Any
    label: str
    submitted: int
    deaths: Callable[[], int] = lambda: 0
    """How many workers have been killed so far."""
    samples: int = 0
    wrong: list[str] = field(default_factory=list)
    most_orphaned: int = 0

    def _finished(self) -> int:
        return effect_count(self.client) + int(self.client.xlen(Keys().lane(self.label, "", "").dead))

    async def look(self) -> None:
        before = self._finished()
        status = await self.scheduler.read_status()
        after, deaths = self._finished(), self.deaths()
        counts = status.labels[self.label]
        self.samples += 1
        self.most_orphaned = max(self.most_orphaned, counts.orphaned)
        checks = {
            "backlog = running + remaining": counts.backlog == counts.running + counts.remaining,
            "backlog within what is provably unfinished": self.submitted - after
            <= counts.backlog
            <= self.submitted - before,
            "orphaned and delayed are parts of remaining": counts.orphaned + counts.delayed <= counts.remaining,
            "no negative numbers": min(counts.running, counts.remaining, counts.orphaned, counts.delayed) >= 0,
            "orphaned only where a worker died": deaths > 0 or counts.orphaned == 0,
            "running only where a worker lives": counts.running == 0 or any(one.alive for one in status.workers),
            "the total is the sum of the labels": status.total.backlog
            == sum(one.backlog for one in status.labels.values()),
        }
        self.wrong += [
            f"not so: {claim}; finished between {before} and {after} of {self.submitted}, {deaths} deaths, {counts}"
            for claim, holds in checks.items()
            if not holds
        ]

    async def run(self) -> None:
        while True:
            with contextlib.suppress(MemschedError, UnreachableError, ConnectionError, OSError):
                await self.look()
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watched(
    scheduler: AsyncMemScheduler, client: Any, label: str, submitted: int, deaths: Callable[[], int] = lambda: 0
) -> AsyncIterator[Sampler]:
    """Samples the status while the body runs; fails if one of the samples was wrong."""
    sampler = Sampler(scheduler, client, label, submitted, deaths)
    task = asyncio.create_task(sampler.run())
    try:
        yield sampler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sampler.samples > 5
    assert sampler.wrong == [], sampler.wrong[:3]
