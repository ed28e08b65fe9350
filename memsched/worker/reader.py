"""The reader: fetches with the next round trip while there is something, and by a blocking read while there is not.

A lane is *hot* while its last read brought all that was asked for. Hot lanes are read in every turn, by the weights
of their priorities; for the others one read waits at the server. Nobody else reads, so room is promised once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import GROUP, Lane
from memsched.broker.scripting import Command, as_text
from memsched.errors import UnreachableError
from memsched.queue.delivery import Delivery, Entry, read_entry, read_streams
from memsched.queue.leases import Leases
from memsched.settings import Settings
from memsched.worker.buffer import WEIGHTS, WeightedRoundRobin
from memsched.worker.cancellation import cancel_and_wait
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.handlers import Orchestrator
from memsched.worker.pipeline import Request

_BLOCKED_READ_COUNT = 16
_PENDING_AT_ONCE = 10_000


def _raw(reply: Any) -> Any:
    return reply


class Reader:
    """The reads of one worker.

    Args:
        on_received: gets what was read.
        wake: asks for a turn of the cycle.
    """

    def __init__(
        self,
        server: Server,
        settings: Settings,
        orchestrator: Orchestrator,
        leases: Leases,
        dispatcher: Dispatcher,
        on_received: Callable[[list[Entry]], None],
        wake: Callable[[], None],
    ) -> None:
        self._server = server
        self._settings = settings
        self._orchestrator = orchestrator
        self._leases = leases
        self._dispatcher = dispatcher
        self._on_received = on_received
        self._wake = wake
        self._lanes: dict[bytes, Lane] = {}
        self._groups: list[tuple[Lane, ...]] = []
        self._hot: set[Lane] = set()
        self._turns = WeightedRoundRobin()
        self._waiting: dict[tuple[Lane, ...], tuple[asyncio.Task[Any], int]] = {}
        """Reads that wait at the server, and how much each may bring of a lane."""
        self._unsure: set[Lane] = set()
        """Lanes in which a reply was lost that may have given us messages."""
        self.on = True

    def add(self, lanes: Iterable[Lane]) -> None:
        """Read these too from now on. Their groups must exist."""
        for lane in lanes:
            self._lanes[lane.stream.encode()] = lane
            self._hot.add(lane)  # the first look does not wait
        # A Cluster answers a command about one slot only, so there each lane has a read of its own.
        everything = tuple(self._lanes.values())
        self._groups = [(lane,) for lane in everything] if self._server.clustered else [everything]

    @property
    def more(self) -> bool:
        """Whether there is room, and a lane that had more than was asked for."""
        return self.on and bool(self._hot) and self._room > 0

    @property
    def _room(self) -> int:
        return self._dispatcher.room - sum(count for _, count in self._waiting.values())

    # -- reads in a round trip -----------------------------------------------------------------------------------

    def requests(self) -> Iterable[Request]:
        """Of each hot lane its share of the room; of the others, which may have got something, a little."""
        if not self._server.blocking:
            self._hot.update(self._lanes.values())
        room = self._room
        if not self.on or room <= 0 or not self._hot:
            return
        for lane, count in self._shares(room).items():
            yield Request(Command(self._leases.read([lane], count), _raw), self._receiver(lane, count))
        waiting = {lane for group in self._waiting for lane in group}
        cold = tuple(lane for lane in self._lanes.values() if lane not in self._hot and lane not in waiting)
        for group in [(lane,) for lane in cold] if self._server.clustered else [cold]:
            if group:
                yield Request(Command(self._leases.read(group, 1), _raw), self._receive_from_cold)

    def _shares(self, room: int) -> dict[Lane, int]:
        weights = {lane: WEIGHTS[self._orchestrator.priority(lane.label)] for lane in self._hot}
        total = sum(weights.values())
        shares = {lane: room * weight // total for lane, weight in weights.items()}
        by_name = {lane.name: lane for lane in weights}
        for _ in range(room - sum(shares.values())):
            name = self._turns.next({lane.name: weight for lane, weight in weights.items()})
            shares[by_name[name]] += 1
        return {lane: count for lane, count in shares.items() if count}

    def _receiver(self, lane: Lane, count: int) -> Callable[[Any], None]:
        def receive(reply: Any) -> None:
            entries = read_streams(reply, self._lanes)
            if len(entries) < count:
                self._hot.discard(lane)
            self._on_received(entries)

        return receive

    def _receive_from_cold(self, reply: Any) -> None:
        entries = read_streams(reply, self._lanes)
        self._hot.update(entry.lane for entry in entries)
        self._on_received(entries)

    # -- reads that wait at the server ---------------------------------------------------------------------------

    def wait_for_more(self) -> None:
        """Let a read wait for lanes that had nothing, if there is room for what it may bring."""
        if not self.on or not self._server.blocking:
            return
        for group in self._groups:
            if group in self._waiting or not self._hot.isdisjoint(group):
                continue
            room = self._room
            if room <= 0:
                return
            count = min(_BLOCKED_READ_COUNT, max(1, room // 2))
            args = self._leases.read(group, count, self._settings.block_ms)
            task = asyncio.get_running_loop().create_task(self._server.read(args))
            self._waiting[group] = (task, count)
            task.add_done_callback(self._waited)

    def _waited(self, task: asyncio.Task[Any]) -> None:
        """Start what was brought without a detour through the cycle: somebody may wait for it."""
        self._wake()
        if self.on and not task.cancelled() and task.exception() is None:
            self.collect()
            self._dispatcher.start_ready()

    def collect(self) -> bool:
        """Take what the waiting reads brought; whether one of them was answered. Raises UnreachableError."""
        answered = False
        for group, (task, count) in list(self._waiting.items()):
            if not task.done():
                continue
            del self._waiting[group]
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                self._unsure.update(group)
                if isinstance(error, UnreachableError):
                    raise error
                self._hot.update(group)  # the next turn meets the error where it is dealt with
                continue
            answered = True
            entries = read_streams(task.result(), self._lanes)
            for lane in group:
                if sum(entry.lane is lane for entry in entries) >= count:
                    self._hot.add(lane)
            self._on_received(entries)
        return answered

    async def stop(self) -> None:
        """Take nothing more. What a read was given already is handed back with everything else at the end."""
        self.on = False
        await cancel_and_wait(task for task, _ in self._waiting.values())
        self._waiting.clear()

    # -- after a broken connection -------------------------------------------------------------------------------

    def replies_may_be_lost(self) -> None:
        """A round trip broke off."""
        self._unsure.update(self._lanes.values())

    async def read_own_pending(self) -> None:
        """What the server gave us in an answer that never arrived is ours, and we do not know it.

        Nobody else would claim it while we live and renew, so it is looked up in the pending list.
        """
        waiting = {lane for group in self._waiting for lane in group}
        for lane in [lane for lane in self._unsure if lane not in waiting]:
            worker_id = self._leases.worker_id
            page = Command(("XPENDING", lane.stream, GROUP, "-", "+", _PENDING_AT_ONCE, worker_id), _raw)
            (rows,) = await self._server.run([page])
            for entry_id, _, _, count in () if isinstance(rows, Exception) else rows:
                if (lane.name, as_text(entry_id)) not in self._dispatcher.held:
                    for found_id, raw in await self._server.execute("XRANGE", lane.stream, entry_id, entry_id):
                        entry = read_entry(lane, found_id, raw, count=int(count))
                        if isinstance(entry, Delivery):
                            entry.has_past = True  # it may have been claimed: there may be a checkpoint
                        self._on_received([entry])
            self._unsure.discard(lane)
