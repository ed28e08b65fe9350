"""Metrics: what a worker counts. It is added to the statistics in the server, once a second at most, and told to a sink
of another package (MEMSCHED_METRICS) as it happens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from memsched.broker.keys import Keys, Lane
from memsched.counting import Counts, counted
from memsched.extensions import extension
from memsched.logs import exception_field, get_logger
from memsched.queue.statistics import count_command
from memsched.worker.call import Call
from memsched.worker.pipeline import Request

log = get_logger(__name__)

_TOLD_EVERY_SECONDS = 60.0
_SENT_EVERY_SECONDS = 1.0


class MetricsSink(Protocol):
    """Takes what is counted and measured. It is called on the event loop of the worker: it must not wait.

    Labels are ``label``, of which there are as many as handlers, and ``outcome``; never ids of users or messages.
    """

    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None:
        """So many more of something: ``messages``, by ``outcome`` (done, retried, dead, lost, recovered)."""

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """One measurement: ``handler_seconds``, of a handler's call by ``outcome`` (done, error, timeout, ...)."""


class Statistics:
    """What is to be added to the statistics in the server, until it is there.

    A process that dies takes a second of it along. What was sent when the server went away is sent again, and may count
    twice.
    """

    def __init__(self, keys: Keys) -> None:
        self._all = keys.statistics
        self._counts: dict[str, Counts] = {}
        self._not_before: dict[str, float] = {}
        self._next_at = 0.0

    def of(self, lane: Lane) -> Counts:
        """What is to be added to a lane's."""
        found = self._counts.get(lane.stats)
        if found is None:
            found = self._counts[lane.stats] = Counts()
        return found

    @property
    def pending(self) -> bool:
        """Whether there is something of the lanes that is not in the server, and was not refused there."""
        return not self._counts.keys() <= self._not_before.keys()

    def next_at(self, *, at_once: bool = False) -> float:
        """When something is to be sent, in loop.time()."""
        earliest = min((self._not_before.get(stats, 0.0) for stats in self._counts), default=math.inf)
        return earliest if at_once else max(self._next_at, earliest)

    def requests(self, now: float, *, at_once: bool = False, anyway: bool = False) -> Iterable[Request]:
        """What is due.

        Args:
            at_once: without regard to the second.
            anyway: something is sent anyway; without it, what the process counted beside messages waits.
        """
        if now < self._next_at and not at_once:
            return
        due = {stats: each for stats, each in self._counts.items() if self._not_before.get(stats, 0.0) <= now}
        if counted and (due or anyway) and self._not_before.get(self._all, 0.0) <= now:
            due[self._all] = self._counts.setdefault(self._all, Counts())
            due[self._all].update(counted.taken())
        if due:
            self._next_at = now + _SENT_EVERY_SECONDS
        for stats, counts in due.items():
            sent = counts.numbers()
            put_off = partial(self._not_before.__setitem__, stats)
            yield Request(count_command(stats, sent), partial(self._sent, stats, counts, sent), put_off)

    def _sent(self, stats: str, counts: Counts, sent: Mapping[str, int], _: Any) -> None:
        counts.sent(sent)
        self._not_before.pop(stats, None)
        if not counts:
            self._counts.pop(stats, None)


class Metrics:
    """Counts for the statistics, and tells a sink; lets none of its errors reach a message."""

    def __init__(self, statistics: Statistics, sink: MetricsSink | None = None) -> None:
        self.statistics = statistics
        self._sink = sink
        self._told_at = -_TOLD_EVERY_SECONDS

    @classmethod
    def by(cls, name: str, keys: Keys) -> Metrics:
        """With the sink that MEMSCHED_METRICS names. Raises SettingsError."""
        sink = extension("MEMSCHED_METRICS", "memsched.metrics", name, ("count", "observe"), {}) if name else None
        return cls(Statistics(keys), sink)

    def messages(self, lane: Lane, outcome: str, count: int = 1) -> None:
        """Some messages of a lane came to this outcome."""
        if not count:
            return
        self.statistics.of(lane)[f"outcome:{outcome}"] += count
        if self._sink is not None:
            self._safely(self._sink.count, "messages", count, {"label": lane.label, "outcome": outcome})

    def called(self, lane: Lane, calls: Iterable[Call]) -> None:
        """Handlers' calls with messages of this lane have ended."""
        now = time.time()
        runs, waits = [], []
        for call in calls:
            started = call.deliveries[0].started
            if not started:  # its process ended before it ran
                continue
            runs.append(now - started)
            for delivery in call.deliveries:
                waits.append(started - int(delivery.entry_id.partition("-")[0]) / 1000)
            if self._sink is not None:
                labels = {"label": lane.label, "outcome": str(call.result)}
                self._safely(self._sink.observe, "handler_seconds", now - started, labels)
        if runs:
            counts = self.statistics.of(lane)
            counts.observe("run", *runs)
            counts.observe("wait", *waits)

    def _safely(self, tell: Callable[..., Any], *args: Any) -> None:
        try:
            tell(*args)
        except Exception as error:  # noqa: BLE001 -- whatever it raises: a message does not fail for it
            now = time.monotonic()
            if now - self._told_at >= _TOLD_EVERY_SECONDS:
                self._told_at = now
                log.warning(
                    "the metrics sink failed; what it was told is lost to it, and messages go on",
                    action="metrics.failed",
                    **exception_field(error),
                )
