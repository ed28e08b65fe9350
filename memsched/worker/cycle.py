"""The pipelined cycle: one round trip reports what ended, renews what runs, claims, promotes and reads.

While something is waiting, every turn reads as much as there is room for, together with everything else that is to
be said. While nothing is, a read waits at the server on a connection of its own, and turns happen only when there
is something to report.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from memsched.broker.client import Server, reconnect_backoff
from memsched.broker.keys import NOBODY, Keys, Lane
from memsched.broker.scripting import Command
from memsched.errors import LeaseLost, ServerRefused, UnreachableError
from memsched.logs import exception_field, get_logger, log_fields
from memsched.queue.crash_account import trial_at
from memsched.queue.delivery import Delivery, Entry, Malformed, Newer
from memsched.queue.lanes import ensure_groups, register_lanes, wrong_keys
from memsched.queue.leases import Begin, Leases
from memsched.queue.outcomes import NOT_STAGED, refusing_lane_in
from memsched.queue.pause import paused_command
from memsched.queue.workers import WorkerRegistry
from memsched.settings import Settings
from memsched.tracing import tracing_of
from memsched.worker.call import CallResult
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.handlers import Orchestrator
from memsched.worker.heartbeat import Heartbeat
from memsched.worker.liveness import Liveness
from memsched.worker.metrics import Metrics
from memsched.worker.pipeline import Request, one_way, send
from memsched.worker.reader import Reader
from memsched.worker.recovery import Recovery
from memsched.worker.reporter import Report, Reporter, Tally, by_lane

log = get_logger(__name__)

_PACE_SECONDS = 0.004
"""Between two turns while all places are taken and messages wait for them. Far below what the buffer lasts."""
_POLL_SECONDS = 0.01
"""Between two looks at a server that cannot block (memory://)."""
_LONGEST_REST_SECONDS = 5.0
_NEWER_PAUSE_SECONDS = 5.0
"""What cannot be read here is kept for so long before it is handed back."""
_LONGEST_PAUSE_SECONDS = 5.0
"""Before what the server refused is tried again."""
_OVER_AFTER_SECONDS = 6.0
"""Without a refusal: all that was refused has been tried again."""
_TELL_EVERY = 10
"""Refusals in a row that one log line stands for."""


class Cycle:
    """The event loop of one worker, between the server and the dispatcher."""

    def __init__(
        self,
        server: Server,
        keys: Keys,
        settings: Settings,
        orchestrator: Orchestrator,
        leases: Leases,
        registry: WorkerRegistry,
        reporter: Reporter,
        liveness: Liveness,
        about: Mapping[str, str],
    ) -> None:
        self._server = server
        self._keys = keys
        self._settings = settings
        self._leases = leases
        self._reporter = reporter
        self._liveness = liveness
        self.tally = Tally()
        self._metrics = Metrics.by(settings.metrics, keys)
        self._tracing = tracing_of(settings.traces, texts=settings.trace_texts)
        self.on_follow_ups: Callable[[Lane], None] = lambda lane: None
        self.dispatcher = Dispatcher(settings, orchestrator, self, self._begin, self.wake)
        self._recovery = Recovery(
            orchestrator,
            leases,
            self.dispatcher,
            self._now,
            self._claimed,
            settings.max_per_user,
            outages=server.blocking,
        )
        self._heartbeat = Heartbeat(
            settings,
            orchestrator,
            leases,
            registry,
            self.dispatcher,
            self.tally,
            self._lost,
            self._recovery.presume_dead,
            about,
        )
        self._reader = Reader(
            server, settings, orchestrator, leases, self.dispatcher, self._received, self._release, self.wake
        )
        self.lanes: list[Lane] = []
        self._woken = asyncio.Event()
        self._reports: list[Report] = []
        self._events: list[Command[Any]] = []
        self._newer: deque[tuple[float, Newer]] = deque()
        """Entries of a newer memsched that are handed back, and when."""
        self._turned_at = 0.0
        self._ask_paused_at = 0.0
        self._stopped = False
        self._tries = 0
        self._by_key: dict[Any, Lane] = {}
        self._troubles: dict[tuple[Lane | None, str], tuple[int, float]] = {}
        """Commands and scripts that the server refused, by whose lane it was: how often in a row, and until when who
        was refused one waits. All others go on."""

    def watch_lanes(self, lanes: Iterable[Lane]) -> None:
        """Read these lanes from now on, beside those already read. Their groups must exist."""
        new = [lane for lane in lanes if lane not in self.lanes]
        for lane in new:
            self._heartbeat.add(lane, self._now())
            self._recovery.add(lane)
        if new:
            self.lanes += new
            self._by_key |= {key: lane for lane in new for key in (lane.stream, lane.stats)}
            self._reader.add(new)
            self.wake()

    def notified(self, kind: str, lane_name: str) -> None:
        """Another process left something in a lane (see notify.lua)."""
        if kind == "paused":
            self._ask_paused_at = 0.0
            self.wake()
            return
        lane = self._keys.lane_named(lane_name)
        receiver = self._heartbeat if kind == "cancelled" else self._recovery
        if receiver.notified(kind, lane):
            self.wake()

    def look_everywhere(self) -> None:
        """Notifications may have been missed."""
        self._ask_paused_at = 0.0
        self._recovery.look_everywhere()
        self.wake()

    # -- the loop ------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Until ``stop``. A server that is gone is waited for; what is to be said to it is kept."""
        while not self._stopped:
            try:
                again = await self._turn()
                if self._tries:
                    log.info("the server answers again", action="server.back", tries=self._tries)
                    self._tries = 0
                    self._recovery.server_is_back()
                if not again:
                    await self._rest()
                if self.dispatcher.saturated:
                    # There is enough to do in here: what ends within the next moments is reported together.
                    await asyncio.sleep(self._turned_at + _PACE_SECONDS - self._now())
            except UnreachableError as error:
                await self._server_is_gone(error)
            except Exception as error:  # noqa: BLE001 -- a mistake of our own must not end the loop
                log.error("a turn failed; it is tried again", action="cycle.failed", **exception_field(error))
                self._reader.replies_may_be_lost()
                await asyncio.sleep(reconnect_backoff(self._tries))
                self._tries += 1

    async def _server_is_gone(self, error: Exception) -> None:
        if self._tries == 0:
            log.warning(
                "the server does not answer; nothing is lost, trying again", action="server.gone", error=str(error)
            )
        pause = reconnect_backoff(self._tries)
        self._tries += 1
        self._reader.replies_may_be_lost()
        self._recovery.server_is_gone()
        self._heartbeat.renew_now()
        await asyncio.sleep(pause)
        try:
            await self._server.reopen()
        except Exception as failure:  # noqa: BLE001 -- whatever it is, the next try comes
            log.error("the embedded server does not start", action="server.gone", error=str(failure))

    async def _rest(self) -> None:
        """Until something happened or the clock asks for a turn."""
        if not self._woken.is_set() and (seconds := self._seconds_to_rest()) > 0:
            timer = asyncio.get_running_loop().call_later(seconds, self._woken.set)
            await self._woken.wait()
            timer.cancel()
        # The calls that take the free places start first; what ended in the meantime is reported together.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._woken.clear()

    def _seconds_to_rest(self) -> float:
        now = self._now()
        at = min(now + _LONGEST_REST_SECONDS, self._heartbeat.next_at(now), now + self.dispatcher.watch())
        if self._newer:
            at = min(at, self._newer[0][0])
        pauses = [until for _, until in self._troubles.values() if until > now]
        at = min(
            at,
            *pauses,
            *(report.not_before for report in self._reports),
            self._metrics.statistics.next_at(at_once=not self._reader.on),
        )
        if self._reader.on:
            at = min(at, self._recovery.next_at())
            if not self._server.blocking and self.dispatcher.room > 0:
                at = min(at, now + _POLL_SECONDS)
        return at - now

    async def _turn(self) -> bool:
        """One round trip, and the work before and after it. Whether there is reason for another at once."""
        now = self._turned_at = self._now()
        self.dispatcher.watch()
        if self._reader.collect():
            self._liveness.touch()
        self._take_ended()
        self._hand_back_newer()
        await self._reader.read_own_pending()
        events, self._events = self._events, []
        requests = [one_way(event) for event in events]  # first: whoever waits for a message finds its events there
        for report in self._reports:
            if report.not_before <= now:
                requests += report.requests(self._receiver_of(report))
        requests += self._heartbeat.requests(now)
        if now >= self._ask_paused_at:
            self._ask_paused_at = now + self._settings.beat_seconds
            requests.append(Request(paused_command(self._keys), self._pause))
        if self._reader.on:
            requests += self._recovery.requests(now)
            requests += self._reader.requests()
        requests += self._metrics.statistics.requests(now, at_once=not self._reader.on, anyway=bool(requests))
        # Start what was delivered before waiting for the answer: the handlers run meanwhile.
        self.dispatcher.start_ready()
        self._reader.wait_for_more()
        if not requests:
            return False
        try:
            await send(self._server, requests, self._refused)
        except UnreachableError:
            self._events = events + self._events
            raise
        put_off = [report for report in self._reports if report.not_before > now]
        self.dispatcher.reports_sent(delivery for report in put_off for delivery in report.messages)
        if self._troubles:
            self._troubles_end(now)
        self._liveness.touch()
        self.dispatcher.start_ready()
        self._reader.wait_for_more()
        self._take_ended()
        return any(report.not_before <= now for report in self._reports) or self._reader.more

    def _lane_of(self, command: Command[Any]) -> Lane | None:
        """The lane that a command is about, by its stream or its statistics: one of them is among the first keys of
        every script about one."""
        for arg in command.args if command.script is None else command.args[3:6]:
            if (lane := self._by_key.get(arg)) is not None:
                return lane
        return None

    async def _refused(self, request: Request, error: Exception) -> None:
        """Who asked waits before asking again. Nobody else does, whatever lane they ask about; no message is blamed."""
        command = request.command
        if str(error).startswith("NOGROUP"):
            # Somebody deleted the stream or its group. All entries are unfinished, so a new group begins with them.
            log.warning("a stream or its group is gone; it is created again", action="group.created", error=str(error))
            try:
                await register_lanes(self._server, self._keys, self.lanes)  # the server may have been emptied
                await ensure_groups(self._server, self.lanes)
            except ServerRefused as refusal:
                error = refusal
            else:
                self._heartbeat.renew_now()  # and with it, what this worker says of itself
                self.look_everywhere()
                return
        name = command.script.name if command.script else command.args[0]
        refusing = refusing_lane_in(str(error))
        lane = self._keys.lane_named(refusing) if refusing else self._lane_of(command)
        tries, until = self._troubles.get((lane, name), (0, 0.0))
        if until <= self._now():
            until = self._now() + reconnect_backoff(tries, cap=_LONGEST_PAUSE_SECONDS)
            self._troubles[lane, name] = (tries + 1, until)
            if tries % _TELL_EVERY == 0:
                await self._tell_refusal(lane, name, error)
        if request.put_off is not None:
            request.put_off(until)

    async def _tell_refusal(self, lane: Lane | None, command: str, error: Exception) -> None:
        about: dict[str, Any] = {} if lane is None else {"label": lane.label}
        if lane is not None and "WRONGTYPE" in str(error) and (wrong := await wrong_keys(self._server, lane)):
            about |= {"wrong_keys": wrong, "advice": "another program wrote them: rename or delete them"}
        told = "the server refused a command; it is tried again, and all else goes on"
        log.error(told, action="command.refused", command=command, error=str(error), **about)

    def _troubles_end(self, now: float) -> None:
        for trouble, (_, until) in list(self._troubles.items()):
            if now - until > _OVER_AFTER_SECONDS:
                del self._troubles[trouble]
                lane, command = trouble
                about = {} if lane is None else {"label": lane.label}
                log.info("the server takes a command again", action="command.accepted", command=command, **about)

    # -- what comes in -------------------------------------------------------------------------------------------

    def _received(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        for entry in entries:
            if isinstance(entry, Newer):
                self._leave_to_newer_workers(entry)
        malformed = [entry for entry in entries if isinstance(entry, Malformed)]
        if malformed:
            self._reports += self._reporter.malformed(malformed)
        deliveries = [entry for entry in entries if isinstance(entry, Delivery)]
        # Asked for before the stop, or before its label was paused, and answered after it.
        paused = self.dispatcher.paused
        late = {one for one in deliveries if not self._reader.on or one.lane.label in paused}
        self._release(late)
        self.dispatcher.add(one for one in deliveries if one not in late)

    def _release(self, deliveries: Iterable[Delivery]) -> None:
        self._reports += self._reporter.releases(deliveries)

    def _leave_to_newer_workers(self, entry: Newer) -> None:
        """During a rolling update: handed back, after a pause, for it may well come back to this worker."""
        log.warning(
            "a message was written by a newer memsched; it is handed back, for workers that know it",
            action="message.newer",
            label=entry.lane.label,
            entry_id=entry.entry_id,
            reason=entry.reason,
            again_in_seconds=_NEWER_PAUSE_SECONDS,
        )
        self._newer.append((self._now() + _NEWER_PAUSE_SECONDS, entry))

    def _hand_back_newer(self) -> None:
        now = self._now()
        while self._newer and self._newer[0][0] <= now:
            _, entry = self._newer.popleft()
            self._reports.append(self._reporter.left_alone(entry))

    def _pause(self, paused: frozenset[str]) -> None:
        """Take no more of these labels, and hand back what waits in here; of all others, go on."""
        if paused != self.dispatcher.paused:
            self._release(self.dispatcher.pause(paused))
            self._recovery.look_everywhere()
            self.wake()

    def _claimed(self, entries: list[Entry]) -> None:
        poisonous = []
        for entry in entries:
            if not isinstance(entry, Delivery):
                continue
            if self._reporter.retries.is_poison(entry):
                poisonous.append(entry)
                continue
            self.tally.recovered += 1
            self._metrics.messages(entry.lane, "recovered")
            handed_back = entry.previous_owner == NOBODY
            (log.info if handed_back else log.warning)(
                f"a message {'that was handed back' if handed_back else 'of a silent worker'} goes on here",
                action="message.recovered",
                **log_fields(entry.message),
                previous_owner=entry.previous_owner,
                idle_ms=entry.idle_ms,
                crashes=entry.attempts["crashes"],
            )
        gone = set(poisonous)
        self._received([entry for entry in entries if entry not in gone])
        self._reports += self._reporter.poison(poisonous)

    # -- what goes out -------------------------------------------------------------------------------------------

    def _take_ended(self) -> None:
        self._reports += self._reporter.expired(self.dispatcher.take_expired())
        calls = self.dispatcher.take_ended()
        if not calls:
            return
        lanes = by_lane(calls)
        for lane, ended in lanes:
            self._metrics.called(lane, ended)
        for call in calls:
            if call.context is not None and call.context.events and call.result is not CallResult.LOST:
                for cube, fields in call.context.events:
                    self._events += self._reporter.event(cube, fields)
        try:
            self._reports += self._reporter.reports(lanes)
        except BaseException as error:
            # Nobody else knows of these any more: they are handed back, or they would be ours for ever.
            self._reports += self._reporter.releases(delivery for call in calls for delivery in call.kept)
            raise RuntimeError("how calls ended cannot be told") from error

    def _receiver_of(self, report: Report) -> Callable[[Sequence[str]], None]:
        asked_ns = time.time_ns()

        def receive(lost_ids: Sequence[str]) -> None:
            if lost_ids == NOT_STAGED:  # the server was away for longer than it keeps what is staged
                report.stage_again()
                return
            self._reports.remove(report)
            lost = set(lost_ids)
            if self._tracing is not None:
                kept = [] if report.batch and lost else [one for one in report.deliveries if one.entry_id not in lost]
                self._tracing.settled([one.message for one in kept], report.what, asked_ns)
            if report.batch:
                self._concluded(report, lost)
                return
            if lost:
                self._lost([delivery for delivery in report.deliveries if delivery.entry_id in lost])
            self.dispatcher.drop(report.deliveries)
            self._count(report, len(report.deliveries) - len(lost))
            for one in report.given_up:
                if isinstance(one.delivery, Delivery) and not one.delivery.lost:
                    self.dispatcher.hooks.soon("dead", one.delivery.message, one.reason, one.error)

        return receive

    def _concluded(self, report: Report, lost: set[str]) -> None:
        """All or nothing: if one message was lost, the others run again with the follow-ups they lead to."""
        if not lost:
            self._reports += report.then
            self.dispatcher.drop(report.deliveries)
            self._count(report, len(report.deliveries))
            if report.pages:
                self.on_follow_ups(report.batch[0].lane)
            return
        self._lost([delivery for delivery in report.batch if delivery.entry_id in lost])
        self._reports += self._reporter.releases([delivery for delivery in report.batch if not delivery.lost])

    def _count(self, report: Report, count: int) -> None:
        self._metrics.messages(report.lane, report.what, count)
        if report.what == "done":
            self.tally.done += count
            if self._settings.log_level == "debug":
                for delivery in report.deliveries:
                    seconds = round(time.time() - delivery.started, 4)
                    log.debug("done", action="message.done", **log_fields(delivery.message), seconds=seconds)
        elif report.what == "retried":
            self.tally.retried += count
        elif report.what == "dead":
            self.tally.dead += count

    def _lost(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in list(deliveries):
            if not delivery.lost:
                self.tally.lost += 1
                self._metrics.messages(delivery.lane, "lost")
                log.warning(
                    "a message belongs to another worker now; what was done with it here does not count",
                    action="message.lost",
                    **log_fields(delivery.message),
                )
                self.dispatcher.lose([delivery])

    # -- for handlers --------------------------------------------------------------------------------------------

    async def _begin(self, delivery: Delivery) -> bool:
        begin = self._leases.begin(delivery, trial_at(self._settings.max_crashes))
        outcome, checkpoint = await self._server.persistently(lambda: self._server.call(begin), seconds=math.inf)
        if outcome is Begin.LOST:
            self._lost([delivery])
        elif outcome is Begin.HANDED_BACK:
            self.dispatcher.lose([delivery])
        delivery.checkpoint = checkpoint
        return outcome is Begin.BEGUN

    async def save_checkpoint(self, deliveries: Sequence[Delivery], data: str) -> None:
        await self._or_lost(deliveries, self._leases.checkpoint(deliveries[0].lane, deliveries, data))

    async def save_result(self, deliveries: Sequence[Delivery], data: str) -> None:
        await self._or_lost(deliveries, self._leases.result(deliveries[0].lane, deliveries, data))

    async def renew_leases(self, deliveries: Sequence[Delivery]) -> None:
        ids = [delivery.entry_id for delivery in deliveries]
        await self._or_lost(deliveries, self._leases.renew(deliveries[0].lane, ids))

    async def _or_lost(self, deliveries: Sequence[Delivery], command: Command[list[str]]) -> None:
        lost = set(await self._server.persistently(lambda: self._server.call(command)))
        if not lost:
            return
        gone = [delivery for delivery in deliveries if delivery.entry_id in lost]
        self._lost(gone)
        raise LeaseLost(gone[0].message.item_id)

    # -- the end -------------------------------------------------------------------------------------------------

    async def stop_reading(self) -> None:
        """Take nothing more, and hand back what waits in here."""
        await self._reader.stop()
        self._reports += self._reporter.releases(self.dispatcher.empty_buffers())
        self.wake()

    def stop(self) -> None:
        self._stopped = True
        self.wake()

    @property
    def unreported(self) -> bool:
        """Whether there is still something to tell the server."""
        return bool(self._reports or self._events or self.dispatcher.any_ended or self._metrics.statistics.pending)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
