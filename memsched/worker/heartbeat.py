"""The heartbeat: renews this worker's leases, learns which ones it has lost, and says that the worker lives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from memsched.broker.keys import Lane
from memsched.queue.delivery import Delivery
from memsched.queue.leases import Leases
from memsched.queue.workers import Beat, WorkerRegistry
from memsched.settings import Settings
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.handlers import Orchestrator
from memsched.worker.pipeline import Request, one_way
from memsched.worker.reporter import Tally

_MARK_AFTER_SECONDS = 0.05
"""A message is written down as running when it has run for so long; most are done before that."""

_RENEWED_AT_ONCE, _MARKED_AT_ONCE = 250, 100
"""Leases that one script renews, or marks: nobody else is served meanwhile."""


class Heartbeat:
    """The signs of life of a worker and of what it runs, each when it is due.

    A lease is renewed every third of its min idle: two missed renewals still leave a margin.
    """

    def __init__(
        self,
        settings: Settings,
        orchestrator: Orchestrator,
        leases: Leases,
        registry: WorkerRegistry,
        dispatcher: Dispatcher,
        tally: Tally,
        on_lost: Callable[[Iterable[Delivery]], None],
        on_dead: Callable[[Sequence[str]], None],
        about: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._leases = leases
        self._registry = registry
        self._dispatcher = dispatcher
        self._tally = tally
        self._told: dict[str, str | int] = {}
        self._on_lost = on_lost
        self._on_dead = on_dead
        self._about = about
        self._renewed_at: dict[Lane, float] = {}
        self._marks_at: dict[Lane, float] = {}
        """When to mark again in lanes where it was refused."""
        self._beat_at = 0.0

    def add(self, lane: Lane, now: float) -> None:
        self._renewed_at[lane] = now

    def notified(self, kind: str, lane: Lane) -> bool:
        """A message of this lane was cancelled; whether one of ours may be it, which a renewal at once will tell."""
        if lane in self._renewed_at:
            self._renewed_at[lane] = -math.inf
        return lane in self._renewed_at

    def next_at(self, now: float) -> float:
        """When something is due, in loop.time()."""
        if not self._dispatcher.held:
            return self._beat_at
        renewal = min(last + self._interval(lane) for lane, last in self._renewed_at.items())
        unmarked = any(
            not delivery.marked and not delivery.lost
            for call in self._dispatcher.running()
            for delivery in call.deliveries
        )
        return min(self._beat_at, renewal, now + _MARK_AFTER_SECONDS if unmarked else math.inf)

    def renew_now(self) -> None:
        """The server was away: others wait only a moment for the owners of what they might claim."""
        self._renewed_at = dict.fromkeys(self._renewed_at, -math.inf)
        self._beat_at = 0.0

    def requests(self, now: float) -> Iterable[Request]:
        """What is due now."""
        yield from self._renewals(now)
        yield from self._marks(now)
        if now >= self._beat_at:
            self._beat_at = now + self._settings.beat_seconds
            yield from self._beats()

    def _interval(self, lane: Lane) -> float:
        return self._orchestrator.min_idle_ms(lane.label) / 3000

    def _renewals(self, now: float) -> Iterable[Request]:
        due: dict[Lane, list[Delivery]] = {
            lane: [] for lane, last in self._renewed_at.items() if now - last >= self._interval(lane)
        }
        if not due:
            return
        for delivery in self._dispatcher.held.values():
            if delivery.lane in due:
                due[delivery.lane].append(delivery)
        for lane, deliveries in due.items():
            self._renewed_at[lane] = now
            for at in range(0, len(deliveries), _RENEWED_AT_ONCE):
                part = deliveries[at : at + _RENEWED_AT_ONCE]
                command = self._leases.renew(lane, [delivery.entry_id for delivery in part])
                yield Request(command, self._lost_of(part))

    def _marks(self, now: float) -> Iterable[Request]:
        """The status says ``in_progress`` for those that have been running for a moment."""
        before = time.time() - _MARK_AFTER_SECONDS
        self._marks_at = {lane: at for lane, at in self._marks_at.items() if at > now}
        lanes: dict[Lane, list[Delivery]] = {}
        for call in self._dispatcher.running():
            for delivery in call.deliveries:
                if not delivery.marked and not delivery.lost and 0 < delivery.started <= before:
                    lanes.setdefault(delivery.lane, []).append(delivery)
        for lane, deliveries in lanes.items():
            if lane in self._marks_at:
                continue
            for at in range(0, len(deliveries), _MARKED_AT_ONCE):
                part = deliveries[at : at + _MARKED_AT_ONCE]
                yield Request(
                    self._leases.mark(lane, part), self._marked(part), partial(self._marks_at.__setitem__, lane)
                )

    def _marked(self, deliveries: Sequence[Delivery]) -> Callable[[Sequence[str]], None]:
        def receive(lost_ids: Sequence[str]) -> None:
            self._lost_of(deliveries)(lost_ids)
            self._dispatcher.mark(deliveries)

        return receive

    def _lost_of(self, deliveries: Sequence[Delivery]) -> Callable[[Sequence[str]], None]:
        def receive(lost_ids: Sequence[str]) -> None:
            if lost_ids:
                lost = set(lost_ids)
                held = self._dispatcher.held
                # What was settled in the same round trip is gone too, but not lost.
                self._on_lost(
                    delivery
                    for delivery in deliveries
                    if delivery.entry_id in lost and held.get((delivery.lane.name, delivery.entry_id)) is delivery
                )

        return receive

    def _beats(self) -> Iterable[Request]:
        def receive(beat: Beat) -> None:
            self._on_dead(beat.dead)
            if beat.was_unlisted:  # others took it for dead, or somebody emptied the server
                self._told = {}
                self._beat_at = 0.0

        worker_id = self._leases.worker_id
        yield Request(self._registry.beat(worker_id), receive)
        telling: dict[str, str | int] = {**self._about, "labels": ",".join(sorted(self._orchestrator.handlers))}
        telling |= self._tally.as_numbers()
        if telling != self._told:
            self._told = telling
            yield one_way(self._registry.tell(worker_id, telling))
