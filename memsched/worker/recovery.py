"""Recovery: claims messages whose worker is silent or dead, and promotes delayed ones that are due.

By the clock, or sooner at a notification.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from memsched.broker.keys import Lane
from memsched.queue.delayed import promote
from memsched.queue.delivery import Entry
from memsched.queue.leases import Leases
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.handlers import Orchestrator
from memsched.worker.pipeline import Request

_PROMOTE_EVERY_SECONDS = 30.0
"""A notification tells at once when something becomes due earlier; this is for those that were lost."""
_AT_MOST_EVERY_SECONDS = 0.02
_CLAIM_AT_ONCE = 100


@dataclass(slots=True)
class LaneSchedule:
    """The next times at which a lane wants a look, in loop.time()."""

    lane: Lane
    claim_at: float = 0.0
    promote_at: float = 0.0
    cursor: str = "-"
    notified_since: set[str] = field(default_factory=set)
    """What we were notified of after the look was sent whose answer is awaited: the answer may not know of it yet."""

    def claimed(self, now: float, cursor: str, taken: int, asked: int, min_idle_ms: int) -> None:
        """A claim was made: again at once while there may be more, otherwise after a quarter of the min idle."""
        if "claimable" in self.notified_since:
            self.notified("claimable")
            return
        self.cursor = cursor
        if taken == asked or cursor != "-":
            self.claim_at = now
        else:
            self.claim_at = now + claim_interval(min_idle_ms) * random.uniform(0.9, 1.1)

    def promoted(self, now: float, until_next: float | None) -> None:
        later = _PROMOTE_EVERY_SECONDS * random.uniform(0.9, 1.1)
        if until_next == 0.0 or "due" in self.notified_since:
            self.promote_at = now
        else:
            self.promote_at = now + max(_AT_MOST_EVERY_SECONDS, min(later, later if until_next is None else until_next))

    def notified(self, kind: str) -> None:
        """Another process says that there is something to pick up."""
        self.notified_since.add(kind)
        if kind == "claimable":
            self.claim_at = 0.0
            self.cursor = "-"
        else:
            self.promote_at = 0.0


def claim_interval(min_idle_ms: int) -> float:
    """Seconds between two looks for idle messages of a label."""
    return min(15.0, max(0.25, min_idle_ms / 4000))


class Recovery:
    """Looks after all lanes of this worker, each when it is due."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        leases: Leases,
        dispatcher: Dispatcher,
        clock: Callable[[], float],
        on_claimed: Callable[[list[Entry]], None],
        max_per_user: int,
    ) -> None:
        self._orchestrator = orchestrator
        self._leases = leases
        self._dispatcher = dispatcher
        self._clock = clock
        self._on_claimed = on_claimed
        self._max_per_user = max_per_user
        self._schedules: dict[Lane, LaneSchedule] = {}

    def add(self, lane: Lane) -> None:
        self._schedules[lane] = LaneSchedule(lane)

    def notified(self, kind: str, lane: Lane) -> bool:
        """Take a notification; whether it is about a lane of ours."""
        schedule = self._schedules.get(lane)
        if schedule is not None:
            schedule.notified(kind)
        return schedule is not None

    def look_everywhere(self) -> None:
        """Notifications may have been missed."""
        for schedule in self._schedules.values():
            schedule.notified("claimable")
            schedule.notified("due")

    def next_at(self) -> float:
        """When a look is due, in loop.time()."""
        times = [schedule.promote_at for schedule in self._schedules.values()]
        if self._dispatcher.room > 0:
            times += [schedule.claim_at for schedule in self._schedules.values() if self._room_of(schedule) > 0]
        return min(times, default=math.inf)

    def requests(self, now: float) -> Iterable[Request]:
        """The looks that are due now."""
        # What a waiting read may bring is not kept free: one that waits for good must not keep us from claiming.
        room = self._dispatcher.room
        if room > 0:
            due = [schedule for schedule in self._schedules.values() if schedule.claim_at <= now]
            due = [schedule for schedule in due if self._room_of(schedule) > 0]
            for schedule in due:
                asked = min(_CLAIM_AT_ONCE, max(1, room // len(due)), self._room_of(schedule))
                yield self._claim(schedule, asked)
        for schedule in self._schedules.values():
            if schedule.promote_at <= now:
                yield self._promote(schedule)

    def _room_of(self, schedule: LaneSchedule) -> int:
        return self._dispatcher.room_of(schedule.lane.label)

    def _claim(self, schedule: LaneSchedule, asked: int) -> Request:
        min_idle_ms = self._orchestrator.min_idle_ms(schedule.lane.label)

        def receive(reply: tuple[str, list[Entry]]) -> None:
            cursor, taken = reply
            schedule.claimed(self._clock(), cursor, len(taken), asked, min_idle_ms)
            self._on_claimed(taken)

        schedule.notified_since.discard("claimable")
        return Request(self._leases.claim(schedule.lane, min_idle_ms, asked, schedule.cursor), receive)

    def _promote(self, schedule: LaneSchedule) -> Request:
        def receive(until_next: float | None) -> None:
            schedule.promoted(self._clock(), until_next)

        schedule.notified_since.discard("due")
        return Request(promote(schedule.lane, self._max_per_user), receive)
