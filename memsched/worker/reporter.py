"""The reporter: from how handler calls ended to the commands that tell the server, as few as there can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memsched.broker.keys import Keys, Lane
from memsched.broker.scripting import Command
from memsched.logs import exception_field, get_logger
from memsched.queue.delivery import Delivery, Malformed, Newer
from memsched.queue.events import Cube, event_commands
from memsched.queue.follow_ups import FollowUp
from memsched.queue.leases import Leases
from memsched.queue.outbox import Batch
from memsched.queue.outcomes import GiveUp, Outcomes, Retry
from memsched.settings import Settings
from memsched.worker.call import Call, CallResult
from memsched.worker.pipeline import Request
from memsched.worker.retries import RetryPolicy, is_servers_trouble

log = get_logger(__name__)
T = TypeVar("T")

_PER_COMMAND = 50
"""Messages in one script call; a longer one would hold up the server for everyone."""
MOST_AT_ONCE = 50
_CHARACTERS_AT_ONCE = 256 * 1024
"""Follow-ups that are submitted in the script that acknowledges their parent; more of them are staged first."""
_PAGES_PER_TURN = 16
_BUDGET_OF = {CallResult.ERROR: "errors", CallResult.TIMEOUT: "timeouts"}


@dataclass(slots=True)
class Tally:
    """Counters of what this worker did since its start, in messages."""

    done: int = 0
    retried: int = 0
    dead: int = 0
    lost: int = 0
    recovered: int = 0

    def as_numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True, eq=False)
class Report:
    """One command about some deliveries, to be repeated until the server has answered it."""

    lane: Lane
    command: Command[list[str]]
    deliveries: list[Delivery]
    what: str
    batch: list[Delivery] = field(default_factory=list)
    """For a command that does all or nothing: what to hand back when it did nothing."""
    given_up: Sequence[GiveUp] = ()
    """Of dead letters, why."""
    pages: Sequence[Command[list[str]]] = ()
    """Commands that must have been answered before it."""
    unanswered: deque[Command[list[str]]] = field(default_factory=deque)
    then: Sequence[Report] = ()
    """What is to be reported once this one has done something: what a handler decided about single messages. Earlier,
    those would be no longer ours, and the follow-ups would be lost with them."""
    not_before: float = 0.0
    """loop.time() before which it is not sent again: the server refused it. Its neighbours do not wait for it."""

    def __post_init__(self) -> None:
        self.stage_again()

    def stage_again(self) -> None:
        self.unanswered = deque(self.pages)

    @property
    def messages(self) -> list[Delivery]:
        """All that wait for it."""
        return self.batch or self.deliveries

    def put_off(self, until: float) -> None:
        self.not_before = until

    def requests(self, receive: Callable[[Any], None]) -> Iterable[Request]:
        """What is to be said next: some of its pages, and after the last of them the command itself."""
        for page in list(self.unanswered)[:_PAGES_PER_TURN]:
            yield Request(page, lambda _, page=page: self.unanswered.remove(page), self.put_off)  # type: ignore[misc]
        if len(self.unanswered) <= _PAGES_PER_TURN:
            yield Request(self.command, receive, self.put_off)


@dataclass(slots=True)
class _LaneOutcomes:
    done: list[Delivery] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    given_up: list[GiveUp] = field(default_factory=list)
    released: list[Delivery] = field(default_factory=list)
    concluded: list[Report] = field(default_factory=list)
    """Those with follow-ups, each with a report of its own."""

    def extend(self, other: _LaneOutcomes) -> None:
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))

    def add(self, outcome: Retry | GiveUp) -> None:
        if isinstance(outcome, Retry):
            self.retries.append(outcome)
        else:
            self.given_up.append(outcome)


class Reporter:
    """Makes the reports of calls that ended, and of messages that never get as far as a call."""

    def __init__(self, settings: Settings, keys: Keys, leases: Leases, outcomes: Outcomes, *, clustered: bool) -> None:
        self._settings = settings
        self._keys = keys
        self._leases = leases
        self._outcomes = outcomes
        self._clustered = clustered
        self.retries = RetryPolicy(settings)

    def reports(self, lanes: Iterable[tuple[Lane, Sequence[Call]]]) -> list[Report]:
        """The commands for these calls, as few as there can be."""
        reports: list[Report] = []
        for lane, calls in lanes:
            found = _LaneOutcomes()
            for call in calls:
                if call.context is None and call.result is CallResult.DONE:
                    found.done += call.kept
                else:
                    found.extend(self._judged(call, lane))
            reports += found.concluded
            for part in _parts(found.done):
                reports.append(Report(lane, self._outcomes.settle(lane, part), part, "done"))
            reports += self._decisions(lane, found)
            reports += self.releases(found.released)
        return reports

    def _decisions(self, lane: Lane, found: _LaneOutcomes) -> list[Report]:
        """Of messages that are not done: retries and dead letters."""
        reports = []
        for retries in _parts(found.retries):
            deliveries = [retry.delivery for retry in retries]
            reports.append(Report(lane, self._outcomes.retry(lane, retries), deliveries, "retried"))
        return reports + self._dead_letters(found.given_up)

    def _judged(self, call: Call, lane: Lane) -> _LaneOutcomes:
        """What becomes of each message of a call; of one whose outcome cannot be told, what becomes of a failure.

        Each call is judged by itself: whatever a handler left behind, its neighbours are reported, and nothing stays
        in this worker's hands without an outcome.
        """
        try:
            return self._outcome_of(call, lane)
        except BaseException as error:  # noqa: BLE001 -- whatever a handler did to its context, or raised
            log.error(
                "the outcome of a call cannot be reported; its messages have failed",
                action="report.failed",
                label=call.label,
                count=len(call.kept),
                **exception_field(error),
            )
            failed = _LaneOutcomes()
            for delivery in call.kept:
                failed.add(self.retries.after_failure(delivery, "errors", error))
            return failed

    def _outcome_of(self, call: Call, lane: Lane) -> _LaneOutcomes:
        found = _LaneOutcomes()
        context = call.context
        decisions = context.decisions if context else {}
        kept = call.kept
        rest = [delivery for delivery in kept if delivery not in decisions]
        follow_ups = context.follow_ups if context else []
        if call.result is CallResult.DONE and follow_ups:
            if len(kept) < len(call.deliveries):
                found.released += kept  # what they led to cannot be told apart from what was lost: all of it again
                return found
            report = self._conclude(lane, kept, rest, follow_ups)
            decided = _LaneOutcomes()
            for delivery, decision in decisions.items():
                decided.add(self.retries.as_decided(delivery, decision))
            report.then = self._decisions(lane, decided)
            found.concluded.append(report)
            return found
        if call.result is CallResult.DONE:
            found.done += rest
        elif call.result is CallResult.ERROR and is_servers_trouble(call.error):
            for delivery in rest:
                found.add(self.retries.after_servers_trouble(delivery, call.error))
        elif call.result in _BUDGET_OF:
            assert call.error is not None
            for delivery in rest:
                found.add(self.retries.after_failure(delivery, _BUDGET_OF[call.result], call.error))
        else:
            found.released += kept
            return found
        for delivery, decision in decisions.items():
            if not delivery.lost:
                found.add(self.retries.as_decided(delivery, decision))
        return found

    def _conclude(
        self, lane: Lane, given: list[Delivery], done: list[Delivery], follow_ups: Sequence[FollowUp]
    ) -> Report:
        characters = sum(sum(map(len, follow_up.fields)) for follow_up in follow_ups)
        if not self._clustered and len(follow_ups) <= MOST_AT_ONCE and characters <= _CHARACTERS_AT_ONCE:
            return Report(lane, self._outcomes.conclude(lane, given, done, follow_ups), done, "done", batch=given)
        batch = Batch.of(follow_ups)
        pages = [self._outcomes.stage(lane, batch, page, given) for page in range(len(batch.pages))]
        command = self._outcomes.conclude_staged(lane, given, done, batch)
        return Report(lane, command, done, "done", batch=given, pages=pages)

    def releases(self, deliveries: Iterable[Delivery]) -> list[Report]:
        """Hand messages back without using up an attempt."""
        lanes: dict[Lane, list[Delivery]] = {}
        for delivery in deliveries:
            lanes.setdefault(delivery.lane, []).append(delivery)
        return [self._release(lane, part) for lane, found in lanes.items() for part in _parts(found)]

    def _release(self, lane: Lane, deliveries: list[Delivery]) -> Report:
        command = self._leases.release(lane, [delivery.entry_id for delivery in deliveries])
        return Report(lane, Command(command.args, lambda _: [], command.script), deliveries, "released")

    def left_alone(self, entry: Newer) -> Report:
        """What only newer workers can read is handed back."""
        command = self._leases.release(entry.lane, [entry.entry_id])
        return Report(entry.lane, Command(command.args, lambda _: [], command.script), [], "released")

    def malformed(self, entries: Iterable[Malformed]) -> list[Report]:
        """What cannot be read goes to the dead letters."""
        given_up = []
        for entry in entries:
            log.error(
                "an entry is no message; it goes to the dead letters",
                action="message.malformed",
                label=entry.lane.label,
                entry_id=entry.entry_id,
                reason=entry.reason,
            )
            given_up.append(GiveUp(entry, "malformed", entry.reason, {}))
        return self._dead_letters(given_up)

    def expired(self, deliveries: Iterable[Delivery]) -> list[Report]:
        """Messages whose turn came after their time go to the dead letters."""
        return self._dead_letters(self.retries.after_expiry(delivery) for delivery in deliveries)

    def poison(self, deliveries: Iterable[Delivery]) -> list[Report]:
        """Messages whose process died too often go to the dead letters."""
        return self._dead_letters(self.retries.after_crashes(delivery) for delivery in deliveries)

    def _dead_letters(self, given_up: Iterable[GiveUp]) -> list[Report]:
        lanes: dict[Lane, list[GiveUp]] = {}
        for one in given_up:
            lanes.setdefault(one.delivery.lane, []).append(one)
        reports = []
        for lane, found in lanes.items():
            for part in _parts(found):
                deliveries = [one.delivery for one in part if isinstance(one.delivery, Delivery)]
                reports.append(Report(lane, self._outcomes.dead_letter(lane, part), deliveries, "dead", given_up=part))
        return reports

    def event(self, cube: Cube, fields: Sequence[str]) -> list[Command[Any]]:
        """Append to the events that people look at."""
        return event_commands(self._keys, self._settings, cube, fields)


def by_lane(calls: Iterable[Call]) -> list[tuple[Lane, list[Call]]]:
    """The calls of each lane."""
    lanes: dict[str, tuple[Lane, list[Call]]] = {}
    for call in calls:
        lane = call.deliveries[0].lane
        found = lanes.get(lane.stream)
        if found is None:
            found = lanes[lane.stream] = (lane, [])
        found[1].append(call)
    return list(lanes.values())


def _parts(items: list[T]) -> Iterable[list[T]]:
    return (items[at : at + _PER_COMMAND] for at in range(0, len(items), _PER_COMMAND))
