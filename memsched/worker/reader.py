"""The reader: fetches with the next round trip while there is something, and by a blocking read while there is not.

A lane is *hot* while its last read brought all that was asked for. Hot lanes are read in every turn, by the weights
of their priorities; the others are looked at beside them. While no lane is hot, one read waits at the server for all.
Nobody else reads, so room is promised once; and of a label that has no free call nothing is read at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
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
_CHARACTERS_AT_ONCE = 32 * 1024 * 1024
"""Of one lane in one read, by the size of what it brought before."""


def _raw(reply: Any) -> Any:
    return reply


def _share_of_others(room: int, their_turn: bool) -> int:
    """How much of the room, beside hot lanes, is for the lanes of which nothing is known."""
    return room // 8 or int(their_turn)


class Reader:
    """The reads of one worker.

    Args:
        on_received: gets what was read.
        hand_back: gets what was read and cannot be used here.
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
        hand_back: Callable[[list[Delivery]], None],
        wake: Callable[[], None],
    ) -> None:
        self._server = server
        self._settings = settings
        self._orchestrator = orchestrator
        self._leases = leases
        self._dispatcher = dispatcher
        self._on_received = on_received
        self._hand_back = hand_back
        self._wake = wake
        self._lanes: dict[bytes, Lane] = {}
        self._labels: set[str] = set()
        self._hot: set[Lane] = set()
        self._empty: set[Lane] = set()
        """Lanes that had nothing more in this turn, so that a read may wait for them."""
        self._first = 0
        self._largest: dict[Lane, float] = {}
        """Characters of the largest message of late, by lane; of one that was not read yet, a cautious guess."""
        self._others_next = False
        self._turns = WeightedRoundRobin()
        self._waiting: dict[tuple[Lane, ...], tuple[asyncio.Task[Any], int]] = {}
        """Reads that wait at the server, and how much each may bring of a lane."""
        self._unsure: set[Lane] = set()
        """Lanes in which a reply was lost that may have given us messages."""
        self._kept_out: dict[Lane, float] = {}
        """Lanes that the server refused to read, and until when (loop.time()) it is not asked to again."""
        self.on = True

    def add(self, lanes: Iterable[Lane]) -> None:
        """Read these too from now on. Their groups must exist."""
        for lane in lanes:
            self._lanes[lane.stream.encode()] = lane
            self._labels.add(lane.label)
            self._hot.add(lane)  # the first look does not wait
            self._largest[lane] = _CHARACTERS_AT_ONCE / _BLOCKED_READ_COUNT

    @property
    def more(self) -> bool:
        """Whether there is room, and a lane that had more than was asked for, or that nobody has looked at."""
        if not self.on or self._room <= 0:
            return False
        lanes, rooms = self._uncovered() if self._server.blocking else self._hot, self._rooms()
        return any(rooms[lane.label] > 0 for lane in lanes)

    @property
    def _room(self) -> int:
        """What no waiting read was promised; one while any is free, or nobody would look at a lane that came late."""
        room = self._dispatcher.room
        return max(room - sum(count for _, count in self._waiting.values()), min(room, 1))

    def _rooms(self) -> dict[str, int]:
        """The same by label."""
        promised: Counter[str] = Counter()
        for lanes, (_, count) in self._waiting.items():
            promised.update(dict.fromkeys({lane.label for lane in lanes}, count))
        return {label: max(room - promised[label], min(room, 1)) for label, room in self._free_of_labels().items()}

    def _free_of_labels(self) -> dict[str, int]:
        return {label: self._dispatcher.room_of(label) for label in self._labels}

    def _uncovered(self) -> list[Lane]:
        """The lanes for which no read waits."""
        covered = {lane for lanes in self._waiting for lane in lanes}
        if self._kept_out:
            now = asyncio.get_running_loop().time()
            self._kept_out = {lane: until for lane, until in self._kept_out.items() if until > now}
            covered |= self._kept_out.keys()
        return [lane for lane in self._lanes.values() if lane not in covered]

    # -- reads in a round trip -----------------------------------------------------------------------------------

    def requests(self) -> Iterable[Request]:
        """Of each hot lane its share of the room; of the others, which may have got something, a little."""
        room = self._room
        if not self.on or room <= 0:
            return
        rooms = self._rooms()
        lanes = [lane for lane in self._uncovered() if rooms[lane.label] > 0]
        if lanes:  # lanes that share the room of a label take turns in being the first
            self._first += 1
            at = self._first % len(lanes)
            lanes = lanes[at:] + lanes[:at]
        hot = [lane for lane in lanes if lane in self._hot]
        others = [lane for lane in lanes if lane not in self._hot and lane not in self._empty]
        if others:
            self._others_next = not self._others_next
            hot_labels = {lane.label for lane in hot}
            limits = {
                label: _share_of_others(rooms[label], self._others_next) if label in hot_labels else rooms[label]
                for label in {lane.label for lane in others}
            }
            most = _share_of_others(room, self._others_next) if hot else room
            yield from self._look(others, most, limits)
            # Taken from the hot lanes only where free places are at stake: if both bring all that they may, the queue
            # in here is longer for once.
            room -= max(0, most - max(0, room - max(0, self._dispatcher.places)))
            for label, limit in limits.items():
                rooms[label] -= min(limit, most)
        for lane, count in self._shares(hot, room, rooms).items():
            yield self._read(lane, count)

    def _read(self, lane: Lane, count: int) -> Request:
        def keep_out(until: float) -> None:
            self._kept_out[lane] = until

        return Request(Command(self._leases.read([lane], count), _raw), self._receiver(lane, count), keep_out)

    def _look(self, lanes: list[Lane], most: int, limits: dict[str, int]) -> Iterable[Request]:
        """At lanes that are not hot, those of a higher priority first."""
        if most <= 0:
            return
        turned = sorted(lanes, key=self._weight, reverse=True)
        if not self._server.clustered:
            yield Request(self._leases.read_one_of_each(turned, most, limits), self._looked(turned))
            return
        left = dict(limits)  # a Cluster answers a command about one slot only
        for lane in turned:
            if most > 0 and left[lane.label] > 0:
                most -= 1
                left[lane.label] -= 1
                yield self._read(lane, 1)

    def _looked(self, lanes: list[Lane]) -> Callable[[Any], None]:
        def receive(reply: tuple[Any, list[str], list[str]]) -> None:
            streams, unseen, refused = reply
            entries = self._weigh(read_streams(streams, self._lanes))
            self._hot.update(entry.lane for entry in entries)
            self._hot.update(lane for lane in lanes if lane.stream in refused)  # the next turn meets the error
            left_out = set(unseen)
            self._empty.update(lane for lane in lanes if lane not in self._hot and lane.stream not in left_out)
            self._on_received(entries)

        return receive

    def _weight(self, lane: Lane) -> int:
        return WEIGHTS[self._orchestrator.priority(lane.label)]

    def _shares(self, hot: list[Lane], room: int, rooms: dict[str, int]) -> dict[Lane, int]:
        """The room by weight, within the rooms of the labels; what one label cannot use goes to the others."""
        shares: dict[Lane, int] = {}
        by_name = {lane.name: lane for lane in hot}
        while room > 0:
            weights = {lane.name: self._weight(lane) for lane in hot if rooms[lane.label] > 0}
            if not weights:
                break
            total, whole = sum(weights.values()), room
            parts = {name: whole * weight // total for name, weight in weights.items()}
            if not any(parts.values()):
                parts = {self._turns.next(weights): 1}
            for name, part in parts.items():
                lane = by_name[name]
                if (count := min(part, rooms[lane.label])) > 0:
                    shares[lane] = shares.get(lane, 0) + count
                    rooms[lane.label] -= count
                    room -= count
        return {lane: min(count, self._most_of(lane)) for lane, count in shares.items()}

    def _most_of(self, lane: Lane) -> int:
        """How many messages of a lane one read may bring, as large as they are there."""
        return max(1, int(_CHARACTERS_AT_ONCE / self._largest[lane]))

    def _weigh(self, entries: list[Entry]) -> list[Entry]:
        """Learn how large the messages of their lanes are."""
        largest: dict[str, int] = {}
        for entry in entries:
            if isinstance(entry, Delivery):
                name, size = entry.lane.stream, sum(map(len, entry.fields.values()))
                if size > largest.get(name, 0):
                    largest[name] = size
        for stream, size in largest.items():
            lane = self._lanes[stream.encode()]
            self._largest[lane] = max(1, size, self._largest[lane] / 2)
        return entries

    def _receiver(self, lane: Lane, count: int) -> Callable[[Any], None]:
        def receive(reply: Any) -> None:
            entries = self._weigh(read_streams(reply, self._lanes))
            self._learnt(lane, len(entries) >= count)
            self._on_received(entries)

        return receive

    def _learnt(self, lane: Lane, full: bool) -> None:
        """What a read of a lane says: it brought all that was asked for, or all that there was."""
        if full:
            self._hot.add(lane)
        else:
            self._hot.discard(lane)
            self._empty.add(lane)

    # -- reads that wait at the server ---------------------------------------------------------------------------

    def wait_for_more(self) -> None:
        """Let a read wait for the lanes that had nothing just now, if there is room for what it may bring."""
        empty, self._empty = self._empty, set()
        if not self.on or not self._server.blocking:
            return  # a server that cannot block is asked again and again
        rooms = self._rooms()
        lanes = [lane for lane in self._uncovered() if rooms[lane.label] > 0]
        if not self._hot.isdisjoint(lanes):
            return  # they are looked at in every turn, and nothing is kept free for them meanwhile
        lanes = [lane for lane in lanes if lane in empty]
        # A Cluster answers a command about one slot only, so there each lane has a read of its own.
        for group in [(lane,) for lane in lanes] if self._server.clustered else [tuple(lanes)]:
            room = self._room
            if room <= 0 or not group:
                continue
            most = min(_BLOCKED_READ_COUNT, max(1, room // 2), *(rooms[lane.label] for lane in group))
            count = 1 if self._waiting else min(most, *map(self._most_of, group))
            args = self._leases.read(group, count, self._settings.block_ms)
            task = asyncio.get_running_loop().create_task(self._server.read(args))
            self._waiting[group] = (task, count)
            task.add_done_callback(self._waited)

    def _waited(self, task: asyncio.Task[Any]) -> None:
        """Start what was brought without a detour through the cycle: somebody may wait for it."""
        self._wake()
        if self.on and not task.cancelled() and task.exception() is None:
            with suppress(UnreachableError):  # of other reads: the next turn meets it where it is dealt with
                self.collect()
            self._dispatcher.start_ready()

    def collect(self) -> bool:
        """Take what the waiting reads brought; whether one of them was answered.

        Raises UnreachableError, for all that broke off at once: each time it is raised, the worker waits for longer.
        """
        answered = False
        broken: UnreachableError | None = None
        for group, (task, count) in list(self._waiting.items()):
            if not task.done():
                continue
            del self._waiting[group]
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                self._unsure.update(group)
                if isinstance(error, UnreachableError):
                    broken = error
                else:
                    self._hot.update(group)  # the next turn meets the error where it is dealt with
                continue
            answered = True
            entries = self._weigh(read_streams(task.result(), self._lanes))
            for lane in group:
                self._learnt(lane, sum(entry.lane is lane for entry in entries) >= count)
            self._on_received(self._within_room(entries))
        if broken is not None:
            raise broken
        return answered

    def _within_room(self, entries: list[Entry]) -> list[Entry]:
        """What can be used here; the rest is handed back, for a worker with a free place.

        Every lane has a read that waits for it, however many lanes there are, so together they may bring too much. What
        runs in order stays: those that come after it would pass it.
        """
        room, rooms = self._dispatcher.room, self._free_of_labels()
        kept: list[Entry] = []
        surplus: list[Delivery] = []
        for entry in entries:
            if not isinstance(entry, Delivery) or self._orchestrator.ordered(entry.lane.label):
                kept.append(entry)
            elif room > 0 and rooms[entry.lane.label] > 0:
                kept.append(entry)
                room -= 1
                rooms[entry.lane.label] -= 1
            else:
                surplus.append(entry)
        if surplus:
            self._hand_back(surplus)
        return kept

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
            if isinstance(rows, Exception) and not str(rows).startswith("NOGROUP"):
                continue  # asked again with the next turn: else nobody would know of them as long as we live
            for entry_id, _, _, count in () if isinstance(rows, Exception) else rows:
                if (lane.name, as_text(entry_id)) not in self._dispatcher.held:
                    for found_id, raw in await self._server.execute("XRANGE", lane.stream, entry_id, entry_id):
                        entry = read_entry(lane, found_id, raw, count=int(count))
                        if isinstance(entry, Delivery):
                            entry.has_past = True  # it may have been claimed: there may be a checkpoint
                        self._on_received([entry])
            self._unsure.discard(lane)
