"""Runs handlers: what is delivered goes in, calls that ended come out. It knows nothing of Redis."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog

from memsched.errors import HandlerTimeout
from memsched.logs import message_at_work
from memsched.queue.delivery import Delivery
from memsched.settings import Settings
from memsched.worker.buffer import WEIGHTS, LabelBuffer, WeightedTurns
from memsched.worker.call import Run, Verdict
from memsched.worker.context import HandlerContext, Keeper, SyncHandlerContext
from memsched.worker.handlers import Handler, Orchestrator

log = structlog.get_logger(__name__)

_UNWIND_SECONDS = 5.0
"""How long a cancelled handler may clean up before its message is given to others all the same."""
_SPEED_OVER_SECONDS = 0.2
_PROBATION_SECONDS = 0.2
"""How long a suspect runs before anything else may start. What kills its process mostly does so at once."""
_PRECEDENCE_SECONDS = 0.05
"""How much sooner than others a suspect may start that waited for what had just started."""


@dataclass(slots=True, eq=False)
class _Label:
    """One label's waiting messages and running calls, and its rules, looked up once."""

    handler: Handler
    weight: int
    concurrency: int
    batch_size: int
    timeout_seconds: float
    buffer: LabelBuffer = field(default_factory=LabelBuffer)
    running: set[Run] = field(default_factory=set)

    @property
    def startable(self) -> bool:
        return self.buffer.ready and len(self.running) < self.concurrency


