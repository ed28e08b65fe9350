"""The pipelined cycle: one round trip reports what ended, renews what runs, claims, promotes and reads.

While something is waiting, every turn reads as much as there is room for, together with everything else that is to
be said. While nothing is, a read waits at the server on a connection of its own, and turns happen only when there
is something to report.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import structlog

from memsched.connection import Server, UnreachableError, backoff
from memsched.errors import LeaseLost
from memsched.keys import GROUP, Keys, Lane
from memsched.logs import log_fields
from memsched.lua import Command, as_text
from memsched.queue.delayed import MOST_AT_ONCE, promote
from memsched.queue.delivery import Delivery, Malformed, read_entry, read_streams
from memsched.queue.leases import Leases
from memsched.queue.registry import Registry
from memsched.queue.submit import ensure_groups
from memsched.settings import Settings
from memsched.worker.buffer import WEIGHTS, WeightedTurns
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.liveness import Liveness
from memsched.worker.lookout import LaneWatch
from memsched.worker.orchestrator import Orchestrator
from memsched.worker.report import Report, Reporter, Tally
from memsched.worker.run import Verdict

log = structlog.get_logger(__name__)

_MARK_AFTER_SECONDS = 0.05
"""A message is written down as running when it has run for so long; most are done before that."""
_BLOCKED_READ_COUNT = 16
_CLAIM_AT_ONCE = 100
_PACE_SECONDS = 0.004
"""Between two turns while all places are taken and messages wait for them. Far below what the buffer lasts."""
_POLL_SECONDS = 0.01
"""Between two looks at a server that cannot block (memory://)."""


class Cycle:
    """The loop of one worker between the server and the dispatcher.

    It is the only one that reads, so that room is never promised twice.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        settings: Settings,
        orchestrator: Orchestrator,
        leases: Leases,
        registry: Registry,
        reporter: Reporter,
        liveness: Liveness,
    ) -> None:
        self._server = server
        self._keys = keys
        self._settings = settings
        self._orchestrator = orchestrator
        self._leases = leases
        self._registry = registry
        self._reporter = reporter
        self._liveness = liveness
        self.dispatcher = Dispatcher(settings, orchestrator, self, self._begin, self.wake)
        self.tally = Tally()
        self.on_follow_ups: Callable[[Lane], None] = lambda lane: None
        self._woken = asyncio.Event()
        self._watches: dict[Lane, LaneWatch] = {}
        self._by_stream: dict[bytes, Lane] = {}
        self._hot: set[Lane] = set()
        self._turns = WeightedTurns()
        self._blocked: dict[tuple[Lane, ...], asyncio.Task[Any]] = {}
        self._blocked_count = 0
        self._groups: list[tuple[Lane, ...]] = []
        self._reports: list[Report] = []
        self._events: list[Command[Any]] = []
        self._stranded: set[Lane] = set()
        self._renewed_at: dict[Lane, float] = {}
        self._beat_at = 0.0
        self._turned_at = 0.0
        self._told = Tally()
        self.reading = True
        self._stopped = False
        self._tries = 0

    # -- lanes ---------------------------------------------------------------------------------------------------

    def watch_lanes(self, lanes: Iterable[Lane]) -> None:
        """Read these lanes from now on, beside those already read. Their groups must exist."""
        new = [lane for lane in lanes if lane not in self._watches]
        for lane in new:
            self._watches[lane] = LaneWatch(lane)
            self._by_stream[lane.stream.encode()] = lane
            self._renewed_at[lane] = self._now()
        if new:
            self._groups = (
                [(lane,) for lane in self._watches] if self._server.clustered else [tuple(self._watches)]
            )
            self._hot.update(new)  # the first look does not wait
            self.wake()

    @property
    def lanes(self) -> list[Lane]:
        return list(self._watches)

    def hint(self, kind: str, lane_name: str) -> None:
        """Another process left something in a lane (see hint.lua)."""
        watch = self._watches.get(self._keys.lane_named(lane_name))
        if watch is not None:
            watch.hinted(kind)
            self.wake()

    def look_everywhere(self) -> None:
        """Hints may have been missed."""
        for watch in self._watches.values():
            watch.hinted("claimable")
            watch.hinted("due")
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
                if not again:
                    await self._rest()
                if self.dispatcher.saturated:
                    # There is enough to do in here: what ends within the next moments is reported together.
                    await asyncio.sleep(self._turned_at + _PACE_SECONDS - self._now())
            except UnreachableError as error:
                await self._server_is_gone(error)
            except Exception:
                log.exception("a turn failed; it is tried again", action="cycle.failed")
                await asyncio.sleep(backoff(self._tries))
                self._tries += 1

    async def _server_is_gone(self, error: Exception) -> None:
        pause = backoff(self._tries)
        if self._tries == 0:
            log.warning(
                "the server does not answer; nothing is lost, trying again", action="server.gone", error=str(error)
            )
        self._tries += 1
        self._stranded.update(self._watches)
        await asyncio.sleep(pause)
        try:
            await self._server.reopen()
        except Exception as failure:  # noqa: BLE001 -- whatever it is, the next try comes
            log.error("the embedded server does not start", action="server.gone", error=str(failure))

    async def _rest(self) -> None:
        """Until something happened or the clock asks for a turn."""
        if not self._woken.is_set() and (seconds := self._next_look(self._now())) > 0:
            timer = asyncio.get_running_loop().call_later(min(seconds, 5.0), self._woken.set)
            await self._woken.wait()
            timer.cancel()
        # The calls that take the free places start first; what ended in the meantime is reported together.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._woken.clear()

    def _next_look(self, now: float) -> float:
        times = [self._beat_at]
        if self.reading:
            if not self._server.blocking and self.dispatcher.room > 0:
                times.append(now + _POLL_SECONDS)
            if self.dispatcher.room > 0:
                times += [watch.claim_at for watch in self._watches.values()]
            times += [watch.promote_at for watch in self._watches.values()]
        if self.dispatcher.held:
            times += [last + self._renew_interval(lane) for lane, last in self._renewed_at.items()]
            times.append(now + self.dispatcher.watch())
            if any(not run.deliveries[-1].marked for run in self.dispatcher.running()):
                times.append(now + _MARK_AFTER_SECONDS)
        return max(0.0, min(times) - now)

    async def _turn(self) -> bool:
        """One round trip, and the work before and after it. Whether there is reason for another at once."""
        now = self._turned_at = self._now()
        self.dispatcher.watch()
        self._collect_blocked()
        self._take_ended()
        if self._stranded and self.reading:
            await self._adopt_stranded()
        commands: list[Command[Any]] = []
        receivers: list[Callable[[Any], None]] = []

        def say(command: Command[Any], receive: Callable[[Any], None]) -> None:
            commands.append(command)
            receivers.append(receive)

        for report in self._reports:
            say(report.command, lambda lost, report=report: self._reported(report, lost))  # type: ignore[misc]
        events, self._events = self._events, []
        for event in events:
            say(event, lambda _: None)
        self._renew(now, say)
        self._mark(say)
        self._beat(now, say)
        if self.reading:
            self._claim(now, say)
            self._promote(now, say)
            self._read(say)
        # Start what was delivered before waiting for the answer: the handlers run meanwhile.
        self.dispatcher.start_ready()
        self._block()
        if not commands:
            return False
        try:
            replies = await self._server.run(commands)
        except UnreachableError:
            self._events = events + self._events
            raise
        for command, receive, reply in zip(commands, receivers, replies, strict=True):
            if isinstance(reply, Exception):
                await self._refused(command, reply)
            else:
                receive(reply)
        self._liveness.touch()
        self.dispatcher.start_ready()
        self._take_ended()
        return bool(self._reports) or (self.reading and bool(self._hot) and self.dispatcher.room > self._blocked_count)

    async def _refused(self, command: Command[Any], error: Exception) -> None:
        if str(error).startswith("NOGROUP"):
            # Somebody deleted the stream or its group. All entries are unfinished, so a new group begins with them.
            log.warning("a stream or its group is gone; it is created again", action="group.created", error=str(error))
            await ensure_groups(self._server, self.lanes)
            self.look_everywhere()
            return
        name = command.script.name if command.script else command.args[0]
        log.error("the server refused a command", action="command.refused", command=name, error=str(error))
        self._tries += 1
        await asyncio.sleep(backoff(self._tries))

    # -- what is said --------------------------------------------------------------------------------------------

    def _take_ended(self) -> None:
        runs = self.dispatcher.take_ended()
        if not runs:
            return
        for run in runs:
            if run.context is not None and run.context.events and run.verdict is not Verdict.LOST:
                self._events += [self._reporter.event(item) for item in run.context.events]
        self._reports += self._reporter.reports(runs)

    def _reported(self, report: Report, lost_ids: Sequence[str]) -> None:
        self._reports.remove(report)
        lost = set(lost_ids)
        if report.batch:
            self._concluded(report, lost)
            return
        if lost:
            gone = [delivery for delivery in report.deliveries if delivery.entry_id in lost]
            self._lost(gone)
            self.dispatcher.drop(report.deliveries)
        else:
            self.dispatcher.drop(report.deliveries)
        count = len(report.deliveries) - len(lost)
        if report.what == "done":
            self.tally.done += count
            self._log_done(report.deliveries)
        elif report.what == "retried":
            self.tally.retried += count
        elif report.what == "dead":
            self.tally.dead += count

    def _concluded(self, report: Report, lost: set[str]) -> None:
        """All or nothing: if one message was lost, the others run again with the follow-ups they lead to."""
        if not lost:
            self.dispatcher.drop(report.deliveries)
            self.tally.done += len(report.deliveries)
            self._log_done(report.deliveries)
            self.on_follow_ups(report.batch[0].lane)
            return
        self._lost([delivery for delivery in report.batch if delivery.entry_id in lost])
        kept = [delivery for delivery in report.deliveries if not delivery.lost]
        if kept:
            self._reports.append(self._reporter.release(kept[0].lane, kept))

    def _lost(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            if not delivery.lost:
                self.tally.lost += 1
                log.warning(
                    "a message belongs to another worker now; what was done with it here does not count",
                    action="message.lost", **log_fields(delivery.message),
                )  # fmt: skip
                self.dispatcher.lose([delivery])

    def _log_done(self, deliveries: Iterable[Delivery]) -> None:
        if self._settings.log_level != "debug":
            return
        for delivery in deliveries:
            seconds = round(time.time() - delivery.started, 4)
            log.debug("done", action="message.done", **log_fields(delivery.message), seconds=seconds)

    def _renew(self, now: float, say: Callable[[Command[Any], Callable[[Any], None]], None]) -> None:
        due: dict[Lane, list[Delivery]] = {
            lane: [] for lane, last in self._renewed_at.items() if now - last >= self._renew_interval(lane)
        }
        if not due:
            return
        for delivery in self.dispatcher.held.values():
            if delivery.lane in due:
                due[delivery.lane].append(delivery)
        for lane, deliveries in due.items():
            self._renewed_at[lane] = now
            if not deliveries:
                continue
            say(
                self._leases.renew(lane, [delivery.entry_id for delivery in deliveries]),
                lambda lost, deliveries=deliveries: self._told_lost(deliveries, lost),  # type: ignore[misc]
            )

    def _renew_interval(self, lane: Lane) -> float:
        """Seconds. A third of the min idle: two missed renewals still leave a margin."""
        return self._orchestrator.min_idle_ms(lane.label) / 3000

    def _mark(self, say: Callable[[Command[Any], Callable[[Any], None]], None]) -> None:
        before = time.time() - _MARK_AFTER_SECONDS
        lanes: dict[Lane, list[Delivery]] = {}
        for run in self.dispatcher.running():
            for delivery in run.deliveries:
                if not delivery.marked and not delivery.lost and 0 < delivery.started <= before:
                    delivery.marked = True
                    lanes.setdefault(delivery.lane, []).append(delivery)
        for lane, deliveries in lanes.items():
            say(
                self._leases.mark(lane, deliveries),
                lambda lost, deliveries=deliveries: self._told_lost(deliveries, lost),  # type: ignore[misc]
            )

    def _told_lost(self, deliveries: Sequence[Delivery], lost_ids: Sequence[str]) -> None:
        if lost_ids:
            lost = set(lost_ids)
            # What is settled in the same round trip is gone too, but not lost.
            held = self.dispatcher.held
            self._lost(
                delivery
                for delivery in deliveries
                if delivery.entry_id in lost and held.get((delivery.lane.name, delivery.entry_id)) is delivery
            )

    def _beat(self, now: float, say: Callable[[Command[Any], Callable[[Any], None]], None]) -> None:
        if now < self._beat_at:
            return
        self._beat_at = now + self._settings.beat_seconds
        say(self._registry.beat(self._leases.worker_id), lambda _: None)
        if self.tally != self._told:
            fields = self.tally.as_fields()
            self._told = Tally(**{name: int(value) for name, value in fields.items()})
            flat = [text for pair in fields.items() for text in pair]
            say(Command(("HSET", self._keys.worker(self._leases.worker_id), *flat), as_text), lambda _: None)

    # -- what is taken -------------------------------------------------------------------------------------------

    def _claim(self, now: float, say: Callable[[Command[Any], Callable[[Any], None]], None]) -> None:
        # What the waiting read may bring is not kept free: one that waits for good must not keep us from claiming.
        asked = min(self.dispatcher.room, _CLAIM_AT_ONCE)
        for lane, watch in self._watches.items():
            if watch.claim_at > now or asked <= 0:
                continue
            min_idle_ms = self._orchestrator.min_idle_ms(lane.label)

            def receive(
                reply: tuple[str, list[Delivery | Malformed]], watch: LaneWatch = watch, asked: int = asked,
                min_idle_ms: int = min_idle_ms,
            ) -> None:  # fmt: skip
                cursor, taken = reply
                watch.claimed(self._now(), cursor, len(taken), asked, min_idle_ms)
                self._claimed(taken)

            say(self._leases.claim(lane, min_idle_ms, asked, watch.cursor), receive)

    def _claimed(self, entries: list[Delivery | Malformed]) -> None:
        poisonous = []
        for entry in entries:
            if not isinstance(entry, Delivery):
                continue
            if self._reporter.crashed_too_often(entry):
                poisonous.append(entry)
                continue
            self.tally.recovered += 1
            log.warning(
                "a message of a silent worker goes on here", action="message.recovered", **log_fields(entry.message),
                previous_owner=entry.previous_owner, idle_ms=entry.idle_ms, crashes=entry.attempts["crashes"],
            )  # fmt: skip
        gone = set(poisonous)
        self._received([entry for entry in entries if entry not in gone])
        self._reports += self._reporter.poisonous(poisonous)

    def _promote(self, now: float, say: Callable[[Command[Any], Callable[[Any], None]], None]) -> None:
        for lane, watch in self._watches.items():
            if watch.promote_at > now:
                continue

            def receive(reply: tuple[int, float | None], lane: Lane = lane, watch: LaneWatch = watch) -> None:
                count, until_next = reply
                watch.promoted(self._now(), count, until_next, MOST_AT_ONCE)

            say(promote(lane), receive)

    def _read(self, say: Callable[[Command[Any], Callable[[Any], None]], None]) -> None:
        """Reads without waiting: of each lane that had more than was asked for, its share; of the others, a little."""
        if not self._server.blocking:
            self._hot.update(self._watches)
        room = self.dispatcher.room - self._blocked_count
        if room <= 0 or not self._hot:
            return
        for lane, count in self._shares(room).items():

            def receive(reply: Any, lane: Lane = lane, count: int = count) -> None:
                entries = read_streams(_pairs(reply), self._by_stream)
                if len(entries) < count:
                    self._hot.discard(lane)
                self._received(entries)

            say(Command(self._leases.read([lane], count), lambda reply: reply), receive)
        waiting = {lane for group in self._blocked for lane in group}
        cold = [lane for lane in self._watches if lane not in self._hot and lane not in waiting]
        for group in [(lane,) for lane in cold] if self._server.clustered else [tuple(cold)]:
            if group:
                say(Command(self._leases.read(group, 1), lambda reply: reply), self._received_and_more)

    def _shares(self, room: int) -> dict[Lane, int]:
        """How much to read of each lane that has messages, by the weights of their priorities."""
        weights = {lane: WEIGHTS[self._orchestrator.priority(lane.label)] for lane in self._hot}
        total = sum(weights.values())
        shares = {lane: room * weight // total for lane, weight in weights.items()}
        by_name = {lane.name: lane for lane in self._hot}
        for _ in range(room - sum(shares.values())):
            name = self._turns.next({lane.name: weight for lane, weight in weights.items()})
            shares[by_name[name]] += 1
        return {lane: count for lane, count in shares.items() if count}

    def _received_and_more(self, reply: Any) -> None:
        entries = read_streams(_pairs(reply), self._by_stream)
        self._hot.update(entry.lane for entry in entries)
        self._received(entries)

    def _received(self, entries: Iterable[Delivery | Malformed]) -> None:
        entries = list(entries)
        malformed = [entry for entry in entries if isinstance(entry, Malformed)]
        if malformed:
            self._reports += self._reporter.malformed(malformed)
        deliveries = [entry for entry in entries if isinstance(entry, Delivery)]
        if self.reading:
            self.dispatcher.add(deliveries)
        else:  # asked for before the stop, answered after it
            self._reports += self._released(deliveries)

    # -- reads that wait -----------------------------------------------------------------------------------------

    def _block(self) -> None:
        """Let a read wait at the server for lanes that had nothing, if there is room for what it may bring."""
        if not self.reading or not self._server.blocking:
            return
        for group in self._groups:
            if group in self._blocked or any(lane in self._hot for lane in group):
                continue
            room = self.dispatcher.room - self._blocked_count
            if room <= 0:
                return
            count = min(_BLOCKED_READ_COUNT, max(1, room // 2))
            args = self._leases.read(group, count, self._settings.block_ms)
            task = asyncio.get_running_loop().create_task(self._server.read(args))
            task.add_done_callback(self._blocked_ended)
            task.set_name(str(count))
            self._blocked[group] = task
            self._blocked_count += count

    def _blocked_ended(self, task: asyncio.Task[Any]) -> None:
        """Start what a waiting read brought without a detour through the loop: somebody may wait for it."""
        self.wake()
        if self.reading and not task.cancelled() and task.exception() is None:
            self._collect_blocked()
            self.dispatcher.start_ready()

    def _collect_blocked(self) -> None:
        for group, task in list(self._blocked.items()):
            if not task.done():
                continue
            del self._blocked[group]
            count = int(task.get_name())
            self._blocked_count -= count
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                self._stranded.update(group)
                if isinstance(error, UnreachableError):
                    raise error
                self._hot.update(group)  # the next turn meets the error where it is dealt with
                continue
            self._liveness.touch()
            entries = read_streams(_pairs(task.result()), self._by_stream)
            for lane in group:
                if sum(entry.lane is lane for entry in entries) >= count:
                    self._hot.add(lane)
            self._received(entries)

    async def _adopt_stranded(self) -> None:
        """After a broken read: what the server gave us in an answer that never arrived is ours, and we do not know.

        Nobody else would claim it while we live and renew, so it is looked up in the pending list.
        """
        lanes = [lane for lane in self._stranded if not any(lane in group for group in self._blocked)]
        for lane in lanes:
            page = Command(
                ("XPENDING", lane.stream, GROUP, "-", "+", 10_000, self._leases.worker_id), lambda reply: reply
            )
            (rows,) = await self._server.run([page])
            if not isinstance(rows, Exception):
                unknown = {
                    row[0]: int(row[3]) for row in rows if (lane.name, as_text(row[0])) not in self.dispatcher.held
                }
                for entry_id, count in unknown.items():
                    for found_id, raw in await self._server.execute("XRANGE", lane.stream, entry_id, entry_id):
                        self._received([read_entry(lane, found_id, raw, count=count)])
            self._stranded.discard(lane)

    # -- for handlers --------------------------------------------------------------------------------------------

    async def _begin(self, delivery: Delivery) -> bool:
        ours, checkpoint = await self._server.persistently(
            lambda: self._server.call(self._leases.begin(delivery)), seconds=math.inf
        )
        if not ours:
            self._lost([delivery])
            return False
        delivery.checkpoint = checkpoint
        delivery.marked = True
        return True

    async def keep_checkpoint(self, deliveries: Sequence[Delivery], data: str) -> None:
        await self._or_lost(deliveries, self._leases.checkpoint(deliveries[0].lane, deliveries, data))

    async def renew_now(self, deliveries: Sequence[Delivery]) -> None:
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
        """Take nothing more, and give back what waits in here."""
        self.reading = False
        for task in self._blocked.values():
            task.cancel()
        await asyncio.gather(*self._blocked.values(), return_exceptions=True)
        # What a read had already been given, but did not bring, is handed back with everything else at the end.
        self._blocked.clear()
        self._blocked_count = 0
        self._reports += self._released(self.dispatcher.empty_buffers())
        self.wake()

    def _released(self, deliveries: Iterable[Delivery]) -> list[Report]:
        lanes: dict[Lane, list[Delivery]] = {}
        for delivery in deliveries:
            lanes.setdefault(delivery.lane, []).append(delivery)
        return [self._reporter.release(lane, waiting) for lane, waiting in lanes.items()]

    def stop(self) -> None:
        self._stopped = True
        self.wake()

    @property
    def unsaid(self) -> bool:
        """Whether there is still something to tell the server."""
        return bool(self._reports or self._events)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _pairs(reply: Any) -> Iterable[tuple[bytes, Any]]:
    """An XREADGROUP reply as (stream, entries) pairs, whichever protocol the server speaks."""
    if isinstance(reply, dict):
        return cast("Iterable[tuple[bytes, Any]]", reply.items())
    return reply or ()
