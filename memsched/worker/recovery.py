"""Recovery: claims messages whose worker is silent or dead, and promotes delayed ones that are due.

By the clock, or sooner at a notification. What was handed back, and what a dead worker held, is claimed at once. That a
worker is silent is believed only of one that this worker has watched: after an outage of the server, or a jump of its
clock, everybody looks silent, and gets the time to renew first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from memsched.broker.client import RECONNECT_CAP_SECONDS
from memsched.broker.keys import Lane
from memsched.queue.delayed import promote
from memsched.queue.delivery import Entry
from memsched.queue.leases import Claim, Holder, Leases
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.handlers import Orchestrator
from memsched.worker.pipeline import Request

_PROMOTE_EVERY_SECONDS = 30.0
"""A notification tells at once when something becomes due earlier; this is for those that were lost."""
_AT_MOST_EVERY_SECONDS = 0.02
_CLAIM_AT_ONCE = 100
_MARGIN_SECONDS = 0.25
"""For how much later than it is due a renewal may come."""
_SAME_MS = 20
"""Within which two times of the server's clock are the same one."""


@dataclass(slots=True)
class Watch:
    """For how long each consumer of a lane has not moved, by our own clock."""

    all_back_at: float = 0.0
    """loop.time() before which nobody counts as silent: the others may still be on their way back to the server. They
    renew as soon as they are there."""
    looked_at: float = -math.inf
    server_ms: int = 0
    still_since: dict[str, tuple[Holder, float]] = field(default_factory=dict)

    def looked(self, now: float, late: float, server_ms: int, holders: Iterable[Holder]) -> None:
        """Holders were seen, at this time by our clock and by the server's.

        Args:
            late: how much later than it was to be. Of a holder that may have had no time to renew meanwhile, because
                the server or we stood still, or the server's clock jumped, what was seen before does not count.
        """
        skew = abs((server_ms - self.server_ms) / 1000 - (now - self.looked_at))
        stood_still = max(late, skew)
        self.looked_at, self.server_ms = now, server_ms
        seen = {}
        for holder in holders:
            before, still_since = self.still_since.get(holder.name, (holder, now))
            moved = abs(before.heard_ms - holder.heard_ms) > _SAME_MS
            anew = moved or stood_still > max(_MARGIN_SECONDS, holder.min_idle_ms / 4000)
            seen[holder.name] = (holder, now if anew else still_since)
        self.still_since = seen

    def silent(self) -> list[Holder]:
        """Those that, when we looked last, had not moved for longer than it takes them to renew."""
        return [
            holder for holder, since in self.still_since.values() if self.looked_at >= self._silent_at(holder, since)
        ]

    def next_at(self) -> float:
        """The loop.time() at which to look again: another one is known to be silent, or is claimable."""
        times = []
        for holder, since in self.still_since.values():
            idle_at = self.looked_at + (holder.min_idle_ms - (self.server_ms - holder.heard_ms)) / 1000
            known_at = self._silent_at(holder, since)
            times.append(known_at if known_at > self.looked_at else idle_at)
        return min(times, default=math.inf)

    def _silent_at(self, holder: Holder, since: float) -> float:
        return max(self.all_back_at, since + holder.min_idle_ms / 3000 + _MARGIN_SECONDS)


@dataclass(slots=True)
class LaneSchedule:
    """The next times at which a lane wants a look, in loop.time()."""

    lane: Lane
    claim_at: float = 0.0
    promote_at: float = 0.0
    more: bool = True
    """There may be something to claim at once, if there is room."""
    watch: Watch = field(default_factory=Watch)
    notified_since: set[str] = field(default_factory=set)
    """What we were notified of after the look was sent whose answer is awaited: the answer may not know of it yet."""

    def claimed(self, now: float, claim: Claim, min_idle_ms: int) -> None:
        """A claim was made: again at once while there is more, otherwise after a quarter of the min idle."""
        interval = claim_interval(min_idle_ms)
        self.watch.looked(now, now - self.claim_at, claim.now_ms, claim.holders)
        self.more = claim.more or "claimable" in self.notified_since
        self.claim_at = now + interval * random.uniform(0.9, 1.1)
        if not self.more:
            self.claim_at = max(now + _MARGIN_SECONDS, min(self.claim_at, self.watch.next_at()))

    def promoted(self, now: float, until_next: float | None) -> None:
        later = _PROMOTE_EVERY_SECONDS * random.uniform(0.9, 1.1)
        if until_next == 0.0 or "due" in self.notified_since:
            self.promote_at = now
        else:
            self.promote_at = now + max(_AT_MOST_EVERY_SECONDS, min(later, later if until_next is None else until_next))

    def put_off_claim(self, until: float) -> None:
        """The server refused it: again at that time, in loop.time()."""
        self.claim_at, self.more = until, False

    def put_off_promotion(self, until: float) -> None:
        self.promote_at = until

    def notified(self, kind: str) -> None:
        """Another process says that there is something to pick up."""
        self.notified_since.add(kind)
        if kind == "claimable":
            self.more = True
        else:
            self.promote_at = 0.0


