"""The context of a handler: follow-ups, checkpoints, single outcomes and events, beside what it returns."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from memsched.durations import Seconds, seconds_of
from memsched.errors import CallEnded, InvalidArgument, InvalidMessage, LeaseLost
from memsched.escaping import describe_error, sendable
from memsched.messages import MAX_MESSAGE_BYTES, ScheduleLogForWebItem, ScheduleMessageItem, messages_of
from memsched.queue.delivery import Delivery
from memsched.queue.follow_ups import FollowUp
from memsched.redaction import Secrets, redacted_message

_MAX_CHECKPOINT_CHARACTERS = 1024 * 1024


class LeaseHolder(Protocol):
    """Who holds the leases of a call's messages: the worker, as a context needs it. All raise LeaseLost."""

    async def save_checkpoint(self, deliveries: Sequence[Delivery], data: str) -> None: ...
    async def save_result(self, deliveries: Sequence[Delivery], data: str) -> None: ...
    async def renew_leases(self, deliveries: Sequence[Delivery]) -> None: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What a handler decided about one message: to retry it, or to give it up."""

    error: str
    delay_ms: int | None
    """After which it runs again; None gives it up."""


class HandlerContext:
    """The context of one handler call. Handlers with a second parameter get it.

    It ends with the call: what a thread or task asks for that the handler left behind raises CallEnded, and so does
    what a sync handler asks for after its timeout.

    deadline: time.time() at which the call is cancelled, None if there is no limit.
    """

    def __init__(self, deliveries: Sequence[Delivery], holder: LeaseHolder, timeout_seconds: float) -> None:
        self._deliveries = {id(delivery.message): delivery for delivery in deliveries}
        self._all = list(deliveries)
        self._holder = holder
        self.max_message_bytes = MAX_MESSAGE_BYTES
        self.secrets: Secrets = "keep"
        """What becomes of those in follow-ups."""
        self.deadline = time.time() + timeout_seconds if timeout_seconds else None
        self.follow_ups: list[FollowUp] = []
        self.cube: tuple[str, str] | None = None
        """Whose cube this call is about, and its owner's name of it, where known: its events are that cube's."""
        self.events: list[tuple[tuple[str, str], list[str]]] = []
        """In wire form: what a handler does to an item after it was told, changes nothing here."""
        self.decisions: dict[Delivery, Decision] = {}
        self._open = threading.Lock()
        self._ended = False

    def _end(self) -> None:
        """The call is over: what was asked for until now counts, and nothing more is accepted."""
        with self._open:
            self._ended = True

    @property
    def resume(self) -> Any:
        """What the last ``checkpoint`` of the message kept, when it ran before (here or in a worker that died).

        None otherwise. A message that ran before is always alone in its call.
        """
        return self._all[0].checkpoint

    @property
    def lost(self) -> bool:
        """Whether a message of this call belongs to another worker now. Threads cannot be cancelled: look here."""
        return any(delivery.lost for delivery in self._all)

    def submitted_ms(self, message: ScheduleMessageItem) -> int:
        """When it was submitted, or the message was whose follow-up it is, ms since the epoch by the server's clock."""
        return self._delivery_of(message).submitted_ms

    @property
    def last_submitted_ms(self) -> int:
        """The same of the last of this call's messages."""
        return max(delivery.submitted_ms for delivery in self._all)

    def submit(self, messages: ScheduleMessageItem | Iterable[ScheduleMessageItem], *, delay_ms: int = 0) -> None:
        """Submit follow-ups when this call has returned: together with its acknowledgement, or not at all.

        Raises InvalidMessage for what cannot be sent, and for a message of this call itself; then none is submitted.

        Args:
            delay_ms: before they may run.
        """
        # All of them are put into wire form first: what cannot be sent fails here, where its author sees it.
        delay = _whole_ms(delay_ms)
        origin = self.last_submitted_ms
        plain = [redacted_message(message, self.secrets) for message in messages_of(messages)]
        found = [FollowUp.of(message, delay, self.max_message_bytes, origin) for message in plain]
        with self._open:
            self._refuse_late()
            for follow_up in found:
                self._refuse_itself(follow_up)
            self.follow_ups += found

    def _refuse_itself(self, follow_up: FollowUp) -> None:
        """Submitted again while it runs, a message would be a duplicate of itself, and be dropped without a word."""
        itself = (follow_up.item_id, follow_up.label, follow_up.user_id)
        if any(itself == (one.item_id, one.lane.label, one.user_id) for one in self._all):
            raise InvalidMessage(
                f"item_id={follow_up.item_id} is the message that runs here. A follow-up needs an item_id of its own "
                "(model_copy keeps the old one); to run the message again, use retry."
            )

    def log(self, item: ScheduleLogForWebItem) -> None:
        """Tell people what happened to a memory (``show_web_logs``)."""
        if not isinstance(item, ScheduleLogForWebItem):
            raise InvalidMessage(f"expected ScheduleLogForWebItem, got {type(item).__name__}")
        try:
            fields = item.to_wire()
            "".join(fields).encode()  # as in submit: half a surrogate pair cannot be sent
        except ValueError as error:
            raise InvalidMessage(f"it cannot be sent ({error}).") from error
        with self._open:
            self._refuse_late()
            self.events.append((self.cube or (item.user_id, item.mem_cube_id), fields))

    def fail(self, message: ScheduleMessageItem, error: str | BaseException) -> None:
        """Give this message up when the call has returned, without any retry: it goes to the dead letters."""
        self._decide(message, Decision(_described(error), None))

    def retry(self, message: ScheduleMessageItem, delay: Seconds, error: str = "") -> None:
        """Run this message again later. It uses up none of its retries.

        Args:
            delay: seconds before it may run.
            error: the reason, for its status.
        """
        self._decide(message, Decision(_described(error), int(seconds_of("delay", delay) * 1000)))

    def _decide(self, message: ScheduleMessageItem, decision: Decision) -> None:
        delivery = self._delivery_of(message)
        with self._open:
            self._refuse_late()
            self.decisions[delivery] = decision

    async def checkpoint(self, data: Any, message: ScheduleMessageItem | None = None) -> None:
        """Keep progress (any JSON value) with a message, or with all of this call: ``resume`` of whoever goes on.

        Raises LeaseLost when a message belongs to another worker now; then nothing was kept.
        """
        text = _as_json(data, "a checkpoint")
        await self._holder.save_checkpoint(self._ours(message), text)

    async def result(self, data: Any, message: ScheduleMessageItem | None = None) -> None:
        """Tell what became of a message (any JSON value), or of all of this call: its status has it from then on
        (``get_task_status(...).result``), as long as it is kept.

        Raises LeaseLost when a message belongs to another worker now; then nothing was told.
        """
        text = _as_json(data, "a result")
        await self._holder.save_result(self._ours(message), text)

    def _ours(self, message: ScheduleMessageItem | None) -> Sequence[Delivery]:
        chosen = self._all if message is None else [self._delivery_of(message)]
        self._refuse_lost(chosen)
        self._refuse_late()
        return chosen

    async def renew(self) -> None:
        """Make sure, at the server, that the messages are still ours, before an effect that cannot be undone.

        Raises LeaseLost when one belongs to another worker now.
        """
        self._refuse_lost(self._all)
        self._refuse_late()
        await self._holder.renew_leases(self._all)

    def _refuse_lost(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.lost:
                raise LeaseLost(delivery.message.item_id)

    def _refuse_late(self) -> None:
        if self._ended:
            raise CallEnded(self._all[0].message.item_id)

    def _delivery_of(self, message: ScheduleMessageItem) -> Delivery:
        try:
            return self._deliveries[id(message)]
        except KeyError:
            what = f"item_id={message.item_id}" if isinstance(message, ScheduleMessageItem) else type(message).__name__
            raise InvalidMessage(f"{what} is not a message of this call.") from None


class SyncHandlerContext(HandlerContext):
    """The context of a sync handler: the same methods, blocking, to be called from its own thread."""

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        holder: LeaseHolder,
        timeout_seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(deliveries, holder, timeout_seconds)
        self._loop = loop

    def checkpoint(self, data: Any, message: ScheduleMessageItem | None = None) -> Any:
        return self._wait(super().checkpoint(data, message))

    def result(self, data: Any, message: ScheduleMessageItem | None = None) -> Any:
        return self._wait(super().result(data, message))

    def renew(self) -> Any:
        return self._wait(super().renew())

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        if _running_loop() is self._loop:
            return work  # the handler is a plain function that returned a coroutine: in there it is awaited
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _as_json(data: Any, what: str) -> str:
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        text.encode()  # half a surrogate pair is no character
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"{what} must be JSON ({error}).") from error
    if len(text) > _MAX_CHECKPOINT_CHARACTERS:
        raise InvalidMessage(f"{what} may have {_MAX_CHECKPOINT_CHARACTERS:,} characters, not {len(text):,}.")
    return text


def _described(error: str | BaseException) -> str:
    return sendable(error) if isinstance(error, str) else describe_error(error)


def _whole_ms(delay_ms: float) -> int:
    if isinstance(delay_ms, bool) or not isinstance(delay_ms, int | float):
        raise InvalidArgument("delay_ms", delay_ms, "expected milliseconds as a number")
    return int(seconds_of("delay_ms, in seconds,", delay_ms / 1000) * 1000)
