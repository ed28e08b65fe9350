"""The dispatcher runs handlers: deliveries go in, calls that ended come out. It knows nothing of Redis."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from memsched.errors import HandlersStuck, HandlerTimeout
from memsched.logs import get_logger, message_at_work
from memsched.queue.delivery import Delivery
from memsched.settings import Settings
from memsched.worker.buffer import WEIGHTS, LabelBuffer, WeightedRoundRobin
from memsched.worker.call import Call, CallResult
from memsched.worker.calling import run_to_the_end
from memsched.worker.context import HandlerContext, LeaseHolder, SyncHandlerContext
from memsched.worker.forks import guarded
from memsched.worker.handlers import Handler, Orchestrator
from memsched.worker.isolation import Isolation
from memsched.worker.middleware import Hooks
from memsched.worker.threads import HandlerThreads

log = get_logger(__name__)

_UNWIND_SECONDS = 5.0
"""How long a cancelled handler may clean up before its message is given to others all the same."""
_SPEED_OVER_SECONDS = 0.2
_SPEED_EVERY_SECONDS = 0.005


class Speed:
    """How many messages are finished per second, smoothed over the last moments."""

    def __init__(self) -> None:
        self._per_second = 0.0
        self._measured_at = time.monotonic()
        self._since = 0

    def count(self) -> None:
        """One was finished."""
        self._since += 1

    def per_second(self) -> float:
        now = time.monotonic()
        elapsed = now - self._measured_at
        if elapsed > _SPEED_EVERY_SECONDS:
            weight = 1 - math.exp(-elapsed / _SPEED_OVER_SECONDS)
            self._per_second += weight * (self._since / elapsed - self._per_second)
            self._since = 0
            self._measured_at = now
        return self._per_second


@dataclass(slots=True, eq=False)
class _Label:
    """One label's waiting messages and running calls, and its rules, looked up once."""

    handler: Handler
    weight: int
    concurrency: int
    timeout_seconds: float
    buffer: LabelBuffer
    running: set[Call] = field(default_factory=set)
    speed: Speed = field(default_factory=Speed)
    held: int = 0
    """Messages of this label that this worker owns."""
    at_work: int = 0
    """Those of them in calls whose outcome is not known yet."""
    leaving: int = 0
    """Those of them whose outcome goes with the next round trip, before anything is read in it."""
    put_off: int = 0
    """Those of them whose outcome the server refused, and which are reported later."""

    @property
    def free(self) -> int:
        """Calls that could start beside those that run."""
        return self.concurrency - len(self.running)

    @property
    def startable(self) -> bool:
        return self.buffer.ready and self.free > 0

    @property
    def unreported(self) -> int:
        """Messages whose calls have ended, and which the server will not even know in the next round trip."""
        return max(0, self.held - self.at_work - len(self.buffer) - self.leaving)


