"""What memories and cubes cost in each part: processor, memory and disk of worker, Redis and vector process.

Cubes of 50 memories are told, turn by turn as an agent does, and asked one question each, at two sizes of the whole:
what the second one takes more is the cost, and what is there anyway is not in it.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.talk import Talk
from benchmarks.targets import Results, Target
from memsched import AsyncMemScheduler, ScheduleMessageItem, Settings
from memsched.embedded.redis_server import server_pid
from memsched.embedded.teardown import end_servers
from memsched.embedded.vector_server import vector_server_pid
from memsched.logs import configure_logs
from memsched.messages import ADD_TASK_LABEL, QUERY_TASK_LABEL

CUBES = (5, 25)
"""How many there are when it is weighed first, and then."""
TURNS = 50
TARGETS: dict[str, Target] = {}


@dataclass(frozen=True, slots=True)
class Weighed:
    """Seconds of processor, and bytes, since each part began."""

    worker_s: float
    redis_s: float
    vectors_s: float
    redis_bytes: int
    vectors_bytes: int
    vectors_disk_bytes: int


class GrowthBenchmark:
    """One step: fill, weigh, fill, weigh."""

    STEPS = ("growth",)

    def __init__(self, results: Results) -> None:
        self.results = results
        self._talk = Talk()

    async def run(self, only: list[str]) -> None:
        """Fills in the flat results."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        settings = Settings.load(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
        configure_logs(settings)
        try:
            async with AsyncMemScheduler(settings) as scheduler:
                await scheduler.start()
                weighed = []
                for first, last in zip((0, *CUBES), CUBES, strict=False):
                    print(f"{last} cubes ...", file=sys.stderr, flush=True)
                    await self._fill(scheduler, range(first, last))
                    weighed.append(await _weigh(scheduler, folder))
        finally:
            await asyncio.to_thread(end_servers, folder)
            shutil.rmtree(folder, ignore_errors=True)
        cubes = CUBES[1] - CUBES[0]
        before, after = weighed
        for part in ("worker", "redis", "vectors"):
            seconds = getattr(after, f"{part}_s") - getattr(before, f"{part}_s")
            self.results[f"{part}_cpu_ms_per_memory"] = 1000 * seconds / (cubes * TURNS)
        self.results["redis_kb_per_cube"] = (after.redis_bytes - before.redis_bytes) / cubes / 1024
        memories = cubes * TURNS * 1024
        self.results["vectors_kb_per_memory"] = (after.vectors_bytes - before.vectors_bytes) / memories
        self.results["vectors_disk_kb_per_memory"] = (after.vectors_disk_bytes - before.vectors_disk_bytes) / memories

    async def _fill(self, scheduler: AsyncMemScheduler, numbers: range) -> None:
        for _ in range(TURNS):
            await scheduler.submit_messages([self._message(each, ADD_TASK_LABEL) for each in numbers])
        await scheduler.submit_messages([self._message(each, QUERY_TASK_LABEL) for each in numbers])
        await scheduler.wait()

    def _message(self, number: int, label: str) -> ScheduleMessageItem:
        content = self._talk.sentence(9) if label == ADD_TASK_LABEL else self._talk.question()
        return ScheduleMessageItem(user_id=f"user-{number:06}", mem_cube_id="talk", label=label, content=content)


async def _weigh(scheduler: AsyncMemScheduler, folder: Path) -> Weighed:
    info = await (await scheduler.server()).execute("INFO", "memory")
    used = int(next(line for line in info.decode().splitlines() if line.startswith("used_memory:")).partition(":")[2])
    vectors = psutil.Process(vector_server_pid(folder))
    files = (file for file in (folder / "vectors").rglob("*") if file.is_file())
    return Weighed(
        worker_s=_seconds_of(psutil.Process()),
        redis_s=_seconds_of(psutil.Process(server_pid(folder))),
        vectors_s=_seconds_of(vectors),
        redis_bytes=used,
        vectors_bytes=vectors.memory_info().rss,
        vectors_disk_bytes=sum(file.stat().st_blocks * 512 for file in files),
    )


def _seconds_of(process: psutil.Process) -> float:
    taken = process.cpu_times()
    return float(taken.user + taken.system)
