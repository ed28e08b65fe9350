"""The conversation from its first word to its report.

Two users talk, through servers of the demo's own, to several worker processes that remember. In the middle one worker
is killed, as an operating system kills: without a warning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from memsched.console.output import as_text
from memsched.demo.collect_evidence import collect_evidence, remembered
from memsched.demo.conversation import AFTER, BEFORE, BOB, CUBES, NAMES, TREAT, Turn, diary
from memsched.demo.dashboard import dashboard
from memsched.demo.display import Display
from memsched.demo.evidence import Evidence, Ready, in_words
from memsched.demo.monitor import Monitor
from memsched.demo.sandbox import EXIT_TOLD_TO_STOP, cancel_on_signals, environment_of, sandbox, sandbox_settings
from memsched.demo.worker_processes import DemoFailed, WorkerProcesses
from memsched.embedded.teardown import end_servers
from memsched.logs import configure_logs
from memsched.memory.access.permissions import CubeRef
from memsched.messages import ADD_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings
from memsched.tiers.hot_state import HotState

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

WORKERS = 3
PACE_SECONDS = 0.5
_BATCH = 4
"""Messages in one handler call: small, so that a burst lasts long enough to be interrupted."""
_WORKING_SET = 12
_DIARY_ENTRIES = 200
_BURSTS = 4
"""How often a diary is handed in before the demo gives up finding a worker that holds some of it."""
_START_SECONDS = 30.0
_PATIENCE_SECONDS = 30.0
_ORPHANS_SECONDS = 1.0
_POLL_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown.

    Args:
        pace: seconds between two utterances.
        svg: where a picture of it goes.
        keep: the folder to work in, if it is to stay.
    """

    workers: int = WORKERS
    kill: bool = True
    pace: float = PACE_SECONDS
    svg: Path | None = None
    keep: Path | None = None

    @property
    def command(self) -> str:
        """How it would be typed; the pace changes nothing of the picture."""
        words = ["memsched demo"]
        if self.workers != WORKERS:
            words.append(f"--workers {self.workers}")
        return " ".join(words if self.kill else [*words, "--no-kill"])


def run_demo(plan: Plan) -> int:
    """Perform it; returns 0 if all that the report claims holds, 1 otherwise."""
    display = Display()
    with sandbox(plan.keep) as folder:
        try:
            with display, (folder / "demo.log").open("w", encoding="utf-8") as log:
                evidence = asyncio.run(_perform(plan, folder, display, log))
        except asyncio.CancelledError:
            return EXIT_TOLD_TO_STOP
        display.show("")
        for line, style in evidence.report():
            display.show(as_text(line, style))
        if plan.svg is not None:
            display.draw_picture(plan.svg, plan.command)
        if plan.keep is not None:
            display.show(as_text(f"all of it is kept in {folder}", "dim"))
    return 1 if evidence.problems else 0


async def _perform(plan: Plan, folder: Path, display: Display, log: TextIO) -> Evidence:
    """Open the servers, let them talk, and collect the evidence; leaves no process behind, whatever happens."""
    cancel_on_signals()
    given = sandbox_settings(folder) | {
        "processes": plan.workers,
        "batch_size": _BATCH,
        "working_set_size": _WORKING_SET,
    }
    settings = Settings.model_construct(**given)
    configure_logs(settings, log)
    scheduler = AsyncMemScheduler(settings)
    workers = WorkerProcesses(folder, environment_of(given))
    try:
        try:
            talk = Talk(plan, scheduler, workers, display)
            finished = False
            try:
                async with dashboard(scheduler, partial(display.say, pictured=False)):
                    evidence = await talk.run()
                finished = True
            finally:
                exit_code = await workers.stop(hurry=not finished)
            evidence.exit_code = exit_code
            return evidence
        finally:
            await scheduler.stop()
    finally:
        await asyncio.to_thread(end_servers, folder / "server")