class Dispatcher:
    """Starts waiting messages by priority, within the limits of concurrency, and collects the calls that ended.

    Args:
        holder: does for a handler's context what needs the leases of its messages.
        begin: tells the server that a message that ran before starts; whether it may, with its checkpoint.
        on_change: called when a call has ended, so that its outcome is reported soon.
    """

    def __init__(
        self,
        settings: Settings,
        orchestrator: Orchestrator,
        holder: LeaseHolder,
        begin: Callable[[Delivery], Awaitable[bool]],
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._holder = holder
        self._begin = begin
        self._on_change = on_change
        self._labels: dict[str, _Label] = {}
        self._turns = WeightedRoundRobin()
        self._occupied = 0
        self._isolation = Isolation(settings.max_crashes, self.running, self._look_again)
        self._ended: deque[Call] = deque()
        self._expired: list[Delivery] = []
        self._stuck: set[Call] = set()
        """Calls that are over for everybody but themselves: they cannot be stopped, and keep their places."""
        self._too_many_stuck = asyncio.Event()
        self._threads: HandlerThreads | None = None
        self._context = contextvars.copy_context()
        self.paused: frozenset[str] = frozenset()
        self.hooks = Hooks(orchestrator.middleware)
        self.held: dict[tuple[str, str], Delivery] = {}
        """All messages that this worker owns, by lane and entry id, until their outcome is known to the server."""

    # -- what comes in -------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more messages this worker can use, of whatever labels: free places, and a short queue."""
        free, ahead, waiting, ready = self.places, 0, 0, 0
        for label in self._labels.values():
            ahead += self._ahead(label)
            waiting += len(label.buffer)
            ready += min(label.free, label.buffer.calls)
        return free + max(min(ahead, self._settings.prefetch_max) - waiting, -ready)

    @property
    def places(self) -> int:
        """Free places for what is neither reported yet nor here."""
        unreported = sum(max(0, label.unreported - label.put_off) for label in self._labels.values())
        return self._settings.concurrency - self._occupied - unreported

    def room_of(self, name: str) -> int:
        """How many more messages of one label it can use: free calls of the label, and a short queue.

        What waits for a call of its own cube takes no free place from others.
        """
        if name in self.paused:
            return 0
        label = self._labels.get(name)
        if label is None:
            return self._orchestrator.concurrency(name)
        return label.free - label.unreported + max(self._ahead(label) - len(label.buffer), -label.buffer.calls)

    def _ahead(self, label: _Label) -> int:
        """How long the queue in here may be, at the speed at which the label runs now."""
        return min(self._settings.prefetch_max, int(label.speed.per_second() * self._settings.prefetch_ms / 1000))

    @property
    def saturated(self) -> bool:
        """Whether all places are taken and messages wait for them."""
        return self._occupied >= self._settings.concurrency and any(
            label.buffer.ready for label in self._labels.values()
        )

    def add(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            label = delivery.lane.label
            key = (delivery.lane.name, delivery.entry_id)
            if (old := self.held.get(key)) is not None:
                self.lose([old])  # it went to another worker and came back: the first call does not count any more
            self.held[key] = delivery
            found = self._labels.get(label)
            if found is None:
                found = self._labels[label] = self._new_label(label)
            found.held += 1
            found.buffer.add(delivery)

    def _new_label(self, label: str) -> _Label:
        rules = self._orchestrator
        handler = rules.handlers[label]
        return _Label(
            handler,
            WEIGHTS[rules.priority(label)],
            rules.concurrency(label),
            rules.timeout_seconds(label),
            LabelBuffer(ordered=handler.ordered),
        )

    def rules_changed(self, labels: Iterable[str]) -> None:
        """Other handlers, or rules, from the next call on."""
        for name in labels:
            if (old := self._labels.get(name)) is not None:
                new = self._new_label(name)
                old.buffer.ordered = new.handler.ordered
                parts = ("buffer", "running", "speed", "held", "at_work", "leaving", "put_off")
                self._labels[name] = replace(new, **{part: getattr(old, part) for part in parts})
        self.start_ready()

    def start_ready(self) -> None:
        """Start calls while there are free places and waiting messages."""
        loop = asyncio.get_running_loop()
        while self._occupied < self._settings.concurrency:
            weights = {name: label.weight for name, label in self._labels.items() if label.startable}
            if not weights:
                return
            name = self._turns.next(weights)
            label = self._labels[name]
            batch = label.buffer.take(label.handler.batch_size, self._isolation.admits)
            if batch and (batch := self._without_expired(label, batch)):
                self._start(name, label, batch, loop)

    def _without_expired(self, label: _Label, batch: list[Delivery]) -> list[Delivery]:
        expiring = [one for one in batch if one.message.expires_at]
        if not expiring:
            return batch
        now = time.time()
        expired = [one for one in expiring if one.message.expires_at and one.message.expires_at.timestamp() <= now]
        if not expired:
            return batch
        self._expired += expired
        self._on_change()
        batch = [one for one in batch if one not in expired]
        if not batch:
            message = expired[0].message
            label.buffer.release((message.user_id, message.mem_cube_id))
        return batch

    def _start(self, name: str, label: _Label, batch: list[Delivery], loop: asyncio.AbstractEventLoop) -> None:
        message = batch[0].message
        cube = (message.user_id, message.mem_cube_id)
        call = Call(name, cube, label.handler, batch, label.timeout_seconds)
        if not batch[0].has_past:
            _has_started(batch)
        label.running.add(call)
        label.at_work += len(batch)
        self._occupied += 1
        # A context of its own: what a handler sets must not reach the next call, which may be started from this one.
        call.variables = self._context.copy()
        call.task = loop.create_task(self._run(call), context=call.variables)
        # A task that is cancelled before its first step never comes to the end of _run.
        call.task.add_done_callback(lambda _: self._end(call))

    # -- one call ------------------------------------------------------------------------------------------------

    async def _run(self, call: Call) -> None:
        try:
            if call.deliveries[0].has_past and not await self._begin(call.deliveries[0]):
                call.result = CallResult.LOST
            else:
                if call.deliveries[0].has_past:
                    _has_started(call.deliveries)
                await self._handle(call)
                call.result = CallResult.DONE
        except asyncio.CancelledError as error:
            call.result = call.cancelled_as or (CallResult.SHUTDOWN if _asked_to_end() else CallResult.ERROR)
            call.error = call.error or error
        except BaseException as error:  # noqa: BLE001 -- whatever a handler raises is its outcome
            call.result = call.cancelled_as or CallResult.ERROR
            call.error = error
        if self.hooks and call.result in (CallResult.DONE, CallResult.ERROR, CallResult.TIMEOUT):
            call.handler_ended()
            with contextlib.suppress(asyncio.CancelledError):  # the outcome stands
                messages = [delivery.message for delivery in call.deliveries]
                if call.result is CallResult.DONE:
                    await self.hooks.run("after", messages, context=call.variables)
                else:
                    await self.hooks.run("failed", messages, call.error, context=call.variables)
        # Here, before the task is quite done, so that the next call starts in the same step of the loop.
        self._end(call)

    async def _handle(self, call: Call) -> None:
        messages = [delivery.message for delivery in call.deliveries]
        message_at_work.set(messages[0])
        function, calling = call.handler.function, call.handler.calling
        if self.hooks:
            await self.hooks.run("before", messages, context=call.variables)
        call.started = asyncio.get_running_loop().time()
        if calling.on_loop:
            if calling.wants_context:
                call.context = HandlerContext(call.deliveries, self._holder, call.timeout_seconds)
                call.context.max_message_bytes = self._settings.max_message_bytes
                call.context.secrets = self._settings.secrets if self._settings.memory else "keep"
            result = calling(function, messages, call.context)
            if inspect.iscoroutine(result):
                result = await guarded(result)
            if result is not None:
                await guarded(run_to_the_end(result))
            return
        loop = asyncio.get_running_loop()
        if calling.wants_context:
            call.context = SyncHandlerContext(call.deliveries, self._holder, call.timeout_seconds, loop)
            call.context.max_message_bytes = self._settings.max_message_bytes
            call.context.secrets = self._settings.secrets if self._settings.memory else "keep"
        if self._threads is None:
            self._threads = HandlerThreads(self._settings.concurrency)
        work = (_in_thread, calling, function, messages, call.context)
        call.thread = self._threads.submit(contextvars.copy_context().run, *work)
        await guarded(run_to_the_end(await asyncio.wrap_future(call.thread)))

    def _end(self, call: Call) -> None:
        """The task of a call is over: report its outcome, and free its place unless its thread still runs."""
        if call.over:
            return
        call.over = True
        if not call.reported:
            call.result = call.result or call.cancelled_as or CallResult.SHUTDOWN
            self._report(call)
        if call.thread is not None and not call.thread.done():
            loop = asyncio.get_running_loop()
            call.thread.add_done_callback(lambda _: _soon(loop, self._thread_ended, call))
            self._set_aside(call)
        else:
            self._free(call)
        self._on_change()

    def _report(self, call: Call) -> None:
        call.reported = True
        call.handler_ended()
        self._labels[call.label].at_work -= len(call.deliveries)
        self._ended.append(call)

    def _thread_ended(self, call: Call) -> None:
        self._free(call)
        self._on_change()

    def _free(self, call: Call) -> None:
        self._occupied -= 1
        if self._stuck and call in self._stuck:
            self._stuck.discard(call)
        else:
            self._leave(call)
        self._start_next()

    def _leave(self, call: Call) -> None:
        """Its label and its cube go on without it."""
        label = self._labels[call.label]
        label.running.discard(call)
        label.buffer.release(call.cube)

    def _start_next(self) -> None:
        # The next call starts without waiting for the cycle, which may be waiting for the server just now.
        if self._isolation.holds_up:
            self._look_again()
        else:
            self.start_ready()

    # -- suspects of killing their worker ------------------------------------------------------------------------

    def mark(self, deliveries: Iterable[Delivery]) -> None:
        """The server knows that they have been running for a while."""
        for delivery in deliveries:
            delivery.marked = True
        if self._isolation.holds_up:
            self._look_again()

    def _look_again(self) -> None:
        """What was not admitted may be now."""
        for label in self._labels.values():
            label.buffer.unpark()
        self.start_ready()

    # -- what comes out ------------------------------------------------------------------------------------------

    @property
    def any_ended(self) -> bool:
        """Whether calls have ended that nobody has taken to report them."""
        return bool(self._ended or self._expired)

    def take_expired(self) -> list[Delivery]:
        """Those whose turn came too late, to be given up."""
        expired, self._expired = self._expired, []
        return expired

    def take_ended(self) -> list[Call]:
        """The calls that ended since the last look, to be reported in the next round trip."""
        ended = list(self._ended)
        self._ended.clear()
        for call in ended:
            self._labels[call.label].leaving += len(call.deliveries)
        return ended

    def reports_sent(self, put_off: Iterable[Delivery] = ()) -> None:
        """The round trip is over. Whatever of them is still held needs another one, and takes room until then.

        Args:
            put_off: those whose outcome the server refused. They take the room of their own label only.
        """
        for label in self._labels.values():
            label.leaving = label.put_off = 0
        for delivery in put_off:
            self._labels[delivery.lane.label].put_off += 1

    def drop(self, deliveries: Iterable[Delivery]) -> None:
        """The server knows their outcome: they are no longer held."""
        for delivery in deliveries:
            key = (delivery.lane.name, delivery.entry_id)
            if self.held.get(key) is delivery:
                del self.held[key]
                label = self._labels[delivery.lane.label]
                label.held -= 1
                label.speed.count()
            self._isolation.settled(delivery)

    def lose(self, deliveries: Iterable[Delivery]) -> None:
        """They belong to other workers now: forget those that wait, cancel the calls of those that run."""
        for delivery in deliveries:
            if delivery.lost:
                continue
            delivery.lost = True
            label = self._labels[delivery.lane.label]
            label.buffer.remove([delivery])
            self.drop([delivery])
            for call in list(label.running):
                if delivery in call.deliveries:
                    self._cancel(call, CallResult.LOST)

    # -- limits of time ------------------------------------------------------------------------------------------

    def running(self) -> list[Call]:
        """The calls whose outcome is not known yet."""
        return [call for call in self._occupying() if not call.reported]

    def _occupying(self) -> Iterator[Call]:
        """The calls that have a place."""
        return (call for label in self._labels.values() for call in label.running)

    def watch(self) -> float:
        """Cancel calls that ran too long; returns the seconds until the next look is needed."""
        now = asyncio.get_running_loop().time()
        next_look = math.inf
        for call in self.running():
            if math.isinf(call.started):
                # Hooks run, within limits of their own, or the server is asked whether it may begin. At the earliest,
                # it begins now.
                next_look = min(next_look, call.timeout_seconds or math.inf)
                continue
            if call.cancelled_as is not None:
                until = call.cancelled_at + _UNWIND_SECONDS - now
                if until <= 0:
                    self._abandon(call)
                    continue
            elif call.timeout_seconds:
                until = call.started + call.timeout_seconds - now
                if until <= 0:
                    call.error = HandlerTimeout(call.label, call.timeout_seconds)
                    self._cancel(call, CallResult.TIMEOUT)
                    until = _UNWIND_SECONDS
            else:
                continue
            next_look = min(next_look, until)
        return next_look

    def cancel_all(self) -> None:
        """The grace time is over."""
        for call in self.running():
            self._cancel(call, CallResult.SHUTDOWN)

    def _cancel(self, call: Call, result: CallResult) -> None:
        if call.cancelled_as is None and not call.reported and call.task is not None:
            call.cancelled_as = result
            call.cancelled_at = asyncio.get_running_loop().time()
            call.task.cancel()

    def _abandon(self, call: Call) -> None:
        """A handler that ignores its cancellation: its messages go on without it."""
        call.result = call.cancelled_as
        self._report(call)
        self._set_aside(call)
        self._on_change()

    def _set_aside(self, call: Call) -> None:
        """It cannot be stopped: its messages run again, here too, and its place stays taken until it ends."""
        self._leave(call)
        self._stuck.add(call)
        if call.cancelled_as is CallResult.SHUTDOWN:
            return
        places = self._settings.concurrency
        log.error(
            "a handler cannot be stopped; its messages go on without it, its place stays taken until it ends",
            action="handler.stuck",
            label=call.label,
            verdict=call.cancelled_as,
            stuck=len(self._stuck),
            places=places,
        )
        if 2 * len(self._stuck) > places:
            self._too_many_stuck.set()
        self._start_next()

    async def until_too_many_are_stuck(self) -> None:
        """Raises HandlersStuck when handlers that cannot be stopped have taken more than half of the places."""
        await self._too_many_stuck.wait()
        raise HandlersStuck(f"{len(self._stuck)} of {self._settings.concurrency} places")

    # -- end -----------------------------------------------------------------------------------------------------

    def empty_buffers(self) -> list[Delivery]:
        """Stop starting; returns the messages that were waiting."""
        return [delivery for label in self._labels.values() for delivery in label.buffer.clear()]

    def pause(self, labels: frozenset[str]) -> list[Delivery]:
        """Use no more messages of these labels, and of no others; returns those of theirs that were waiting."""
        self.paused = labels
        found = [label for name, label in self._labels.items() if name in labels]
        return [delivery for label in found for delivery in label.buffer.clear()]

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()


def _has_started(batch: list[Delivery]) -> None:
    now = time.time()
    for delivery in batch:
        delivery.started = now


def _asked_to_end() -> bool:
    """Whether somebody cancelled this call. A handler that raises CancelledError by itself has failed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """StopIteration cannot travel through a future: the call would never end."""
    try:
        return function(*args)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error


def _soon(loop: asyncio.AbstractEventLoop, tell: Callable[[Call], None], call: Call) -> None:
    """From a handler's thread; after the loop is closed there is nobody to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(tell, call)
