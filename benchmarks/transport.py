"""The transport against raw Redis, on one machine in one run.

Everything runs on a Redis server of its own (append-only, as in production) with worker processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks import raw_hop
from benchmarks.redis_server import redis_server
from benchmarks.talk import Talk
from benchmarks.targets import Results, Target, at_least, at_most, share
from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.deadline import Deadline

MESSAGES = 20_000
CUBES = 1_000
BODY = "x" * 1024
ROUNDS = 8
"""Workers that count only now and then, at most: fewer if what it costs is known within PRECISION."""
PRECISION = 0.01


def _drain(results: Results) -> tuple[str, bool]:
    said, reached = share("drain", "raw_drain", 0.25)(results)
    return f"{said}, >= 20,000/s", reached and results["drain"] >= 20_000


TARGETS: dict[str, Target] = {
    "submit_batch": share("submit_batch", "raw_submit", 0.35),
    "drain": _drain,
    "statistics_cost_share": at_most("statistics_cost_share", 0.02, "of the CPU time of a message without"),
    "start_p50_ms": at_most("start_p50_ms", 1.0, "ms"),
    "start_p99_ms": at_most("start_p99_ms", 3.0, "ms"),
    "sleep10_1": at_least("sleep10_1", 0.95, "of the ideal"),
    "sleep10_2": at_least("sleep10_2", 0.95, "of the ideal"),
    "idle_commands_per_s": at_most("idle_commands_per_s", 5, "commands/s"),
    "idle_cpu_per_10s": at_most("idle_cpu_per_10s", 0.05, "CPU s"),
    "recovery_supervised_s": at_most("recovery_supervised_s", 1.0, "s"),
    "recovery_idle_s": at_most("recovery_idle_s", 7.0, "s (min idle 5 s)"),
    "recovery_idle_1s_s": at_most("recovery_idle_1s_s", 2.0, "s (min idle 1 s)"),
    "rss_mb_end": at_most("rss_mb_end", 80, "MB after 200,000 messages"),
}


class TransportBenchmark:
    """All steps in order; each starts with an empty server."""

    STEPS: tuple[str, ...] = ("raw", "submit", "drain", "statistics", "start", "sleep", "idle", "recovery", "memory")

    def __init__(self, results: Results) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        self.socket = self.folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.results = results

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results. Says on stderr what it is doing: this takes minutes."""
        with redis_server(self.folder):
            self.redis: Any = redis.Redis(unix_socket_path=str(self.socket), protocol=2)
            for step in only or self.STEPS:
                print(f"{step} ...", file=sys.stderr, flush=True)
                self.redis.flushall()
                await getattr(self, f"_{step}")()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- the reference -------------------------------------------------------------------------------------------

    async def _raw(self) -> None:
        """What redis-py can do with the same payload, and nothing else."""
        payload = json.dumps({"item_id": "0" * 36, "user_id": "u", "mem_cube_id": "c", "content": BODY})
        begun = time.perf_counter()
        for _ in range(MESSAGES // 500):
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(500):
                pipeline.xadd("raw", {"data": payload})
            pipeline.execute()
        self.results["raw_submit"] = MESSAGES / (time.perf_counter() - begun)
        self.redis.xgroup_create("raw", "group", id="0")
        begun = time.perf_counter()
        done = 0
        while done < MESSAGES:
            ((_, entries),) = self.redis.xreadgroup("group", "consumer", {"raw": ">"}, count=100)
            for _, fields in entries:
                json.loads(fields[b"data"])
            ids = [entry_id for entry_id, _ in entries]
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.xack("raw", "group", *ids)
            pipeline.xdel("raw", *ids)
            pipeline.execute()
            done += len(ids)
        self.results["raw_drain"] = MESSAGES / (time.perf_counter() - begun)

    # -- memsched ------------------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        """As they are; and talk as it is by default, looked through for secrets before it is submitted."""
        async with self._scheduler(secrets="keep") as scheduler:
            some = _messages(3000, "noop")
            begun = time.perf_counter()
            for message in some:
                await scheduler.submit_messages(message)
            self.results["submit_one"] = len(some) / (time.perf_counter() - begun)
            self.results["submit_batch"] = await _rate(scheduler, [BODY])
        async with self._scheduler() as scheduler:
            talk = Talk()
            said = [" ".join(talk.sentence(12) for _ in range(40))[: len(BODY)] for _ in range(500)]
            self.results["submit_batch_masked"] = await _rate(scheduler, said)

    async def _drain(self) -> None:
        """One worker process, everything on; best of three, as the raw rates meet less disturbance."""
        self.results["drain"] = max([await self._drained() for _ in range(3)])

    async def _statistics(self) -> None:
        """Of workers that count in every other slice of their messages only, the CPU time of a message: what else the
        machine does, it does to both kinds of slices. Where the machine is quiet, few workers are enough."""
        pairs: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            self.redis.flushall()
            await self._preload(3 * MESSAGES, "noop")
            async with self._workers(1, MEMSCHED_APP="benchmarks.switched_statistics:handlers"):
                await self._until_empty("noop")
            pairs += json.loads((self.folder / "pairs.json").read_text())[1:]  # in the first, it warms up
            low, median, high = statistics.quantiles([counted / plain - 1 for counted, plain in pairs], n=4)
            error = 1.57 * (high - low) / math.sqrt(len(pairs))  # of a median, 95 %: McGill, Tukey & Larsen 1978
            if error <= PRECISION:
                break
        self.results["statistics_cost_share"] = median
        self.results["statistics_cost_share_error"] = error
        self.results["message_us"] = statistics.median(counted for counted, _ in pairs) * 1_000_000
        self.results["message_us_without_statistics"] = statistics.median(plain for _, plain in pairs) * 1_000_000

    async def _drained(self) -> float:
        """Messages a second of one worker process."""
        self.redis.flushall()
        await self._preload(MESSAGES, "noop")
        async with self._workers(1):
            ended = await self._until_empty("noop")
            return MESSAGES / (ended - float((self.folder / "first").read_text()))

    async def _start(self) -> None:
        """From the call of submit_messages to the handler's first line, at 50 messages a second."""
        self.results["raw_hop_p50_ms"] = await asyncio.to_thread(raw_hop.measure, str(self.socket))
        submitted: dict[str, float] = {}
        async with self._scheduler() as scheduler, self._workers(1):
            for number in range(550):
                message = _message("start", f"c{number % 50}", BODY)
                begun = submitted[message.item_id] = time.time()
                await scheduler.submit_messages(message)
                await asyncio.sleep(max(0.0, 0.02 + begun - time.time()))
            await self._until_empty("start")
        started = {item_id: at for seen in self._seen() for item_id, at in seen["started"].items()}
        warm = list(submitted)[50:]
        delays = sorted(started[item_id] - submitted[item_id] for item_id in warm)
        self.results["start_p50_ms"] = statistics.median(delays) * 1000
        self.results["start_p99_ms"] = delays[int(len(delays) * 0.99)] * 1000

    async def _sleep(self) -> None:
        """10 ms handlers, 32 at a time: the share of 3,200 messages a second and worker."""
        for workers in (1, 2):
            self.redis.flushall()
            count = 3200 * 4 * workers
            await self._preload(count, "sleep10", cubes=count)
            async with self._workers(workers):
                await self._until_empty("sleep10")
            seen = self._seen()
            seconds = max(s["last"][0] for s in seen) - min(s["first"][0] for s in seen)
            self.results[f"sleep10_{workers}"] = count / seconds / (3200 * workers)

    async def _idle(self) -> None:
        """Nothing to do, after 10,000 different users have passed."""
        await self._preload(10_000, "noop", cubes=10_000)
        async with self._workers(1) as processes:
            await self._until_empty("noop")
            await asyncio.sleep(3)
            process = psutil.Process(processes[0].pid)
            cpu, commands = sum(process.cpu_times()[:2]), self._commands()
            await asyncio.sleep(10)
            self.results["idle_commands_per_s"] = (self._commands() - commands) / 10
            self.results["idle_cpu_per_10s"] = sum(process.cpu_times()[:2]) - cpu

    async def _recovery(self) -> None:
        """From SIGKILL of a worker to the start of its message in another: supervised, and by min idle."""
        self.results["recovery_supervised_s"] = await self._recovered_after(supervised=True)
        self.results["recovery_idle_s"] = await self._recovered_after(MEMSCHED_MIN_IDLE_MS="5000")
        self.results["recovery_idle_1s_s"] = await self._recovered_after(MEMSCHED_MIN_IDLE_MS="1000")

    async def _recovered_after(self, *, supervised: bool = False, **environment: str) -> float:
        self.redis.flushall()
        async with self._scheduler() as scheduler, self._workers(2, supervised=supervised, **environment):
            message = _message("crash", "c", BODY)
            await scheduler.submit_messages(message)
            mark = self.folder / message.item_id
            await until(lambda: _text(mark.with_suffix(".pid")) != "")
            await asyncio.sleep(0.5)
            killed = time.time()
            os.kill(int(_text(mark.with_suffix(".pid"))), signal.SIGKILL)
            await until(lambda: _text(mark.with_suffix(".again")) != "", seconds=90)
            return float(_text(mark.with_suffix(".again"))) - killed

    async def _memory(self) -> None:
        """Memory of a worker after 20,000 and after 200,000 messages."""
        async with self._workers(1) as processes:
            process = psutil.Process(processes[0].pid)
            for number in range(10):
                await self._preload(MESSAGES, "noop")
                await self._until_empty("noop")
                self.results["rss_mb_start" if number == 0 else "rss_mb_end"] = process.memory_info().rss / 1e6

    # -- what the steps are made of ------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _workers(
        self, count: int, *, supervised: bool = False, **environment: str
    ) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
        for old in (*self.folder.glob("worker-*.json"), *(self.folder / name for name in ("first", "begun", "done"))):
            old.unlink(missing_ok=True)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("MEMSCHED_")}
        variables |= {
            "MEMSCHED_REDIS_URL": self.url,
            "MEMSCHED_APP": "benchmarks.handlers:handlers",
            "MEMSCHED_LOG_LEVEL": "error",
            "MEMSCHED_LIVENESS_DIR": str(self.folder / "live"),
            "BENCH_FOLDER": str(self.folder),
            **environment,
        }
        command = [sys.executable, "-m", "memsched.process"]
        if supervised:
            command = [sys.executable, "-m", "workers"]
            variables["MEMSCHED_PROCESSES"] = str(count)
        processes = [_started(command, variables) for _ in range(1 if supervised else count)]
        try:
            await until(lambda: self.redis.zcard("memsched:workers") >= count)
            yield processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(60)

    @contextlib.asynccontextmanager
    async def _scheduler(self, **settings: Any) -> AsyncIterator[AsyncMemScheduler]:
        async with AsyncMemScheduler(redis_url=self.url, **settings) as scheduler:
            yield scheduler

    async def _preload(self, count: int, label: str, *, cubes: int = CUBES) -> None:
        async with self._scheduler(secrets="keep") as scheduler:
            for at in range(0, count, 1000):
                await scheduler.submit_messages(_messages(min(1000, count - at), label, cubes=cubes, first=at))

    async def _until_empty(self, label: str) -> float:
        await until(lambda: self.redis.xlen(f"memsched:{{{label}}}:stream") == 0, seconds=600)
        return time.time()

    def _seen(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.folder.glob("worker-*.json")]

    def _commands(self) -> int:
        """Commands that the server ran, those within scripts included, those of this question not."""
        stats = self.redis.info("commandstats")
        return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


def _message(label: str, cube: str, content: str) -> ScheduleMessageItem:
    return ScheduleMessageItem(user_id=f"user-{cube}", mem_cube_id=cube, label=label, content=content)


async def _rate(scheduler: AsyncMemScheduler, bodies: Sequence[str]) -> float:
    """Messages a second that are submitted, 500 at a time."""
    many = [_message("noop", f"cube-{n % CUBES}", bodies[n % len(bodies)]) for n in range(MESSAGES)]
    begun = time.perf_counter()
    for at in range(0, MESSAGES, 500):
        await scheduler.submit_messages(many[at : at + 500])
    return MESSAGES / (time.perf_counter() - begun)


def _messages(count: int, label: str, *, cubes: int = CUBES, first: int = 0) -> list[ScheduleMessageItem]:
    return [_message(label, f"cube-{number % cubes}", BODY) for number in range(first, first + count)]


def _started(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment)


async def until(condition: Callable[[], Any], *, seconds: float = 30.0) -> None:
    deadline = Deadline(seconds)
    while not condition():
        if deadline.passed:
            raise TimeoutError("the benchmark waited in vain")
        await asyncio.sleep(0.002)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
