"""Looking at the queue, the workers and the memories while they talk, and saying what is new."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from memsched.demo.conversation import ALICE, CUBES, Turn
from memsched.demo.display import Stage
from memsched.demo.view import Place, View, described
from memsched.demo.worker_processes import Crew, Kill
from memsched.memory.access.cubes import CubeRef
from memsched.messages import LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE, ScheduleMessageItem, TaskState
from memsched.queue.status import Status
from memsched.scheduler import AsyncMemScheduler
from memsched.task_status import TaskState
from memsched.tiers.hot_state import WorkingMemory

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

LOOK_SECONDS = 0.05
_COUNT_SECONDS = 0.25
_HERS = CubeRef(ALICE, CUBES[ALICE])


class Watch:
    """``look`` as often as there is time; ``status`` and ``working_set`` are those of the last look."""

    def __init__(self, scheduler: AsyncMemScheduler, services: MemoryServices, crew: Crew, stage: Stage) -> None:
        self._scheduler = scheduler
        self._services = services
        self._crew = crew
        self._stage = stage
        self._view = View()
        self._kill: Kill | None = None
        self._orphans_left = False
        self._unfinished: list[ScheduleMessageItem] = []
        self._heirs: Counter[str] = Counter()
        self._counted = 0.0
        self.status = Status()
        self.working_set: list[WorkingMemory] = []

    async def look(self, *, at_once: bool = False) -> None:
        """See how things are, and show it. at_once: exactly as they are now, also what is counted now and then only."""
        self._crew.check()
        self.status = await self._scheduler.read_status()
        for name in self._crew.introduce([worker for worker in self.status.workers if worker.alive]):
            self.tell(f"{name} is up")
        if self._orphans_left and not self.status.total.orphaned:
            self._orphans_left = False
            self.tell("orphaned is 0 again: others have them", "green")
        if self._kill is not None and self._unfinished:
            await self._see_who_went_on(self._kill)
        self._view.counts = self.status.total
        self._view.workers = self._places()
        await self._look_at_the_set()
        if at_once or time.monotonic() - self._counted >= _COUNT_SECONDS:
            self._view.memories = await self._count()
            self._counted = time.monotonic()
        self._stage.view(self._view.draw, at_once=at_once)

    async def until(self, holds: Callable[[], bool], seconds: float, every: float = LOOK_SECONDS) -> bool:
        """Look until it holds, or the time is over; gives whether it does."""
        deadline = time.monotonic() + seconds
        await self.look()
        while not holds():
            if time.monotonic() > deadline:
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

    def hear(self, turn: Turn) -> None:
        """Somebody says something."""
        self._view.say(turn)
        if not self._stage.live:
            self._stage.say(described(turn).plain, pictured=False)

    def tell(self, what: str, style: str = "") -> None:
        """Something happens beside the talk."""
        self._view.tell(what, style)
        self._stage.say(what, style)

    def tell_of(self, kill: Kill, what: str) -> None:
        self._kill = kill
        self._orphans_left = True
        self._unfinished = list(kill.held)
        self._view.workers = self._places()
        self.tell(what, "bold red")

    async def keep(self, *, shown: bool = False) -> None:
        """What was seen at the last look is worth a picture. shown: and stays on the terminal."""
        self._view.memories = await self._count()
        self._stage.keep_view(self._view.draw, shown=shown)

    async def _see_who_went_on(self, kill: Kill) -> None:
        left = []
        for message in self._unfinished:
            status = await self._scheduler.get_task_status(message)
            if status is not None and status.state is TaskState.COMPLETED:
                self._heirs[self._crew.name(status.worker or kill.worker_id)] += 1
            else:
                left.append(message)
        self._unfinished = left
        if not left:
            who = ", ".join(f"{count} by {name}" for name, count in sorted(self._heirs.items()))
            self.tell(f"what {self._crew.name(kill.worker_id)} held is done: {who}", "green")

    def _places(self) -> list[Place]:
        alive = {worker.worker_id: worker.alive for worker in self.status.workers}
        if self._kill is not None:
            alive[self._kill.worker_id] = False  # also when it is cleared away
        return sorted(
            (Place(self._crew.name(worker_id), lives) for worker_id, lives in alive.items()),
            key=lambda place: place.name,
        )

    async def _look_at_the_set(self) -> None:
        self.working_set = await self._scheduler.working_set(ALICE, CUBES[ALICE])
        gone = self._view.left(self.working_set)
        known = await self._services.store.get(_HERS, [each.memory_id for each in gone]) if gone else {}
        corrected = [
            each for each in gone if each.memory_id in known and known[each.memory_id].superseded_by is not None
        ]
        self._view.set_working_set(self.working_set, corrected)

    async def _count(self) -> dict[str, int]:
        """How many memories of each type both of them have."""
        from memsched.memory.search.arguments import SearchArgs

        numbers = {"long-term": 0, "user": 0, "working": 0}
        for user, cube in CUBES.items():
            for name, memory_type in (("long-term", LONG_TERM_MEMORY_TYPE), ("user", USER_MEMORY_TYPE)):
                conditions = SearchArgs(memory_type=[memory_type])
                numbers[name] += await self._services.store.count(CubeRef(user, cube), conditions)
            numbers["working"] += len(await self._scheduler.working_set(user, cube))
        return numbers
