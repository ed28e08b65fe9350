"""Status of the queue: what is waiting, running, orphaned, delayed and dead; exact, O(1) per lane, never by scanning.

All numbers are of one instant (on a Cluster, each lane's are of one).

backlog    all unfinished messages: in the stream, parked, delayed, or on their way through a Cluster's outbox
running    delivered to a worker that lives (handled now, or next in line inside it)
remaining  backlog - running
orphaned   delivered to a worker that died, and not yet claimed by another; part of remaining
delayed    waiting for its time; part of remaining
parked     beyond what one user may have in the stream at once; part of remaining
ready      backlog without what is not due yet: what workers are needed for
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import GROUP, NOBODY, Keys, Lane
from memsched.broker.scripting import Argument, Command, as_int, as_ms, as_text, as_texts, script
from memsched.config_file import suggestion
from memsched.errors import ServerRefused
from memsched.queue.lanes import ask_every_lane
from memsched.queue.pause import paused_command
from memsched.queue.workers import WorkerInfo, WorkerRegistry
from memsched.settings import Settings
from memsched.task_status import TaskState

_STATUS = script("status")
_UNFINISHED = script("unfinished")


@dataclass(slots=True)
class Counts:
    """Numbers of messages of one label, or of all."""

    backlog: int = 0
    remaining: int = 0
    running: int = 0
    orphaned: int = 0
    delayed: int = 0
    parked: int = 0
    ready: int = 0
    dead: int = 0
    oldest_seconds: float | None = None
    """For how long the oldest message has been in its stream; None if there is none."""

    def add(self, other: Counts) -> None:
        for name in ("backlog", "remaining", "running", "orphaned", "delayed", "parked", "ready", "dead"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        ages = [age for age in (self.oldest_seconds, other.oldest_seconds) if age is not None]
        self.oldest_seconds = max(ages, default=None)


@dataclass(slots=True)
class Status:
    """The state of everything at (nearly) one instant."""

    total: Counts = field(default_factory=Counts)
    labels: dict[str, Counts] = field(default_factory=dict)
    workers: list[WorkerInfo] = field(default_factory=list)
    paused: frozenset[str] = frozenset()
    """Labels of which workers take nothing (see pause.py)."""
    held: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many messages of which label each live worker holds: those that it runs, and the next ones in line."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Labels of which nothing can be said, and why: the server refused the question. They are not in the numbers."""

    @property
    def no_handler(self) -> dict[str, str]:
        """Labels that have messages and that no live worker has a handler for, with a sentence; {} where none lives."""
        living = [worker.about.get("labels", "") for worker in self.workers if worker.alive]
        if not living or not all(living):  # one of them has not told its labels yet
            return {}
        handled = f",{','.join(living)},"  # a label may have commas in it
        told = {}
        for label, counts in self.labels.items():
            runs = counts.running > 0  # one that was registered since its worker's last heartbeat
            if counts.backlog and not runs and f",{label}," not in handled and label not in self.paused:
                meant = suggestion(label, set(",".join(living).split(",")))
                told[label] = f"No worker has a handler for the label {label!r}{meant or '.'}"
        return told

    def scaling(self, labels: frozenset[str] | None = None) -> dict[str, Any]:
        """``{"ready", "backlog", "delayed", "oldest_age_seconds"}`` of some labels, or of all: for an autoscaler.

        Raises ServerRefused if nothing can be said of one of them: 0 would end the workers.
        """
        for label, why in self.unknown.items():
            if labels is None or label in labels:
                raise ServerRefused(f"{why} (label {label!r}: nobody can say how much is ready)")
        total = Counts()
        for label, counts in self.labels.items():
            if labels is None or label in labels:
                total.add(counts)
        return {
            "ready": total.ready,
            "backlog": total.backlog,
            "delayed": total.delayed,
            "oldest_age_seconds": total.oldest_seconds or 0.0,
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Status:
        """What ``as_dict`` returned. What is not there is 0."""
        workers = [
            WorkerInfo(
                worker.get("worker_id", ""),
                worker.get("silent_ms", 0),
                True,
                {name: str(value) for name, value in worker.items()},
            )
            for worker in given.get("workers", ())
        ]
        labels = {label: _counts(counts) for label, counts in given.get("labels", {}).items()}
        paused = frozenset(given.get("paused", ()))
        return cls(_counts(given), labels, workers, paused, unknown=dict(given.get("unknown", {})))

    def as_dict(self) -> dict[str, Any]:
        """``{"backlog": n, ..., "labels": {label: {...}}, "paused": [label, ...], "workers": [...]}``, fit for JSON.

        And ``unknown`` and ``no_handler``, where there is any.
        """
        return {
            **asdict(self.total),
            "labels": {label: asdict(counts) for label, counts in self.labels.items()},
            "paused": sorted(self.paused),
            "workers": [
                {"worker_id": worker.worker_id, "silent_ms": worker.silent_ms, **worker.as_told}
                for worker in self.workers
                if worker.alive
            ],
            **({"unknown": dict(self.unknown)} if self.unknown else {}),
            **({"no_handler": no_handler} if (no_handler := self.no_handler) else {}),
        }


def _counts(given: Mapping[str, Any]) -> Counts:
    return Counts(**{each.name: given[each.name] for each in fields(Counts) if each.name in given})


@dataclass(frozen=True, slots=True)
class _LaneStatus:
    in_stream: int
    owners: dict[str, int]
    delayed: int
    due: int
    parked: int
    dead: int
    outbox: int
    oldest_seconds: float | None


def _lane_status(lane: Lane) -> Command[_LaneStatus]:
    def parse(reply: Any) -> _LaneStatus:
        in_stream, held, delayed, due, parked, dead, outbox, age = reply
        owners = {as_text(consumer): int(count) for consumer, count in held or ()}
        age_text = as_text(age)
        seconds = float(age_text) / 1000 if age_text else None
        return _LaneStatus(in_stream, owners, delayed, due, parked, dead, outbox, seconds)

    keys = [lane.stream, lane.delayed, lane.dead, lane.parked, lane.outbox, lane.oldest]
    return _STATUS.command(keys, [GROUP], parse)


async def read_status(server: Server, keys: Keys, settings: Settings, *, labels: Iterable[str] = ()) -> Status:
    """The status of all labels that ever had a message or a worker, and of ``labels`` in any case."""
    registry = WorkerRegistry(server, keys, settings.worker_ttl_seconds)
    # Before the lanes too: on a Cluster, where no one instant holds for all, a worker that says goodbye in between
    # must not look as if it had died.
    before = registry.listed(await server.run(registry.listing())) if server.clustered else []
    given = [lane for label in labels for lane in keys.lanes_of(label)]
    also = [paused_command(keys), *registry.listing()]
    lanes, (paused, *listing) = await ask_every_lane(server, keys, _lane_status, these_too=given, and_ask=also)
    workers = registry.listed(listing)
    live = {worker.worker_id for worker in (*before, *workers) if worker.alive}
    status = Status(workers=await registry.with_abouts(workers), paused=answered(paused))
    for lane, found in lanes.items():
        if isinstance(found, Exception):
            status.unknown[lane.label] = str(found)
            continue
        # An entry that was deleted by hand stays in somebody's hands for a moment.
        running = min(found.in_stream, sum(count for owner, count in found.owners.items() if owner in live))
        dead_ones = sum(count for owner, count in found.owners.items() if owner not in live and owner != NOBODY)
        backlog = found.in_stream + found.outbox + found.parked + found.delayed
        counts = Counts(
            backlog=backlog,
            remaining=backlog - running,
            running=running,
            orphaned=min(found.in_stream - running, dead_ones),
            delayed=found.delayed,
            parked=found.parked,
            ready=backlog - found.delayed + found.due,
            dead=found.dead,
            oldest_seconds=found.oldest_seconds,
        )
        for owner in live & found.owners.keys():
            held = status.held.setdefault(owner, {})
            held[lane.label] = held.get(lane.label, 0) + found.owners[owner]
        status.labels.setdefault(lane.label, Counts()).add(counts)
        status.total.add(counts)
    return status


async def count_unfinished(server: Server, keys: Keys, user_id: str, put_off: Container[str] = ()) -> int:
    """How many messages of one user are unfinished, in all lanes; those that a plain XADD brought are nobody's.

    Args:
        put_off: labels of which what is not due yet is left out.
    """

    def ask(lane: Lane) -> Command[int]:
        arguments: list[Argument] = [user_id, int(lane.label not in put_off)]
        return _UNFINISHED.command([*lane.kept, lane.outbox], arguments, as_int)

    lanes, _ = await ask_every_lane(server, keys, ask)
    return sum(map(answered, lanes.values()))


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Where one message is. Times are ms since the epoch; 0 is not yet, or not known."""

    state: TaskState
    submitted_ms: int
    started_ms: int
    finished_ms: int
    due_ms: int
    worker: str
    error: str
    """The last one; "cancelled" for a message that was taken off the queue."""
    failures: int = 0
    """How often its handler failed, and it was tried again."""
    result: Any = None
    """What its handler told of it (``context.result``), any JSON value; None: nothing."""


def task_status(lane: Lane, user_id: str, item_id: str) -> Command[TaskStatus | None]:
    """The status of one message; None if it is not known (any more)."""

    def parse(reply: Any) -> TaskStatus | None:
        texts = as_texts(reply) if not isinstance(reply, dict) else [as_text(t) for p in reply.items() for t in p]
        found = dict(zip(texts[::2], texts[1::2], strict=True))
        if "state" not in found:
            return None
        times = {name: as_ms(found.get(name)) for name in ("submitted", "started", "finished", "due")}
        return TaskStatus(
            TaskState(found["state"]),
            times["submitted"],
            times["started"],
            times["finished"],
            times["due"],
            found.get("worker", ""),
            found.get("error", ""),
            int(found.get("failures") or 0),
            json.loads(found["result"]) if "result" in found else None,
        )

    return Command(("HGETALL", lane.task(user_id, item_id)), parse)
