"""The transport demo from its first message to its report.

Two users' messages go through a server of the demo's own to several worker processes. In the middle one worker is
killed, as an operating system kills: without a warning. The report says what became of each message, from evidence
that does not depend on the workers' word.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.console.output import as_text
from memsched.console.tables import status_view
from memsched.console.terminal import as_text
from memsched.demo.display import Stage
from memsched.demo.handlers import COUNT_LABEL, LABEL
from memsched.demo.sandbox import (
    EXIT_TOLD_TO_STOP,
    cancel_when_told,
    common_settings,
    environment_of,
    workplace,
)
from memsched.demo.transport.evidence import Evidence, in_words, read_counts, read_recoveries, read_runs
from memsched.demo.transport.progress import Progress
from memsched.demo.worker_processes import Crew, DemoFailed, Kill
from memsched.embedded.teardown import end_servers
from memsched.messages import ScheduleMessageItem
from memsched.queue.status import Counts, Status, read_status
from memsched.queue.submit import Producer
from memsched.settings import Settings

USERS = ("alice", "bob")
MESSAGES = 100
_KILL_AT = 0.4
_PICKY_UNTIL = 0.6
_PICKY_FROM_MESSAGES = 20
_BATCH = 2
"""Messages in one handler call: one may be finished and its file written while its call is not acknowledged yet."""
_LONGEST_SLEEP_SECONDS = 0.25
_WORK_SECONDS = 4.0
_START_SECONDS = 20.0
_PATIENCE_SECONDS = 40.0
_LOOK_SECONDS = 0.03
_ORPHANS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown. svg: where a picture of it goes; keep: the folder to work in, if it is to stay."""

    messages: int = MESSAGES
    workers: int = 3
    kill: bool = True
    svg: Path | None = None
    keep: Path | None = None

    @property
    def command(self) -> str:
        """How it would be typed."""
        standard = Plan()
        words = ["memsched demo --transport"]
        if self.messages != standard.messages:
            words.append(f"--messages {self.messages}")
        if self.workers != standard.workers:
            words.append(f"--workers {self.workers}")
        return " ".join(words if self.kill else [*words, "--no-kill"])


def run_demo(plan: Plan) -> int:
    """Perform it; gives 0 if every message was handled and counted exactly once, 1 otherwise."""
    stage = Stage()
    with workplace(plan.keep) as folder:
        try:
            with stage:
                evidence = asyncio.run(_perform(plan, folder, stage))
        except asyncio.CancelledError:
            return EXIT_TOLD_TO_STOP
        stage.show("")
        for line, style in evidence.report():
            stage.show(as_text(line, style))
        if plan.svg is not None:
            stage.draw_picture(plan.svg, plan.command)
        if plan.keep is not None:
            stage.show(as_text(f"all of it is kept in {folder}", "dim"))
    return 1 if evidence.problems else 0


async def _perform(plan: Plan, folder: Path, stage: Stage) -> Evidence:
    """Open the server, let the crew work, and gather the evidence; leaves no process behind, whatever happens."""
    cancel_when_told()
    given = _given(plan, folder)
    settings = Settings.model_construct(**given)
    crew = Crew(folder, environment_of(given))
    try:
        server = await Server.connect(settings)
        try:
            play = Play(plan, server, settings, crew, stage)
            finished = False
            try:
                evidence = await play.run()
                finished = True
            finally:
                exit_code = await crew.stop(hurry=not finished)
            evidence.exit_code = exit_code
            (counting_lane,) = play.keys.lanes_of(COUNT_LABEL)
            evidence.counted = await read_counts(server, counting_lane)
            evidence.runs = read_runs(Path(settings.demo_folder))
            if evidence.kill is not None:
                evidence.recoveries = read_recoveries(crew.log, evidence.kill)
            return evidence
        finally:
            await server.aclose()
    finally:
        await asyncio.to_thread(end_servers, folder / "server")


def _given(plan: Plan, folder: Path) -> dict[str, Any]:
    """The demo's settings. Short enough to be seen to the end, long enough for a death in the middle."""
    sleep = min(_LONGEST_SLEEP_SECONDS, _WORK_SECONDS * plan.workers * len(USERS) / plan.messages)
    return common_settings(folder, plan.workers) | {
        "app": "memsched.demo.handlers:counting_handlers",
        "memory": False,
        "concurrency": _BATCH * len(USERS),
        "batch_size": _BATCH,
        "demo_folder": str(folder / "results"),
        "demo_sleep_seconds": round(sleep, 4),
    }


