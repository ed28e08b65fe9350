"""The producer: submits messages, idempotently, durably before the call returns, up to the lane's limit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys, Lane
from memsched.broker.scripting import Argument, Command, as_texts, script
from memsched.errors import QueueFull
from memsched.logs import get_logger, log_fields
from memsched.messages import ScheduleMessageItem, size_of
from memsched.pace import beside_the_loop
from memsched.queue.follow_ups import FollowUp
from memsched.queue.lanes import register_lanes, register_lanes_command
from memsched.redaction import Secrets, redacted_message, refuse_secret_ids
from memsched.settings import Settings
from memsched.task_status import SubmitResult

log = get_logger(__name__)

_SUBMIT = script("submit")
_MESSAGES_PER_SCRIPT = 50
_SCRIPTS_PER_ROUND_TRIP = 20
_REGISTERED_FOR_SECONDS = 30.0
_CHARACTERS_PER_SCRIPT = 1024 * 1024
_NO_LIMIT = 2**53

_Numbered = tuple[int, ScheduleMessageItem | FollowUp, Sequence[str]]
"""A message with its place in the caller's list, and its fields."""


class Producer:
    """Submits messages. Idempotent: a message whose item_id its user submitted already is not submitted again."""

    def __init__(self, server: Server, keys: Keys, settings: Settings) -> None:
        self._server = server
        self._keys = keys
        self._settings = settings
        self._registered: dict[str, float] = {}

    async def submit(self, messages: Sequence[ScheduleMessageItem], *, delay_ms: int = 0) -> list[SubmitResult]:
        """Submit; one result per message, in order, nothing raised for a full lane.

        Raises InvalidMessage (nothing was submitted) and ServerUnreachable (some may have been: submit the same
        messages again).

        Args:
            delay_ms: how long the messages wait before they may run.
        """
        how = self._settings.secrets if self._settings.memory else "keep"
        for message in messages:
            refuse_secret_ids(message, how)
        plain, wires = await beside_the_loop(sum(map(size_of, messages)), self._prepared, messages, how)
        numbered = [(number, message, wire) for number, (message, wire) in enumerate(zip(messages, wires, strict=True))]
        for message, each in zip(messages, plain, strict=True):
            if how == "drop" and each is not message:
                log.info(
                    "what holds a secret in a message was dropped, as MEMSCHED_SECRETS=drop says",
                    action="secrets.dropped",
                    **log_fields(each),
                )
        outcomes = await self._submit(numbered, delay_ms, self._settings.max_backlog)
        return [SubmitResult(message.item_id, outcomes[number]) for number, message in enumerate(messages)]

    def _prepared(
        self, messages: Sequence[ScheduleMessageItem], how: Secrets
    ) -> tuple[list[ScheduleMessageItem], list[list[str]]]:
        """The messages without secrets, and in wire form."""
        limit = self._settings.max_message_bytes
        for message in messages:
            if size_of(message) > limit:  # to look through it for secrets takes long
                message.to_wire(limit)
        plain = [redacted_message(message, how) for message in messages]
        return plain, [each.to_wire(limit) for each in plain]

    async def forward(self, follow_ups: Sequence[FollowUp]) -> None:
        """Submit follow-ups whatever their lanes hold. Raises as ``submit``."""
        by_delay: dict[int, list[_Numbered]] = {}
        for number, follow_up in enumerate(follow_ups):
            by_delay.setdefault(follow_up.delay_ms, []).append((number, follow_up, follow_up.fields))
        for delay_ms, numbered in by_delay.items():
            await self._submit(numbered, delay_ms, _NO_LIMIT)

    async def _submit(self, numbered: Iterable[_Numbered], delay_ms: int, limit: int) -> dict[int, str]:
        by_lane: dict[Lane, list[_Numbered]] = {}
        for one in numbered:
            message = one[1]
            lane = self._keys.lane(message.label, message.user_id, message.mem_cube_id)
            by_lane.setdefault(lane, []).append(one)
        await self._register(by_lane)
        parts = [(lane, part) for lane, group in by_lane.items() for part in _parts(group)]
        outcomes: dict[int, str] = {}
        for at in range(0, len(parts), _SCRIPTS_PER_ROUND_TRIP):
            together = parts[at : at + _SCRIPTS_PER_ROUND_TRIP]
            for (_, part), reply in zip(together, await self._sent(together, delay_ms, limit), strict=True):
                outcomes.update(zip((number for number, _, _ in part), answered(reply), strict=True))
        return outcomes

    async def submit_or_raise(
        self, messages: Sequence[ScheduleMessageItem], *, delay_ms: int = 0
    ) -> list[SubmitResult]:
        """Submit; raises QueueFull, with all results in it, if not every message was accepted."""
        results = await self.submit(messages, delay_ms=delay_ms)
        for message, result in zip(messages, results, strict=True):
            if not result.accepted:
                lane = self._keys.lane(message.label, message.user_id, message.mem_cube_id)
                wait = self._settings.queue_full_retry_after_seconds
                raise QueueFull(lane.name, self._settings.max_backlog, wait, results)
        return results

    async def _sent(self, parts: Sequence[tuple[Lane, list[_Numbered]]], delay_ms: int, limit: int) -> list[Any]:
        """The replies to these parts. While the server works on one, the next is made."""

        def commands() -> Iterator[Command[Any]]:
            # Said again each time, for next to nothing: the server may have been emptied since they were registered.
            yield register_lanes_command(self._keys, [lane for lane, _ in parts])
            for lane, part in parts:
                yield self._command(lane, part, delay_ms, limit)

        async def send() -> list[Any]:
            if len(parts) == 1 and len(parts[0][1]) == 1:  # as requests do, many at once
                return await self._server.run_shared([*commands()])
            return await self._server.run(commands())

        _, *replies = await self._server.persistently(send)
        return replies

    def _command(
        self,
        lane: Lane,
        messages: Iterable[_Numbered],
        delay_ms: int,
        limit: int,
    ) -> Command[list[str]]:
        keys = [*lane.kept]
        args: list[Argument] = [limit, self._settings.max_per_user, self._keys.wake, lane.name]
        for _, message, fields in messages:
            keys.append(lane.task(message.user_id, message.item_id))
            args += (message.user_id, max(0, delay_ms), len(fields))
            args += fields
        return _SUBMIT.command(keys, args, as_texts)

    async def _register(self, lanes: Iterable[Lane]) -> None:
        """A lane is in the set of lanes before it holds its first message, or nobody would see it."""
        now = time.monotonic()
        stale = [lane for lane in lanes if self._registered.get(lane.name, -1e9) < now - _REGISTERED_FOR_SECONDS]
        if stale:
            await register_lanes(self._server, self._keys, stale)
            self._registered.update({lane.name: now for lane in stale})


def _parts(group: list[_Numbered]) -> Iterable[list[_Numbered]]:
    """Of a size that does not hold up the server for everyone: neither in messages nor in characters."""
    part: list[_Numbered] = []
    characters = 0
    for numbered in group:
        part.append(numbered)
        characters += sum(map(len, numbered[2]))
        if len(part) >= _MESSAGES_PER_SCRIPT or characters >= _CHARACTERS_PER_SCRIPT:
            yield part
            part, characters = [], 0
    if part:
        yield part
