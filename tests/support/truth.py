"""Compares every status with what is provably true at that moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from support.chaos_handlers import COUNTED

from memsched import AsyncMemScheduler, MemschedError
from memsched.connection import UnreachableError


class Sampler:
    """Looks all the time. A message is counted in the same script that acknowledges it, so the number of counts just
    before and just after a look are bounds for what the look may say."""

    def __init__(self, scheduler: AsyncMemScheduler, client: Any, label: str, submitted: int) -> None:
        self._scheduler = scheduler
        self._client = client
        self._label = label
        self._submitted = submitted
        self.samples = 0
        self.wrong: list[str] = []
        self.most_orphaned = 0

    def _finished(self) -> int:
        counted = self._client.xlen(f"memsched:{{{COUNTED}}}:stream")
        return int(counted + self._client.xlen(f"memsched:{{{self._label}}}:dead"))

    async def look(self) -> None:
        before = self._finished()
        status = await self._scheduler.read_status()
        after = self._finished()
        counts = status.labels[self._label]
        self.samples += 1
        self.most_orphaned = max(self.most_orphaned, counts.orphaned)
        if counts.backlog != counts.running + counts.remaining:
            self.wrong.append(f"the sum: {counts}")
        if not self._submitted - after <= counts.backlog <= self._submitted - before:
            self.wrong.append(f"finished between {before} and {after} of {self._submitted}, but {counts}")
        if counts.orphaned + counts.delayed > counts.remaining or min(counts.running, counts.orphaned) < 0:
            self.wrong.append(f"the parts: {counts}")

    async def run(self) -> None:
        while True:
            with contextlib.suppress(MemschedError, UnreachableError, ConnectionError, OSError):
                await self.look()
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watched(scheduler: AsyncMemScheduler, client: Any, label: str, submitted: int) -> AsyncIterator[Sampler]:
    """Samples the status while the body runs; fails if one of the samples was wrong."""
    sampler = Sampler(scheduler, client, label, submitted)
    task = asyncio.create_task(sampler.run())
    try:
        yield sampler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sampler.samples > 5
    assert sampler.wrong == []
