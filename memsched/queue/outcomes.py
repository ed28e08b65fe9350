"""The outcomes of messages that ran: acknowledged, acknowledged with follow-ups, retried, or dead-lettered.

One script each, and each is fenced: it checks the ownership of every message itself, and returns the ids that were
lost; to those nothing was done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from memsched.broker.keys import GROUP, Keys, Lane
from memsched.broker.scripting import Argument, Command, as_texts, script
from memsched.queue.delayed import delayed_member
from memsched.queue.delivery import Delivery, Malformed
from memsched.queue.follow_ups import FollowUp
from memsched.queue.outbox import Batch

_CONCLUDE = script("conclude")
_DEAD_LETTER = script("dead_letter")
_RETRY = script("retry")
_SETTLE = script("settle")
_STAGE = script("stage")
_STAGED_SECONDS = 3600
"""For so long a server that does not answer may keep a worker from concluding before all has to be staged again."""
NOT_STAGED = [""]
_REFUSING_LANE = re.compile(r"\(refused by the lane (\S+)\)")
_ERROR_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry: a message that is to run again after ``delay_ms``."""

    delivery: Delivery
    delay_ms: int
    attempts: dict[str, int]
    error: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A message that is given up: it goes to the dead letters."""

    delivery: Delivery | Malformed
    reason: str
    """``malformed``, ``errors``, ``timeouts``, ``crashes``, ``rejected`` or ``expired``."""
    error: str
    attempts: dict[str, int]


def refusing_lane_in(error: str) -> str | None:
    """The name of the lane that refused a follow-up, if that is what an error of ``conclude`` tells."""
    found = _REFUSING_LANE.search(error)
    return found and found[1]


class Outcomes:
    """The outcomes that one worker reports."""

    def __init__(self, keys: Keys, worker_id: str, task_ttl_seconds: int, max_per_user: int) -> None:
        self._keys = keys
        self._worker_id = worker_id
        self._ttl = task_ttl_seconds
        self._max_per_user = max_per_user

    def settle(self, lane: Lane, deliveries: Sequence[Delivery]) -> Command[list[str]]:
        """They are done: acknowledge and delete them."""
        keys = [*lane.kept]
        args: list[Argument] = [GROUP, self._worker_id, self._ttl, self._max_per_user]
        for delivery in deliveries:
            keys.append(delivery.task_key)
            args += (delivery.entry_id, delivery.counted_user)
        return _SETTLE.command(keys, args, as_texts)

    def stage(self, lane: Lane, batch: Batch, page: int, given: Sequence[Delivery]) -> Command[list[str]]:
        """Put a page of the follow-ups of a call where ``conclude_staged`` finds them.

        Args:
            given: everything that the handler was given.
        """
        args: list[Argument] = [GROUP, self._worker_id, _STAGED_SECONDS, page, batch.pages[page]]
        args += [delivery.entry_id for delivery in given]
        return _STAGE.command([lane.stream, lane.batch(batch.name)], args, as_texts)

    def conclude_staged(
        self, lane: Lane, given: Sequence[Delivery], done: Sequence[Delivery], batch: Batch
    ) -> Command[list[str]]:
        """As ``conclude``, with follow-ups that were staged; returns NOT_STAGED, and did nothing, if some were not."""
        keys, args = self._acknowledged(lane, given, done)
        args += (batch.name, len(batch.pages), batch.count, "staged")
        return _CONCLUDE.command([*keys, lane.outbox, lane.batch(batch.name)], args, as_texts)

    def conclude(
        self, lane: Lane, given: Sequence[Delivery], done: Sequence[Delivery], follow_ups: Sequence[FollowUp]
    ) -> Command[list[str]]:
        """Acknowledge those in ``done`` and submit ``follow_ups``; or neither, if any message of ``given`` was lost."""
        keys, args = self._acknowledged(lane, given, done)
        for follow_up in follow_ups:
            target = self._keys.lane(follow_up.label, follow_up.user_id, follow_up.mem_cube_id)
            keys += (*target.kept, target.task(follow_up.user_id, follow_up.item_id))
            args += (follow_up.user_id, follow_up.delay_ms, target.name, len(follow_up.fields), *follow_up.fields)
        return _CONCLUDE.command([*keys, self._keys.lanes], [*args, "direct"], as_texts)

    def _acknowledged(
        self, lane: Lane, given: Sequence[Delivery], done: Sequence[Delivery]
    ) -> tuple[list[str], list[Argument]]:
        keys = [*lane.kept, *(delivery.task_key for delivery in done)]
        args: list[Argument] = [GROUP, self._worker_id, self._ttl, self._max_per_user, self._keys.wake, len(given)]
        args += [delivery.entry_id for delivery in given]
        args.append(len(done))
        for delivery in done:
            args += (delivery.entry_id, delivery.counted_user)
        return keys, args

    def retry(self, lane: Lane, retries: Sequence[Retry]) -> Command[list[str]]:
        """They leave the stream and come back when they are due."""
        keys = [*lane.kept]
        args: list[Argument] = [GROUP, self._worker_id, self._max_per_user, self._keys.wake, lane.name]
        for retry in retries:
            error = retry.error[:_ERROR_CHARACTERS]
            delivery = retry.delivery
            keys.append(delivery.task_key)
            member = delayed_member(delivery, retry.attempts, error)
            args += (delivery.entry_id, delivery.counted_user, retry.delay_ms, member, error)
        return _RETRY.command(keys, args, as_texts)

    def dead_letter(self, lane: Lane, given_up: Sequence[GiveUp]) -> Command[list[str]]:
        """They are given up: they go to the dead letters, with what is known about them."""
        keys = [*lane.kept]
        args: list[Argument] = [GROUP, self._worker_id, self._ttl, self._max_per_user]
        for one in given_up:
            delivery = one.delivery
            keys.append(delivery.task_key)
            args += (
                delivery.entry_id,
                delivery.counted_user,
                one.reason,
                one.error[:_ERROR_CHARACTERS],
                json.dumps(one.attempts),
                delivery.item_id,
                delivery.timestamp,
            )
        return _DEAD_LETTER.command(keys, args, as_texts)
