"""Whether one user, or one slow label, makes others wait; and what it costs to see to it.

On a Redis server of its own, with a worker process of its own, in one run. Ratios are of two measurements that take
turns, the best of each: so a busy machine disturbs both alike.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.targets import Results, Target, at_least, at_most
from benchmarks.transport import BODY, TransportBenchmark, until
from memsched import ScheduleMessageItem

OTHERS = 20
FLOOD = 10_000
DRAINED = 20_000
FAST = 200


def _twice_alone(results: Results) -> tuple[str, bool]:
    alone, behind = results["alone_s"], results["behind_10000_s"]
    return f"<= 2 x alone_s: {behind / alone:.2f}", behind <= 2 * alone


TARGETS: dict[str, Target] = {
    "behind_10000_s": _twice_alone,
    "level1_ratio": at_most("level1_ratio", 1.5, "x the time they need alone"),
    "drain_ratio": at_least("drain_ratio", 0.95, "of the rate without a limit"),
    "submit_ratio": at_least("submit_ratio", 0.95, "of the rate without a limit"),
    "submit_parked_ratio": at_least("submit_parked_ratio", 0.8, "of the rate without a limit"),
}


class FairnessBenchmark(TransportBenchmark):
    """All steps in order; each starts with an empty server."""

    STEPS = ("users", "labels", "drain", "submit")

    async def _users(self) -> None:
        """20 users' messages of 0.2 s each: until all are done alone, and until all have started behind 10,000."""
        async with self._workers(1):
            self.results["alone_s"] = await self._time_of("nap", "done", OTHERS)
        self.redis.flushall()
        async with self._workers(1):
            await self._submit_all([_message("nap", "flooder", f"c{number}") for number in range(FLOOD)])
            await until(lambda: len(self._marks("begun")) >= 32)
            self.results["behind_10000_s"] = await self._time_of("nap", "begun", OTHERS)

    async def _labels(self) -> None:
        """200 messages of a LEVEL_1 label, alone and beside a label with one place and 200 waiting."""
        seconds = []
        for slow in (0, FAST):
            self.redis.flushall()
            async with self._workers(1):
                await self._submit_all([_message("one_at_a_time", f"slow-{number}") for number in range(slow)])
                if slow:
                    await until(lambda: self._marks("begun"))
                seconds.append(await self._time_of("urgent", "done", FAST))
        self.results["level1_alone_s"], self.results["level1_beside_s"] = seconds
        self.results["level1_ratio"] = seconds[1] / seconds[0]

    async def _drain(self) -> None:
        """One worker process empties what 1,000 users have submitted, of whom nothing is parked; and 20, of whom nearly
        all is.
        """
        for name, users in (("drain", 1000), ("drain_parked", 20)):
            rates: dict[int, list[float]] = {0: [], 64: []}
            for most in (0, 64) * 3:
                self.redis.flushall()
                limit = {"max_per_user": most}
                messages = [_message("noop", f"user-{number % users}", f"c{number}") for number in range(DRAINED)]
                await self._submit_all(messages, **limit)
                async with self._workers(1, MEMSCHED_MAX_PER_USER=str(most)):
                    await until(lambda: self._left("noop") == 0, seconds=120)
                    rates[most].append(DRAINED / (time.time() - float((self.folder / "first").read_text())))
            self.results[f"{name}_unlimited"], self.results[name] = max(rates[0]), max(rates[64])
            self.results[f"{name}_ratio"] = max(rates[64]) / max(rates[0])

    async def _submit(self) -> None:
        """20,000 messages of 1,000 users, of whom nothing is parked; and of one, of whom nearly all is."""
        for name, users in (("submit", 1000), ("submit_parked", 1)):
            rates: dict[int, list[float]] = {0: [], 64: []}
            for most in (0, 64) * 3:
                self.redis.flushall()
                messages = [_message("noop", f"user-{number % users}") for number in range(DRAINED)]
                begun = time.perf_counter()
                await self._submit_all(messages, max_per_user=most)
                rates[most].append(DRAINED / (time.perf_counter() - begun))
            self.results[f"{name}_unlimited"], self.results[name] = max(rates[0]), max(rates[64])
            self.results[f"{name}_ratio"] = max(rates[64]) / max(rates[0])

    # -- what the steps are made of ------------------------------------------------------------------------------

    async def _submit_all(self, messages: list[ScheduleMessageItem], **settings: int) -> None:
        async with self._scheduler(**settings) as scheduler:
            for at in range(0, len(messages), 500):
                await scheduler.submit_messages(messages[at : at + 500])

    async def _time_of(self, label: str, mark: str, count: int) -> float:
        """Seconds from submitting so many users' messages until each has this mark."""
        sent = [_message(label, f"other-{number}") for number in range(count)]
        names = {message.item_id for message in sent}
        async with self._scheduler() as scheduler:
            await scheduler.server()
            begun = time.time()
            await scheduler.submit_messages(sent)
        await until(lambda: names <= self._marks(mark).keys(), seconds=120)
        return max(at for name, at in self._marks(mark).items() if name in names) - begun

    def _marks(self, mark: str) -> dict[str, float]:
        """When each message began, or was done, by its item id; as the worker wrote it down."""
        path: Path = self.folder / mark
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return {name: float(at) for name, at in (line.split() for line in lines if line.count(" ") == 1)}

    def _left(self, label: str) -> int:
        lane = f"memsched:{{{label}}}"
        return int(self.redis.xlen(f"{lane}:stream")) + int(self.redis.hget(f"{lane}:parked", "") or 0)


def _message(label: str, user: str, cube: str = "home") -> ScheduleMessageItem:
    return ScheduleMessageItem(user_id=user, mem_cube_id=cube, label=label, content=BODY)
