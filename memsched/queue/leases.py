"""Leases: who owns a message, by claiming, renewing, handing back. Every method is one script, as a command to send.

A lease is an entry in the pending list of the stream's group. Who takes it over after the min idle time (the
visibility timeout) fences its former owner off: every script checks who owns what it changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from memsched.broker.keys import GROUP, NOBODY, Keys, Lane
from memsched.broker.scripting import Command, as_int, as_text, as_texts, script
from memsched.queue.crash_account import crashes_of
from memsched.queue.delivery import Delivery, Entry, read_entry

_BEGIN = script("begin")
_CHECKPOINT = script("checkpoint")
_CLAIM = script("claim")
_HANDOVER = script("handover")
_MARK = script("mark")
_READ = script("read")
_RELEASE = script("release")
_REMOVE_CONSUMER = script("remove_consumer")
_RENEW = script("renew")


class Begin(IntEnum):
    """What came of saying that a message begins."""

    LOST = 0
    """It belongs to another worker."""
    BEGUN = 1
    HANDED_BACK = 2
    """It has crashed more often than was known: whoever takes it next knows."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Another consumer that holds messages of a lane.

    Args:
        heard_ms: when it was last heard of, by the server's clock. It does not move while it is silent.
    """

    name: str
    heard_ms: int
    min_idle_ms: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought, and who holds what it did not bring."""

    now_ms: int
    """The server's time."""
    more: bool
    holders: list[Holder]
    taken: list[Entry]


