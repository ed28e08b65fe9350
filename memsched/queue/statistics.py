"""Statistics: what was submitted, what came of it, how long it waited and ran; in the server, so they outlive workers.

Each lane has a hash of totals, one for each minute (kept for 3 hours) and one for each ten minutes (kept for 3 days).
Fields are ``submitted``, ``outcome:<outcome>``, and of the histograms ``wait`` and ``run`` a field for each bucket and
``<name>:sum``, in microseconds. What processes count beside messages has hashes of the same form (``Keys.statistics``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Argument, Command, as_texts, script
from memsched.counting import BOUNDS
from memsched.queue.lanes import known_lanes

T = TypeVar("T")

_COUNT = script("count")
_AT_ONCE = 500
"""Hashes that are asked for in one round trip."""

MINUTES_KEPT, TEN_MINUTES_KEPT = 180, 3 * 24 * 60
"""For so many minutes back there are numbers of each minute, and of each ten."""


@dataclass(slots=True)
class Histogram:
    """Measurements in seconds, by buckets of doubling width."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum_seconds: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def add(self, name: str, number: int) -> None:
        """Add a field: the number of a bucket, or ``sum``, in microseconds. Those of a later version are nobody's."""
        if name == "sum":
            self.sum_seconds += number / 1_000_000
        elif name.isdecimal() and int(name) < len(self.buckets):
            self.buckets[int(name)] += number

    def merge(self, other: Histogram) -> None:
        """Add what another one has."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.sum_seconds += other.sum_seconds

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket in which this share of the measurements ends; None without any."""
        wanted, below = share * self.count, 0
        for number, bound in enumerate(BOUNDS):
            below += self.buckets[number]
            if below and below >= wanted:
                return float(bound)
        return math.inf if self.count else None


@dataclass(slots=True)
class LabelStatistics:
    """What was counted of one label.

    Attributes:
        submitted: messages that were accepted; what a foreign producer put in by plain XADD is not among them.
        outcomes: messages by what came of an attempt: done, retried, dead, released, lost, recovered.
        wait: from when they were in the stream to the begin of their handler.
        run: handler calls.
    """

    submitted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wait: Histogram = field(default_factory=Histogram)
    run: Histogram = field(default_factory=Histogram)

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what a hash holds. Fields of a later version are nobody's."""
        self.submitted += counts.get("submitted", 0)
        for name, number in counts.items():
            kind, _, rest = name.partition(":")
            if kind == "outcome":
                self.outcomes[rest] += number
            elif kind in ("wait", "run"):
                getattr(self, kind).add(rest, number)

    def merge(self, other: LabelStatistics) -> None:
        """Add what was counted of another label."""
        self.submitted += other.submitted
        self.outcomes += other.outcomes
        self.wait.merge(other.wait)
        self.run.merge(other.run)


def count_command(stats: str, counts: Mapping[str, int]) -> Command[Any]:
    """Add to a hash of totals, and to those of this minute and these ten."""
    args: list[Argument] = [part for name, number in counts.items() for part in (name, number)]
    return _COUNT.command([stats], args, lambda reply: reply)


def _read(key: str) -> Command[dict[str, int]]:
    def parse(reply: Any) -> dict[str, int]:
        texts = as_texts([part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply)
        return {name: int(number) for name, number in zip(texts[::2], texts[1::2], strict=True)}

    return Command(("HGETALL", key), parse)


async def read_statistics(server: Server, keys: Keys, *, minutes: int | None = None) -> dict[str, LabelStatistics]:
    """What was counted of each label.

    Args:
        minutes: only in the last so many (this one among them); beyond 180, in steps of ten, and at most 3 days.
            None: ever.
    """
    lanes = await known_lanes(server, keys)
    ends = [""] if minutes is None else _ends(await _minute(server), minutes)
    found = {lane.label: LabelStatistics() for lane in lanes}
    for label, counts in await _read_all(server, [(lane.label, lane.stats + end) for end in ends for lane in lanes]):
        found[label].add(counts)
    return found


async def read_minutes(
    server: Server, keys: Keys, minutes: int, label: str | None = None
) -> dict[int, LabelStatistics]:
    """What was counted in each of the last minutes (this one among them), by minutes since the epoch.

    Args:
        minutes: 180 at most.
        label: only of this one.
    """
    lanes = [lane for lane in await known_lanes(server, keys) if label is None or lane.label == label]
    now = await _minute(server)
    found = {minute: LabelStatistics() for minute in range(now - minutes + 1, now + 1)}
    for minute, counts in await _read_all(
        server, [(minute, f"{lane.stats}:{minute}") for minute in found for lane in lanes]
    ):
        found[minute].add(counts)
    return found


async def _read_all(server: Server, asked: Sequence[tuple[T, str]]) -> list[tuple[T, dict[str, int]]]:
    """What hashes hold, each with what it is asked for; without those that are another program's keys."""
    found: list[tuple[T, dict[str, int]]] = []
    for at in range(0, len(asked), _AT_ONCE):
        page = asked[at : at + _AT_ONCE]
        replies = await server.run([_read(key) for _, key in page])
        found += [
            (name, counts) for (name, _), counts in zip(page, replies, strict=True) if not isinstance(counts, Exception)
        ]
    return found


async def read_counts(server: Server, keys: Keys) -> dict[str, int]:
    """What the processes counted beside messages."""
    return await server.call(_read(keys.statistics))


def _ends(now: int, minutes: int) -> Iterable[str]:
    if minutes <= MINUTES_KEPT:
        return [f":{minute}" for minute in range(now - minutes + 1, now + 1)]
    first = now - min(minutes, TEN_MINUTES_KEPT) + 1
    return [f":ten:{ten}" for ten in range(first // 10, now // 10 + 1)]


async def _minute(server: Server) -> int:
    """Minutes since the epoch, by the server's clock."""
    seconds, _ = await server.execute("TIME")
    return int(seconds) // 60
