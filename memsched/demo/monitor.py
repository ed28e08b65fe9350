"""Monitors the queue, the workers and the memories while they talk, and shows what is new."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from memsched.deadline import Deadline
from memsched.demo.conversation import ALICE, CUBES, Turn
from memsched.demo.display import Display
from memsched.demo.view import View, WorkerState, described
from memsched.demo.worker_processes import Kill, WorkerProcesses
from memsched.memory.access.permissions import CubeRef
from memsched.memory.search.arguments import SearchArgs
from memsched.messages import LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE, ScheduleMessageItem
from memsched.queue.status import Status
from memsched.scheduler import AsyncMemScheduler
from memsched.task_status import TaskState
from memsched.tiers.hot_state import WorkingMemory

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

LOOK_SECONDS = 0.05
_COUNT_SECONDS = 0.25
_HERS = CubeRef(ALICE, CUBES[ALICE])


class Monitor:
    """Shows how things are at every ``look``, which is to be called as often as there is time.

    ``status`` and ``working_set`` are those of the last look.
    """

    def __init__(
        self, scheduler: AsyncMemScheduler, services: MemoryServices, workers: WorkerProcesses, display: Display
    ) -> None:
        self._scheduler = scheduler
        self._services = services
        self._workers = workers
        self._display = display
        self._view = View()
        self._kill: Kill | None = None
        self._orphans_left = False
        self._unfinished: list[ScheduleMessageItem] = []
        self._heirs: Counter[str] = Counter()
        self._counted = 0.0
        self.status = Status()
        self.working_set: list[WorkingMemory] = []

    async def look(self, *, at_once: bool = False) -> None:
        """See how things are, and show it.

        Args:
            at_once: exactly as they are now, also what is counted now and then only.
        """
        self._workers.check()
        self.status = await self._scheduler.read_status()
        for name in self._workers.name_new([worker for worker in self.status.workers if worker.alive]):
            self.announce(f"{name} is up")
        if self._orphans_left and not self.status.total.orphaned:
            self._orphans_left = False
            self.announce("orphaned is 0 again: others have them", "green")
        if self._kill is not None and self._unfinished:
            await self._see_who_went_on(self._kill)
        self._view.counts = self.status.total
        self._view.workers = self._worker_states()
        await self._look_at_the_set()
        if at_once or time.monotonic() - self._counted >= _COUNT_SECONDS:
            self._view.memories = await self._count()
            self._counted = time.monotonic()
        self._display.view(self._view.draw, at_once=at_once)

    async def until(self, holds: Callable[[], bool], seconds: float, every: float = LOOK_SECONDS) -> bool:
        """Look until it holds, or the time is over. Returns whether it does."""
        deadline = Deadline(seconds)
        await self.look()
        while not holds():
            if deadline.passed:
                return False
            await asyncio.sleep(every)
            await self.look()
        return True

    async def pause(self, until: float) -> None:
        """Look until then (time.monotonic())."""
        await self.look()
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(LOOK_SECONDS, left))
            await self.look()

    def show_turn(self, turn: Turn) -> None:
        """Somebody says something."""
        self._view.add_turn(turn)
        if not self._display.live:
            self._display.say(described(turn).plain, pictured=False)

    def announce(self, what: str, style: str = "") -> None:
        """Something happens beside the talk."""
        self._view.set_news(what, style)
        self._display.say(what, style)

    def announce_kill(self, kill: Kill, what: str) -> None:
        self._kill = kill
        self._orphans_left = True
        self._unfinished = list(kill.held)
        self._view.workers = self._worker_states()
        self.announce(what, "bold red")

    async def keep(self, *, shown: bool = False) -> None:
        """Put what was seen at the last look into the picture.

        Args:
            shown: it stays on the terminal as well.
        """
        self._view.memories = await self._count()
        self._display.keep_view(self._view.draw, shown=shown)

    async def _see_who_went_on(self, kill: Kill) -> None:
        left = []
        for message in self._unfinished:
            status = await self._scheduler.get_task_status(message)
            if status is not None and status.state is TaskState.COMPLETED:
                self._heirs[self._workers.name(status.worker or kill.worker_id)] += 1
            else:
                left.append(message)
        self._unfinished = left
        if not left:
            who = ", ".join(f"{count} by {name}" for name, count in sorted(self._heirs.items()))
            self.announce(f"what {self._workers.name(kill.worker_id)} held is done: {who}", "green")

    def _worker_states(self) -> list[WorkerState]:
        alive = {worker.worker_id: worker.alive for worker in self.status.workers}
        if self._kill is not None:
            alive[self._kill.worker_id] = False  # also when it is cleared away
        return sorted(
            (WorkerState(self._workers.name(worker_id), lives) for worker_id, lives in alive.items()),
            key=lambda worker: worker.name,
        )

    async def _look_at_the_set(self) -> None:
        self.working_set = await self._scheduler.working_set(ALICE, CUBES[ALICE])
        gone = self._view.gone_from(self.working_set)
        known = await self._services.store.get(_HERS, [each.memory_id for each in gone]) if gone else {}
        corrected = [
            each for each in gone if each.memory_id in known and known[each.memory_id].superseded_by is not None
        ]
        self._view.set_working_set(self.working_set, corrected)

    async def _count(self) -> dict[str, int]:
        """How many memories of each type both of them have."""
        numbers = {"long-term": 0, "user": 0, "working": 0}
        for user, cube in CUBES.items():
            for name, memory_type in (("long-term", LONG_TERM_MEMORY_TYPE), ("user", USER_MEMORY_TYPE)):
                conditions = SearchArgs(memory_type=[memory_type])
                numbers[name] += await self._services.store.count(CubeRef(user, cube), conditions)
            numbers["working"] += len(await self._scheduler.working_set(user, cube))
        return numbers