class Leases:
    """The leases of one worker, or (handover, remove_consumer) those of a dead one."""

    def __init__(self, keys: Keys, worker_id: str) -> None:
        self._keys = keys
        self.worker_id = worker_id

    def read(self, lanes: Sequence[Lane], count: int, block_ms: int | None = None) -> tuple[Any, ...]:
        """XREADGROUP of new messages, at most ``count`` of each lane, as plain arguments."""
        waiting = () if block_ms is None else ("BLOCK", block_ms)
        return (
            "XREADGROUP",
            "GROUP",
            GROUP,
            self.worker_id,
            "COUNT",
            count,
            *waiting,
            "STREAMS",
            *(lane.stream for lane in lanes),
            *(">" for _ in lanes),
        )

    def read_one_of_each(
        self, lanes: Sequence[Lane], most: int, most_of_label: Mapping[str, int]
    ) -> Command[tuple[Any, list[str], list[str]]]:
        """Lease at most one new message of each lane, within both limits.

        Returns what XREADGROUP does, the streams that were not looked at, and those that refuse to be read.
        """

        def parse(reply: Any) -> tuple[Any, list[str], list[str]]:
            return reply[0], as_texts(reply[1]), as_texts(reply[2])

        labels = list(dict.fromkeys(lane.label for lane in lanes))
        budgets = [most_of_label[label] for label in labels]
        numbers = [labels.index(lane.label) + 1 for lane in lanes]
        args: list[str | int] = [GROUP, self.worker_id, most, len(budgets), *budgets, *numbers]
        return _READ.command([lane.stream for lane in lanes], args, parse)

    def claim(
        self, lane: Lane, min_idle_ms: int, most: int, *, watched: Sequence[Holder] = (), dead: Sequence[str] = ()
    ) -> Command[Claim]:
        """Take over at most ``most`` messages that were handed back, or whose worker is dead or silent.

        Args:
            min_idle_ms: this worker's own, which counts for what it holds.
            watched: those of which silence was seen for long enough; they are taken from if they did not move since.
            dead: workers whose registration ran out.
        """

        def parse(reply: Any) -> Claim:
            now_ms, more, holders, rows = reply
            taken = [
                read_entry(lane, entry_id, raw, count=count, previous_owner=owner.decode(), idle_ms=idle)
                for entry_id, raw, count, owner, idle in rows
            ]
            return Claim(now_ms, bool(more), [Holder(as_text(name), *rest) for name, *rest in holders], taken)

        args: list[str | int] = [GROUP, self.worker_id, NOBODY, min_idle_ms, most, len(dead), *dead]
        for holder in watched:
            args += (holder.name, holder.heard_ms)
        return _CLAIM.command(_ownership(lane), args, parse)

    def renew(self, lane: Lane, entry_ids: Sequence[str]) -> Command[list[str]]:
        """Renew their leases: their idle time starts anew; returns the ids that were lost."""
        return _RENEW.command([lane.stream], [GROUP, self.worker_id, *entry_ids], as_texts)

    def begin(self, delivery: Delivery, trial_at: int) -> Command[tuple[Begin, Any]]:
        """Say that a message with a past starts; returns what came of it, and its checkpoint.

        Args:
            trial_at: crashes from which on a message runs on trial (see crash_account).
        """

        def parse(reply: Any) -> tuple[Begin, Any]:
            return Begin(reply[0]), json.loads(reply[1]) if reply[1] else None

        lane = delivery.lane
        counted_before = delivery.crashes - crashes_of(delivery.count)
        keys = [lane.stream, delivery.task_key, lane.deaths]
        args = (self.worker_id, delivery.entry_id, NOBODY, self._keys.wake, lane.name, counted_before, trial_at)
        return _BEGIN.command(keys, [GROUP, *args], parse)

    def mark(self, lane: Lane, deliveries: Sequence[Delivery]) -> Command[list[str]]:
        """Write that they are running in their status; returns the ids that were lost."""
        args: list[str | int] = [GROUP, self.worker_id]
        for delivery in deliveries:
            args += (delivery.entry_id, max(0, int((time.time() - delivery.started) * 1000)))
        return _MARK.command([lane.stream, *(delivery.task_key for delivery in deliveries)], args, as_texts)

    def checkpoint(self, lane: Lane, deliveries: Sequence[Delivery], data: str) -> Command[list[str]]:
        """Keep ``data`` (JSON) with all of them, or with none; returns the ids that were lost."""
        return self._keep(lane, deliveries, "checkpoint", data)

    def result(self, lane: Lane, deliveries: Sequence[Delivery], data: str) -> Command[list[str]]:
        """The same with what became of them."""
        return self._keep(lane, deliveries, "result", data)

    def _keep(self, lane: Lane, deliveries: Sequence[Delivery], field: str, data: str) -> Command[list[str]]:
        keys = [lane.stream, *(delivery.task_key for delivery in deliveries)]
        args = [GROUP, self.worker_id, field, data, *(delivery.entry_id for delivery in deliveries)]
        return _CHECKPOINT.command(keys, args, as_texts)

    def release(self, lane: Lane, entry_ids: Sequence[str]) -> Command[int]:
        """Hand them back without using up an attempt."""
        return self._release(lane, "these", *entry_ids)

    def release_held(self, lane: Lane) -> Command[int]:
        """Hand back what this worker holds in the lane, five hundred at most; returns how many those were."""
        return self._release(lane, "held")

    def _release(self, lane: Lane, *which: str) -> Command[int]:
        args = [GROUP, self.worker_id, NOBODY, self._keys.wake, lane.name, *which]
        return _RELEASE.command([lane.stream], args, as_int)

    def handover(self, lane: Lane) -> Command[int]:
        """This worker was seen to die: what it holds is claimable at once; returns how much that is."""
        return _HANDOVER.command(_ownership(lane), [GROUP, self.worker_id, self._keys.wake, lane.name], as_int)

    def remove_consumer(self, lane: Lane, *, dead: bool) -> Command[int]:
        """Remove this worker's consumer if it owns nothing; returns how much it still owns.

        Args:
            dead: whether it died, which counts against what it had begun; otherwise it says goodbye.
        """
        return _REMOVE_CONSUMER.command(_ownership(lane), [GROUP, self.worker_id, int(dead)], as_int)


def _ownership(lane: Lane) -> list[str]:
    return [lane.stream, lane.leases, lane.deaths]
