"""The demo's worker processes: under the same supervisor as everywhere, with their logs in one file.

``python -m memsched.demo.worker_processes PID`` is that supervisor, for as long as the demo (PID) is there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memsched.broker.client import Server
from memsched.broker.keys import GROUP, Lane
from memsched.errors import MemschedError
from memsched.logs import configure_logs
from memsched.messages import ScheduleMessageItem
from memsched.process import die_with
from memsched.queue.delivery import Delivery, read_entry
from memsched.queue.status import Status
from memsched.queue.workers import WorkerInfo
from memsched.settings import Settings
from memsched.worker.supervisor import run_supervisor

_ON_ITS_WAY_SECONDS = 0.03
"""For what a worker had sent before it was stopped to arrive at the server, on the same machine."""
_PATIENCE_SECONDS = (20.0, 5.0, 5.0)
"""After each request to the supervisor: the first stops its workers, the second has them hurry, the third kills."""
_HURRIED_SECONDS = (2.0, 5.0, 8.0)


class DemoFailed(MemschedError):
    """The demo cannot go on."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One worker's SIGKILL: whose, when (time.time()), and which messages it held."""

    worker_id: str
    at: float
    held: tuple[ScheduleMessageItem, ...]


class WorkerProcesses:
    """A supervisor process with its workers: starts them, gives each a short name, kills one, stops them all.

    Args:
        folder: where they run, and no .env is.
        environment: all that the processes need.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._supervisor: asyncio.subprocess.Process | None = None
        self._names: dict[str, str] = {}
        self.log = folder / "workers.log"

    async def start(self) -> None:
        with open(self.log, "ab") as log:  # noqa: ASYNC230 -- once, before anything happens
            self._supervisor = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", __name__, str(os.getpid())),
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the demo, which stops its workers in order
            )

    def check(self) -> None:
        """Whether the demo may go on. Raises DemoFailed, with what they said, when the workers have given up."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Ctrl-C came, and was swallowed: before Python 3.12 asyncio.wait_for, in which redis-py sends, does so
            # when it is done at that very moment.
            raise asyncio.CancelledError
        code = self._supervisor.returncode if self._supervisor is not None else None
        if code is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise DemoFailed(f"The workers ended with code {code}: {' / '.join(said) or 'no word'}")

    def name(self, worker_id: str) -> str:
        """``worker 1``, ``worker 2``, ...: in the order of their start."""
        return self._names.setdefault(worker_id, f"worker {len(self._names) + 1}")

    def name_new(self, workers: list[WorkerInfo]) -> list[str]:
        """Name the workers that are new. Returns the new names."""
        new = [worker.worker_id for worker in workers if worker.worker_id not in self._names]
        # The supervisor's place is the end of the id: those that start together are always named in one order.
        return [self.name(worker_id) for worker_id in sorted(new, key=lambda new_id: new_id.rpartition("-")[2])]

    async def kill_one(
        self,
        server: Server,
        lanes: Sequence[Lane],
        status: Status,
        suits: Callable[[Sequence[ScheduleMessageItem]], Awaitable[bool]],
    ) -> Kill | None:
        """SIGKILL the worker that holds most of these lanes, if what it holds suits; None if it does not.

        It is stopped first, for the time of a look: so what it holds when it dies is known exactly.
        """
        holding: Counter[str] = Counter()
        for lane in lanes:
            summary = await server.execute("XPENDING", lane.stream, GROUP)
            holding.update({owner.decode(): int(count) for owner, count in summary[3] or ()})
        workers = [worker for worker in status.workers if worker.alive and holding[worker.worker_id]]
        victim = max(workers, key=lambda worker: holding[worker.worker_id], default=None)
        if victim is None:
            return None
        pid = int(victim.about["pid"])
        os.kill(pid, signal.SIGSTOP)
        killed = False
        try:
            await asyncio.sleep(_ON_ITS_WAY_SECONDS)
            held = [message for lane in lanes for message in await _held(server, lane, victim.worker_id)]
            if not held or not await suits(held):
                return None
            os.kill(pid, signal.SIGKILL)
            killed = True
            return Kill(victim.worker_id, time.time(), tuple(held))
        finally:
            if not killed:
                os.kill(pid, signal.SIGCONT)

    async def stop(self, *, hurry: bool) -> int:
        """Let them finish what runs (or not, in a hurry). Returns the supervisor's exit code."""
        process = self._supervisor
        if process is None:
            return 0
        for seconds in _HURRIED_SECONDS if hurry else _PATIENCE_SECONDS:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await process.wait()
        process.kill()
        return await process.wait()


async def _held(server: Server, lane: Lane, worker_id: str) -> list[ScheduleMessageItem]:
    held = []
    for row in await server.execute("XPENDING", lane.stream, GROUP, "-", "+", 10_000, worker_id):
        for entry_id, raw in await server.execute("XRANGE", lane.stream, row[0], row[0]):
            entry = read_entry(lane, entry_id, raw)
            if isinstance(entry, Delivery):
                held.append(entry.message)
    return held


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    settings = Settings.load()
    configure_logs(settings, worker="supervisor")
    run_supervisor(settings)
