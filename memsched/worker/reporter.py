"""From the outcome of a handler call to the commands that tell the server, within the budgets of failures."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from memsched.broker.keys import Keys, Lane
from memsched.broker.scripting import Command
from memsched.logs import exception_field, log_fields
from memsched.messages import ScheduleLogForWebItem
from memsched.queue.delivery import Delivery, Malformed
from memsched.queue.events import append_event
from memsched.queue.leases import Leases
from memsched.queue.outcomes import Burial, Outcomes, Retry
from memsched.settings import Settings
from memsched.worker.call import Run, Verdict
from memsched.worker.context import describe_error

log = structlog.get_logger(__name__)
T = TypeVar("T")

_PER_COMMAND = 500
"""Messages in one script call; a longer one would hold up the server for everyone."""


@dataclass(slots=True)
class Tally:
    """What this worker did since its start, in messages."""

    done: int = 0
    retried: int = 0
    dead: int = 0
    lost: int = 0
    recovered: int = 0

    def as_fields(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in self.__slots__}


@dataclass(slots=True, eq=False)
class Report:
    """One command about some deliveries, to be repeated until the server has answered it."""

    command: Command[list[str]]
    deliveries: list[Delivery]
    what: str
    batch: list[Delivery] = field(default_factory=list)
    """For a command that does all or nothing: what to give back when it did nothing."""


@dataclass(slots=True)
class _LaneOutcomes:
    done: list[Delivery] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    burials: list[Burial] = field(default_factory=list)
    released: list[Delivery] = field(default_factory=list)


class Reporter:
    """Decides what becomes of the messages of calls that ended."""

    def __init__(self, settings: Settings, keys: Keys, leases: Leases, outcomes: Outcomes, *, clustered: bool) -> None:
        self._settings = settings
        self._keys = keys
        self._leases = leases
        self._outcomes = outcomes
        self._clustered = clustered

    def reports(self, runs: Iterable[Run]) -> list[Report]:
        """The commands for these calls, as few as there can be."""
        lanes: dict[Lane, _LaneOutcomes] = {}
        reports: list[Report] = []
        for run in runs:
            lane = run.deliveries[0].lane
            found = lanes.get(lane)
            if found is None:
                found = lanes[lane] = _LaneOutcomes()
            self._judge(run, lane, found, reports)
        for lane, found in lanes.items():
            for part in _parts(found.done):
                reports.append(Report(self._outcomes.settle(lane, part), part, "done"))
            for retries in _parts(found.retries):
                deliveries = [retry.delivery for retry in retries]
                reports.append(Report(self._outcomes.retry(lane, retries), deliveries, "retried"))
            for burials in _parts(found.burials):
                buried = [burial.delivery for burial in burials if isinstance(burial.delivery, Delivery)]
                reports.append(Report(self._outcomes.bury(lane, burials), buried, "dead"))
            reports += self.releases(found.released)
        return reports

    def releases(self, deliveries: Iterable[Delivery]) -> list[Report]:
        """Hand messages back without using up an attempt."""
        lanes: dict[Lane, list[Delivery]] = {}
        for delivery in deliveries:
            lanes.setdefault(delivery.lane, []).append(delivery)
        return [self._release(lane, part) for lane, found in lanes.items() for part in _parts(found)]

    def _release(self, lane: Lane, deliveries: list[Delivery]) -> Report:
        command = self._leases.release(lane, [delivery.entry_id for delivery in deliveries])
        return Report(Command(command.args, lambda _: [], command.script), deliveries, "released")

    def malformed(self, entries: Iterable[Malformed]) -> list[Report]:
        """What cannot be read goes to the dead letters."""
        lanes: dict[Lane, list[Burial]] = {}
        for entry in entries:
            log.error(
                "an entry is no message; it goes to the dead letters",
                action="message.malformed",
                label=entry.lane.label,
                entry_id=entry.entry_id,
                reason=entry.reason,
            )
            lanes.setdefault(entry.lane, []).append(Burial(entry, "malformed", entry.reason, {}))
        return [
            Report(self._outcomes.bury(lane, part), [], "dead")
            for lane, burials in lanes.items()
            for part in _parts(burials)
        ]

    def crashed_too_often(self, delivery: Delivery) -> bool:
        return delivery.attempts["crashes"] >= self._settings.max_crashes and delivery.suspect

    def poisonous(self, deliveries: list[Delivery]) -> list[Report]:
        """Messages whose process died too often go to the dead letters."""
        lanes: dict[Lane, list[Burial]] = {}
        for delivery in deliveries:
            attempts = delivery.attempts
            error = f"its process died {attempts['crashes']} times while it ran; last in {delivery.previous_owner}"
            log.error(
                "a message whose process died too often goes to the dead letters",
                action="message.dead",
                reason="crashes",
                **log_fields(delivery.message),
                error=error,
            )
            lanes.setdefault(delivery.lane, []).append(Burial(delivery, "crashes", error, attempts))
        return [
            Report(
                self._outcomes.bury(lane, part),
                [b.delivery for b in part if isinstance(b.delivery, Delivery)],
                "dead",
            )
            for lane, burials in lanes.items()
            for part in _parts(burials)
        ]

    def event(self, item: ScheduleLogForWebItem) -> Command[Any]:
        """Append to the events that people look at, of which only the newest are kept."""
        return append_event(self._keys, item, maxlen=self._settings.events_maxlen)

    def _judge(self, run: Run, lane: Lane, found: _LaneOutcomes, reports: list[Report]) -> None:
        context = run.context
        if context is None and run.verdict is Verdict.DONE:
            found.done += run.kept
            return
        decisions = context.decisions if context else {}
        kept = run.kept
        decided = {delivery for delivery in kept if delivery in decisions}
        rest = [delivery for delivery in kept if delivery not in decided]
        follow_ups = context.follow_ups if context else []
        if run.verdict is Verdict.DONE and follow_ups:
            if len(kept) < len(run.deliveries):
                found.released += kept  # what they led to cannot be told apart from what was lost: all of it again
                return
            command = self._outcomes.conclude(lane, kept, rest, follow_ups, through_outbox=self._clustered)
            reports.append(Report(command, rest, "done", batch=kept))
        elif run.verdict is Verdict.DONE:
            found.done += rest
        elif run.verdict is Verdict.ERROR:
            assert run.error is not None
            for delivery in rest:
                self._failed(delivery, "errors", self._settings.max_errors, describe_error(run.error), run, found)
        elif run.verdict is Verdict.TIMEOUT:
            error = describe_error(run.error) if run.error else "timeout"
            for delivery in rest:
                self._failed(delivery, "timeouts", self._settings.max_timeouts, error, run, found)
        else:
            found.released += kept
            return
        for delivery, decision in decisions.items():
            if delivery.lost:
                continue
            attempts = delivery.attempts
            if decision.delay_ms is None:
                log.error(
                    "the handler gave a message up; it goes to the dead letters",
                    action="message.dead",
                    reason="rejected",
                    **log_fields(delivery.message),
                    error=decision.error,
                )
                found.burials.append(Burial(delivery, "rejected", decision.error, attempts))
            else:
                attempts["deferrals"] += 1
                found.retries.append(Retry(delivery, decision.delay_ms, attempts, decision.error))

    def _failed(self, delivery: Delivery, kind: str, most: int, error: str, run: Run, found: _LaneOutcomes) -> None:
        attempts = delivery.attempts
        attempts[kind] += 1
        if attempts[kind] > most:
            log.error(
                "a message failed too often; it goes to the dead letters",
                action="message.dead",
                reason=kind,
                **log_fields(delivery.message),
                error=error,
                attempts=attempts,
                **exception_field(run.error),
            )
            found.burials.append(Burial(delivery, kind, error, attempts))
            return
        delay_ms = self.retry_delay_ms(attempts[kind])
        log.warning(
            "a message failed; it runs again",
            action="message.retried",
            reason=kind,
            **log_fields(delivery.message),
            error=error,
            attempts=attempts,
            delay_ms=delay_ms,
            **exception_field(run.error if attempts[kind] == 1 else None),
        )
        found.retries.append(Retry(delivery, delay_ms, attempts, error))

    def retry_delay_ms(self, failures: int) -> int:
        """Exponential backoff with full jitter: uniform between 0 and the bound, which doubles with each failure."""
        bound = min(self._settings.retry_cap_ms, self._settings.retry_base_ms * 2 ** min(failures - 1, 40))
        return random.randint(0, bound)


def _parts(items: list[T]) -> Iterable[list[T]]:
    return (items[at : at + _PER_COMMAND] for at in range(0, len(items), _PER_COMMAND))
