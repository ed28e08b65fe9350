"""Leases: who owns a message, by claiming, renewing, handing back. Every method is one script, as a command to send.

A lease is an entry in the pending list of the stream's group. Who takes it over after the min idle time (the
visibility timeout) fences its former owner off: every script checks who owns what it changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from memsched.broker.keys import GROUP, NOBODY, Keys, Lane
from memsched.broker.scripting import Command, as_int, as_text, as_texts, script
from memsched.queue.delivery import Delivery, Entry, read_entry

SCAN = 1000
"""Pending entries that one claim looks at; the cursor goes on from there the next time."""

_BEGIN = script("begin")
_CHECKPOINT = script("checkpoint")
_CLAIM = script("claim")
_END_PROBATION = script("end_probation")
_HANDOVER = script("handover")
_MARK = script("mark")
_READ = script("read")
_RELEASE = script("release")
_REMOVE_CONSUMER = script("remove_consumer")
_RENEW = script("renew")


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

    def claim(self, lane: Lane, min_idle_ms: int, most: int, cursor: str) -> Command[tuple[str, list[Entry]]]:
        """Take over at most ``most`` messages that are idle for ``min_idle_ms``; returns the next cursor and them."""

        def parse(reply: Any) -> tuple[str, list[Entry]]:
            taken = [
                read_entry(lane, entry_id, raw, count=count, previous_owner=owner.decode(), idle_ms=idle)
                for entry_id, raw, count, owner, idle in reply[1]
            ]
            return as_text(reply[0]), taken

        return _CLAIM.command([lane.stream], [GROUP, self.worker_id, NOBODY, min_idle_ms, most, SCAN, cursor], parse)

    def renew(self, lane: Lane, entry_ids: Sequence[str]) -> Command[list[str]]:
        """Renew their leases: their idle time starts anew; returns the ids that were lost."""
        return _RENEW.command([lane.stream], [GROUP, self.worker_id, *entry_ids], as_texts)

    def begin(self, delivery: Delivery, *, alone: bool) -> Command[tuple[bool, Any]]:
        """Say that a message with a past starts; returns whether it is ours, and its checkpoint.

        Args:
            alone: whether no other suspect runs in this process.
        """

        def parse(reply: Any) -> tuple[bool, Any]:
            return bool(reply[0]), json.loads(reply[1]) if reply[1] else None

        lane = delivery.lane
        return _BEGIN.command(
            [lane.stream, delivery.task_key], [GROUP, self.worker_id, delivery.entry_id, int(alone)], parse
        )

    def end_probation(self, delivery: Delivery) -> Command[list[str]]:
        """Say that a suspect has run long enough for others to run beside it; returns its id if it was lost."""
        return _END_PROBATION.command([delivery.lane.stream], [GROUP, self.worker_id, delivery.entry_id], as_texts)

    def mark(self, lane: Lane, deliveries: Sequence[Delivery]) -> Command[list[str]]:
        """Write that they are running in their status; returns the ids that were lost."""
        args: list[str | int] = [GROUP, self.worker_id]
        for delivery in deliveries:
            args += (delivery.entry_id, int(delivery.started * 1000))
        return _MARK.command([lane.stream, *(delivery.task_key for delivery in deliveries)], args, as_texts)

    def checkpoint(self, lane: Lane, deliveries: Sequence[Delivery], data: str) -> Command[list[str]]:
        """Keep ``data`` (JSON) with all of them, or with none; returns the ids that were lost."""
        keys = [lane.stream, *(delivery.task_key for delivery in deliveries)]
        args = [GROUP, self.worker_id, data, *(delivery.entry_id for delivery in deliveries)]
        return _CHECKPOINT.command(keys, args, as_texts)

    def release(self, lane: Lane, entry_ids: Sequence[str] | None) -> Command[int]:
        """Hand them back (None: all that this worker holds in the lane) without using up an attempt."""
        args = [GROUP, self.worker_id, NOBODY, self._keys.wake, lane.name]
        args += ["all"] if entry_ids is None else ["these", *entry_ids]
        return _RELEASE.command([lane.stream], args, as_int)

    def handover(self, lane: Lane) -> Command[int]:
        """This worker is dead: make what it held claimable at once."""
        return _HANDOVER.command([lane.stream], [GROUP, self.worker_id, self._keys.wake, lane.name], as_int)

    def remove_consumer(self, lane: Lane) -> Command[int]:
        """Remove this worker's consumer if it owns nothing; returns how much it still owns."""
        return _REMOVE_CONSUMER.command([lane.stream], [GROUP, self.worker_id], as_int)