def claim_interval(min_idle_ms: int) -> float:
    """Seconds between two looks for idle messages of a label."""
    return min(15.0, max(0.25, min_idle_ms / 4000))


class Recovery:
    """Looks after all lanes of this worker, each when it is due.

    Args:
        outages: whether the server may have been away without our knowing (not the one inside this process).
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        leases: Leases,
        dispatcher: Dispatcher,
        clock: Callable[[], float],
        on_claimed: Callable[[list[Entry]], None],
        max_per_user: int,
        *,
        outages: bool = True,
    ) -> None:
        self._orchestrator = orchestrator
        self._leases = leases
        self._dispatcher = dispatcher
        self._clock = clock
        self._on_claimed = on_claimed
        self._max_per_user = max_per_user
        self._schedules: dict[Lane, LaneSchedule] = {}
        self._dead: Sequence[str] = ()
        self._others_need = RECONNECT_CAP_SECONDS + _MARGIN_SECONDS if outages else 0.0

    def add(self, lane: Lane) -> None:
        # We may have been started just after an outage that we know nothing of.
        self._schedules[lane] = LaneSchedule(lane, watch=Watch(self._clock() + self._others_need))

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

    def presume_dead(self, worker_ids: Sequence[str]) -> None:
        """The registration of these workers ran out while the server was up."""
        self._dead = worker_ids

    def server_is_gone(self) -> None:
        """What was seen before does not count after it."""
        for schedule in self._schedules.values():
            schedule.watch.still_since.clear()

    def server_is_back(self) -> None:
        """The others come back too, each when it tries the next time."""
        for schedule in self._schedules.values():
            schedule.watch = Watch(self._clock() + self._others_need)

    def next_at(self) -> float:
        """When a look is due, in loop.time()."""
        times = [min(schedule.promote_at, schedule.claim_at) for schedule in self._schedules.values()]
        if any(schedule.more and self._room_for(schedule) > 0 for schedule in self._schedules.values()):
            return 0.0
        return min(times, default=math.inf)

    def requests(self, now: float) -> Iterable[Request]:
        """The looks that are due now."""
        # What a waiting read may bring is not kept free: one that waits for good must not keep us from claiming.
        room = self._dispatcher.room
        due = [
            schedule
            for schedule in self._schedules.values()
            if schedule.claim_at <= now or (schedule.more and self._room_for(schedule) > 0)
        ]
        for schedule in due:
            # Without room too: who is silent must be known when there is room.
            asked = min(_CLAIM_AT_ONCE, max(1, room // len(due)), self._room_for(schedule))
            yield self._claim(schedule, max(0, asked))
        for schedule in self._schedules.values():
            if schedule.promote_at <= now:
                yield self._promote(schedule)

    def _room_for(self, schedule: LaneSchedule) -> int:
        """How many more messages of this lane the worker can use."""
        return min(self._dispatcher.room, self._dispatcher.room_of(schedule.lane.label))

    def _claim(self, schedule: LaneSchedule, asked: int) -> Request:
        min_idle_ms = self._orchestrator.min_idle_ms(schedule.lane.label)

        def receive(claim: Claim) -> None:
            schedule.claimed(self._clock(), claim, min_idle_ms)
            self._on_claimed(claim.taken)

        schedule.notified_since.discard("claimable")
        watched = schedule.watch.silent()
        command = self._leases.claim(schedule.lane, min_idle_ms, asked, watched=watched, dead=self._dead)
        return Request(command, receive, schedule.put_off_claim)

    def _promote(self, schedule: LaneSchedule) -> Request:
        def receive(until_next: float | None) -> None:
            schedule.promoted(self._clock(), until_next)

        schedule.notified_since.discard("due")
        return Request(promote(schedule.lane, self._max_per_user), receive, schedule.put_off_promotion)