class Play:
    """The part of the demo in which messages are handled."""

    def __init__(self, plan: Plan, server: Server, settings: Settings, crew: Crew, stage: Stage) -> None:
        self._plan = plan
        self._server = server
        self._settings = settings
        self._crew = crew
        self._stage = stage
        self._progress = Progress(stage, plan.messages)
        self.keys = Keys(settings.prefix)
        (self._lane,) = self.keys.lanes_of(LABEL)
        (self._counting_lane,) = self.keys.lanes_of(COUNT_LABEL)

    async def run(self) -> Evidence:
        """Until all messages are done, or the demo's patience is over."""
        plan, stage, crew = self._plan, self._stage, self._crew
        stage.say("the server is up")
        await crew.start()
        await self._until_all_are_up()
        messages = [
            ScheduleMessageItem(
                user_id=USERS[number % len(USERS)],
                mem_cube_id="home",
                label=LABEL,
                content=f"message {number + 1}",
            )
            for number in range(plan.messages)
        ]
        began = time.monotonic()
        await Producer(self._server, self.keys, self._settings).submit(messages)
        stage.say(f"{in_words(plan.messages)} of {len(USERS)} users submitted")
        evidence = Evidence(messages, 0.0, plan.workers, crew.name, plan.kill)
        orphans_left = False
        while True:
            status, done = await self._look()
            self._progress.show(status, done)
            if orphans_left and not status.total.orphaned:
                orphans_left = False
                stage.say("orphaned is 0 again: others went on with them", "green")
            if plan.kill and evidence.kill is None and done >= int(plan.messages * _KILL_AT):
                evidence.kill = await self._kill(done)
                orphans_left = evidence.kill is not None
            evidence.seconds = time.monotonic() - began
            if not status.total.backlog or evidence.seconds > _PATIENCE_SECONDS:
                evidence.unfinished, evidence.dead = status.total.backlog, status.total.dead
                return evidence
            await asyncio.sleep(_LOOK_SECONDS)

    async def _until_all_are_up(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while sum(worker.alive for worker in (await self._read_status()).workers) < self._plan.workers:
            self._crew.check()
            if time.monotonic() > deadline:
                raise DemoFailed(f"Not all workers were up after {_START_SECONDS:g} s.")
            await asyncio.sleep(_LOOK_SECONDS)
        await self._look()

    async def _look(self) -> tuple[Status, int]:
        """The state of the demo's label, workers by their short names; and how many messages were counted."""
        self._crew.check()
        status = await self._read_status()
        done = int(await self._server.execute("XLEN", self._counting_lane.stream))
        live = [worker for worker in status.workers if worker.alive]
        for name in self._crew.introduce(live):
            self._stage.say(f"{name} is up")
        return self._named(status), done

    def _named(self, status: Status) -> Status:
        counts = status.labels.get(LABEL, Counts())
        workers = [replace(worker, worker_id=self._crew.name(worker.worker_id)) for worker in status.workers]
        return Status(counts, {LABEL: counts}, workers)

    async def _read_status(self) -> Status:
        return await read_status(self._server, self.keys, self._settings, labels=[LABEL])

    async def _kill(self, done: int) -> Kill | None:
        # Until then, a moment is waited for that shows more: a message is finished, and its worker dies before it
        # could say so.
        picky = self._plan.messages >= _PICKY_FROM_MESSAGES and done < self._plan.messages * _PICKY_UNTIL

        async def suits(held: Sequence[ScheduleMessageItem]) -> bool:
            finished = read_runs(Path(self._settings.demo_folder)) if picky else {}
            return not picky or any(message.item_id in finished for message in held)

        status = await self._read_status()
        kill = await self._crew.kill_one(self._server, [self._lane], status, done, suits)
        if kill is None:
            return None
        name = self._crew.name(kill.worker_id)
        seen = await self._see_orphans()
        self._stage.say(f"{name} killed with SIGKILL; it held {in_words(len(kill.held))}", "bold red")
        if seen is not None:
            self._stage.show(Group("", status_view(self._named(seen)), ""))
        return kill

    async def _see_orphans(self) -> Status | None:
        """The first look after the death at which there are orphans. They may be taken over within a moment."""
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while time.monotonic() < deadline:
            status = await self._read_status()
            if status.total.orphaned:
                return status
        return None