class Talk:
    """The part of the demo in which they talk."""

    def __init__(self, plan: Plan, scheduler: AsyncMemScheduler, workers: WorkerProcesses, display: Display) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._workers = workers
        self._display = display
        self._monitor: Monitor
        self._services: MemoryServices
        self._said: dict[str, Turn] = {}
        self._due = 0.0
        self._evidence = Evidence(self._said, plan.workers, workers.name, plan.kill)

    async def run(self) -> Evidence:
        """Until everything said has been handled, or the demo's patience is over."""
        evidence = self._evidence
        await self._open()
        began = self._due = time.monotonic()
        for turn in BEFORE:
            await self._say(turn)
        stored = await self._burst()
        for turn in AFTER:
            if turn.text == TREAT:
                evidence.ready = await self._ask(turn)
            else:
                await self._say(turn)
        await self._settle()
        status = self._monitor.status.total
        evidence.seconds = time.monotonic() - began
        evidence.unfinished, evidence.dead = status.backlog, status.dead
        await self._monitor.keep(shown=True)
        await collect_evidence(self._scheduler, evidence, stored)
        return evidence

    async def _open(self) -> None:
        """Servers, cubes, and workers that are up."""
        await self._scheduler.server()
        await self._workers.start()
        self._services = await self._scheduler.memory()
        await self._services.store.open()
        for user, cube in CUBES.items():
            await self._services.cubes.create_user(user, NAMES[user])
            await self._services.cubes.register(user, cube)
        self._monitor = Monitor(self._scheduler, self._services, self._workers, self._display)
        self._monitor.announce("Redis server and vector process are up")
        if not await self._monitor.until(self._all_are_up, _START_SECONDS):
            raise DemoFailed(f"Not all workers were up after {_START_SECONDS:g} s.")

    def _all_are_up(self) -> bool:
        return sum(worker.alive for worker in self._monitor.status.workers) >= self._plan.workers

    # -- the talk ------------------------------------------------------------------------------------------------

    async def _say(self, turn: Turn) -> None:
        if turn.settled:
            await self._settle()
        await self._monitor.pause(self._due)
        self._due = time.monotonic() + self._plan.pace
        await self._submit([turn])
        self._monitor.show_turn(turn)
        await self._monitor.look()

    async def _ask(self, question: Turn) -> Ready:
        """Say it when all before it has been handled, and see how the working set follows."""
        ref = CubeRef(question.user, CUBES[question.user])
        await self._settle()
        await self._monitor.pause(self._due)
        self._due = time.monotonic() + self._plan.pace
        began = time.perf_counter()
        before = await self._scheduler.working_set(ref.user_id, ref.mem_cube_id)
        asked = time.perf_counter()
        await self._submit([question])
        self._monitor.show_turn(question)
        state, renewed_ms = HotState(), None
        while renewed_ms is None and time.perf_counter() - asked < _PATIENCE_SECONDS:
            # The talk and the working set that follows from it are written in one step.
            state = await self._services.states.load(ref)
            if any(event.text == question.text for event in state.talk):
                renewed_ms = (time.perf_counter() - asked) * 1000
            else:
                await asyncio.sleep(_POLL_SECONDS)
        await self._monitor.look()
        return Ready(
            [each.text for each in before],
            [each.text for each in state.working_set],
            (asked - began) * 1000,
            renewed_ms,
        )

    async def _submit(self, turns: Sequence[Turn]) -> None:
        messages = []
        for number, turn in enumerate(turns, len(self._evidence.messages) + 1):
            reference = f"{turn.user}-{number}"
            if turn.label == ADD_LABEL:
                self._said[reference] = turn
            messages.append(turn.message(reference))
        self._evidence.messages += messages
        await self._scheduler.submit_messages(messages)

    async def _settle(self) -> None:
        """Until all that was said has been handled; what was not after a while is for the report."""
        await self._monitor.until(lambda: not self._monitor.status.total.backlog, _PATIENCE_SECONDS)
        await self._monitor.look(at_once=True)

    # -- the kill ------------------------------------------------------------------------------------------------

    async def _burst(self) -> set[str]:
        """Bob's diary comes in at once, and a worker dies over it.

        Returns the ids of the messages that it had remembered and not reported yet.
        """
        stored: set[str] = set()
        entries = diary(_DIARY_ENTRIES * _BURSTS)
        for burst in range(_BURSTS):
            some = entries[burst * _DIARY_ENTRIES : (burst + 1) * _DIARY_ENTRIES]
            await self._submit(some)
            self._monitor.announce(f"{NAMES[BOB]} hands in {len(some)} entries of his diary", "magenta")
            if not self._plan.kill or await self._kill(stored, picky=burst < _BURSTS - 1):
                break
        return stored

    async def _kill(self, stored: set[str], *, picky: bool) -> bool:
        """Kill a worker while there is work. Returns whether one was.

        Args:
            picky: only one that had remembered something and not reported it.
        """

        async def suits(held: Sequence[ScheduleMessageItem]) -> bool:
            stored.clear()
            stored.update(await remembered(self._services, held))
            return bool(stored) or not picky

        monitor, kill = self._monitor, None
        server = await self._scheduler.server()
        while kill is None:
            await monitor.look()
            if not monitor.status.total.backlog:
                return False
            lanes = [lane for label in monitor.status.labels for lane in self._scheduler.keys.lanes_of(label)]
            kill = await self._workers.kill_one(server, lanes, monitor.status, suits)
        self._evidence.kill = kill
        await monitor.until(lambda: bool(monitor.status.total.orphaned), _ORPHANS_SECONDS, every=0.0)
        monitor.announce_kill(
            kill, f"{self._workers.name(kill.worker_id)} killed with SIGKILL; it held {in_words(len(kill.held))}"
        )
        await monitor.keep()
        return True