class Dispatcher:
    """Starts waiting messages by priority, within all limits, and collects the calls that ended.

    begin: asks the server whether a message that ran before is still ours, and fetches its checkpoint; the flag says
    whether no other suspect runs here.
    on_change: called when a call has ended, so that its outcome is reported soon.
    """

    def __init__(
        self,
        settings: Settings,
        orchestrator: Orchestrator,
        keeper: Keeper,
        begin: Callable[[Delivery, bool], Awaitable[bool]],
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._keeper = keeper
        self._begin = begin
        self._on_change = on_change
        self._labels: dict[str, _Label] = {}
        self._turns = WeightedTurns()
        self._occupied = 0
        self._suspects: dict[Delivery, Run] = {}
        self._on_probation: Run | None = None
        self._newcomers_at = 0.0
        """loop.time() from which messages without a past may start: a suspect waits for its turn."""
        self._ended: deque[Run] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._speed = 0.0
        self._speed_at = time.monotonic()
        self._finished_since = 0
        self._context = contextvars.copy_context()
        self.held: dict[tuple[str, str], Delivery] = {}
        """All messages that this worker owns, by lane and entry id, until their outcome is known to the server."""

    # -- what comes in -------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more messages this worker can use: free places, and a short queue at the speed it runs now."""
        ahead = min(self._settings.prefetch_max, math.ceil(self._measured_speed() * self._settings.prefetch_ms / 1000))
        return self._settings.concurrency + ahead - len(self.held)

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
                self.lose([old])  # it went to another worker and came back: the first run does not count any more
            self.held[key] = delivery
            found = self._labels.get(label)
            if found is None:
                found = self._labels[label] = self._new_label(label)
            found.buffer.add(delivery)

    def _new_label(self, label: str) -> _Label:
        rules = self._orchestrator
        return _Label(
            rules.handlers[label],
            WEIGHTS[rules.priority(label)],
            rules.concurrency(label),
            rules.batch_size(label),
            rules.timeout_seconds(label),
        )

    def start_ready(self) -> None:
        """Start calls while there are free places and waiting messages."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._occupied < self._settings.concurrency:
            weights = {name: label.weight for name, label in self._labels.items() if label.startable}
            if not weights:
                return
            name = self._turns.next(weights)
            label = self._labels[name]
            batch = label.buffer.take(label.batch_size, self._admits)
            if batch:
                self._start(name, label, batch, now, loop)

    def _start(
        self, name: str, label: _Label, batch: list[Delivery], now: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        message = batch[0].message
        cube = (message.user_id, message.mem_cube_id)
        run = Run(name, cube, label.handler, batch, label.timeout_seconds, now, suspect=batch[0].suspect)
        if run.suspect:
            run.alone = not self._suspects
            self._suspects[batch[0]] = run
            self._on_probation = run
        started = time.time()
        for delivery in batch:
            delivery.started = started
        label.running.add(run)
        self._occupied += 1
        # A context of its own: what a handler sets must not reach the next call, which may be started from this one.
        run.task = loop.create_task(self._call(run), context=self._context.copy())
        # A task that is cancelled before its first step never comes to the end of _call.
        run.task.add_done_callback(lambda _: self._end(run))

    # -- one call ------------------------------------------------------------------------------------------------

    async def _call(self, run: Run) -> None:
        try:
            if run.deliveries[0].has_past and not await self._begin(run.deliveries[0], run.alone):
                run.verdict = Verdict.LOST
            else:
                await self._handle(run)
                run.verdict = Verdict.DONE
        except asyncio.CancelledError as error:
            run.verdict = run.cancelled_as or (Verdict.SHUTDOWN if _asked_to_end() else Verdict.ERROR)
            run.error = run.error or error
        except BaseException as error:  # noqa: BLE001 -- whatever a handler raises is its outcome
            run.verdict = run.cancelled_as or Verdict.ERROR
            run.error = error
        # Here, before the task is quite done, so that the next call starts in the same step of the loop.
        self._end(run)

    async def _handle(self, run: Run) -> None:
        messages = [delivery.message for delivery in run.deliveries]
        message_at_work.set(messages[0])
        args: tuple[Any, ...] = (messages,)
        if run.handler.is_async:
            if run.handler.wants_context:
                run.context = HandlerContext(run.deliveries, self._keeper, run.timeout_seconds)
                args = (messages, run.context)
            await run.handler.function(*args)
            return
        loop = asyncio.get_running_loop()
        if run.handler.wants_context:
            run.context = SyncHandlerContext(run.deliveries, self._keeper, run.timeout_seconds, loop)
            args = (messages, run.context)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="memsched-handler")
        run.thread = self._threads.submit(contextvars.copy_context().run, _in_thread, run.handler.function, *args)
        result = await asyncio.wrap_future(run.thread)
        if asyncio.iscoroutine(result):  # a plain function that returns a coroutine, such as a lambda
            await result

    def _end(self, run: Run) -> None:
        """The task of a call is over: report its outcome, and free its place unless its thread still runs."""
        if run.over:
            return
        run.over = True
        if not run.reported:
            run.reported = True
            run.verdict = run.verdict or run.cancelled_as or Verdict.SHUTDOWN
            self._ended.append(run)
        if run.thread is not None and not run.thread.done():
            loop = asyncio.get_running_loop()
            run.thread.add_done_callback(lambda _: _soon(loop, self._thread_ended, run))
        else:
            self._free(run)
        self._on_change()

    def _thread_ended(self, run: Run) -> None:
        self._free(run)
        self._on_change()

    def _free(self, run: Run) -> None:
        label = self._labels[run.label]
        label.running.discard(run)
        self._occupied -= 1
        label.buffer.release(run.cube)
        # The next call starts without waiting for the cycle, which may be waiting for the server just now.
        if self._newcomers_at > asyncio.get_running_loop().time():
            self._look_again()
        else:
            self.start_ready()

    # -- suspects ------------------------------------------------------------------------------------------------

    def _admits(self, delivery: Delivery) -> bool:
        """Of the messages whose worker died one starts at a time, so that the one that kills it is found out.

        For a moment nothing else starts with it, and nothing has just started: otherwise it could be blamed for the
        deed of a killer that nobody suspects yet.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not delivery.suspect:
            return self._on_probation is None and now >= self._newcomers_at
        if self._on_probation is not None or (delivery.strict and self._suspects):
            return False
        running = (run.started for label in self._labels.values() for run in label.running)
        at = max(running, default=-math.inf) + _PROBATION_SECONDS
        if now >= at:
            return True
        self._newcomers_at = at + _PRECEDENCE_SECONDS
        for moment in (at, self._newcomers_at):
            loop.call_at(moment, self._look_again)
        return False

    def awaiting_parole(self) -> tuple[Run, float] | None:
        """A suspect that others wait for, and the loop.time() at which they may start beside it."""
        run = self._on_probation
        if run is None or run.over or not any(label.buffer.parked for label in self._labels.values()):
            return None
        return run, run.started + _PROBATION_SECONDS

    def parole(self, run: Run) -> None:
        """The server knows that it is not alone any more."""
        if self._on_probation is run:
            self._on_probation = None
            self._look_again()

    def _acquit(self, delivery: Delivery) -> None:
        """The server knows its outcome. Not sooner: until then a death would be put down to it."""
        if self._on_probation is self._suspects.pop(delivery):
            self._on_probation = None
        self._look_again()

    def _look_again(self) -> None:
        """What was not admitted may be now."""
        for label in self._labels.values():
            label.buffer.unpark()
        self.start_ready()

    # -- what comes out ------------------------------------------------------------------------------------------

    def take_ended(self) -> list[Run]:
        """The calls that ended since the last look, to be reported."""
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def drop(self, deliveries: Iterable[Delivery]) -> None:
        """The server knows their outcome: they are no longer held."""
        for delivery in deliveries:
            key = (delivery.lane.name, delivery.entry_id)
            if self.held.get(key) is delivery:
                del self.held[key]
                self._finished_since += 1
            if delivery in self._suspects:
                self._acquit(delivery)

    def lose(self, deliveries: Iterable[Delivery]) -> None:
        """They belong to other workers now: forget those that wait, cancel the calls of those that run."""
        for delivery in deliveries:
            if delivery.lost:
                continue
            delivery.lost = True
            self.drop([delivery])
            label = self._labels[delivery.lane.label]
            label.buffer.remove([delivery])
            for run in list(label.running):
                if delivery in run.deliveries:
                    self._cancel(run, Verdict.LOST)

    # -- limits of time ------------------------------------------------------------------------------------------

    def running(self) -> list[Run]:
        """The calls whose outcome is not known yet."""
        return [run for label in self._labels.values() for run in label.running if not run.reported]

    def watch(self) -> float:
        """Cancel calls that ran too long; gives the seconds until the next look is needed."""
        now = asyncio.get_running_loop().time()
        next_look = math.inf
        for run in self.running():
            if run.cancelled_as is not None:
                until = run.cancelled_at + _UNWIND_SECONDS - now
                if until <= 0:
                    self._abandon(run)
                    continue
            elif run.timeout_seconds:
                until = run.started + run.timeout_seconds - now
                if until <= 0:
                    run.error = HandlerTimeout(run.label, run.timeout_seconds)
                    self._cancel(run, Verdict.TIMEOUT)
                    until = _UNWIND_SECONDS
            else:
                continue
            next_look = min(next_look, until)
        return next_look

    def cancel_all(self) -> None:
        """The grace time is over."""
        for run in self.running():
            self._cancel(run, Verdict.SHUTDOWN)

    def _cancel(self, run: Run, verdict: Verdict) -> None:
        if run.cancelled_as is None and not run.reported and run.task is not None:
            run.cancelled_as = verdict
            run.cancelled_at = asyncio.get_running_loop().time()
            run.task.cancel()

    def _abandon(self, run: Run) -> None:
        """A handler that ignores its cancellation: its messages go on without it, its place stays taken."""
        log.error(
            "handler ignores its cancellation; its messages are given to others, its place stays taken until it ends",
            action="handler.stuck",
            label=run.label,
            verdict=run.cancelled_as,
        )
        run.verdict = run.cancelled_as
        run.reported = True
        self._ended.append(run)
        self._on_change()

    # -- end -----------------------------------------------------------------------------------------------------

    def empty_buffers(self) -> list[Delivery]:
        """Stop starting; gives the messages that were waiting."""
        return [delivery for label in self._labels.values() for delivery in label.buffer.clear()]

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _measured_speed(self) -> float:
        """Messages finished per second, smoothed over the last moments."""
        now = time.monotonic()
        elapsed = now - self._speed_at
        if elapsed > 0.005:
            weight = 1 - math.exp(-elapsed / _SPEED_OVER_SECONDS)
            self._speed += weight * (self._finished_since / elapsed - self._speed)
            self._finished_since = 0
            self._speed_at = now
        return self._speed


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


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[Run], None], run: Run) -> None:
    """From a handler's thread; after the loop is closed there is nobody to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, run)
