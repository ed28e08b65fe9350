"""The demo's worker processes: under the same supervisor as everywhere, with their logs in one file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memsched.connection import Server
from memsched.errors import MemschedError
from memsched.keys import GROUP, Lane
from memsched.queue.delivery import Delivery, read_entry
from memsched.queue.registry import WorkerInfo
from memsched.queue.status import Status

_LOOK_SECONDS = 0.02
_HURRIED_SECONDS = 5.0
_AFTER_GRACE_SECONDS = 20.0


class DemoFailed(MemschedError):
    """The demo cannot go on."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One worker's end: whose, when (time.time()), how many messages were done, and which ones it held."""

    worker_id: str
    at: float
    done: int
    held: tuple[str, ...]
    """item ids"""


class Crew:
    """Starts the workers, gives each a short name, kills one, stops them all.

    environment: all that the processes need; they run in ``folder``, where no .env is.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._supervisor: asyncio.subprocess.Process | None = None
        self._names: dict[str, str] = {}
        self.log = folder / "workers.log"

    async def start(self) -> None:
        with open(self.log, "ab") as log:
            self._supervisor = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "memsched.demo.workers",
                cwd=self._folder, env=self._environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                process_group=0,  # Ctrl-C is for the demo, which stops its workers in order
            )  # fmt: skip

    def check(self) -> None:
        """Raises DemoFailed, with what they said, when the workers have given up."""
        code = self._supervisor.returncode if self._supervisor is not None else None
        if code is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise DemoFailed(f"The workers ended with code {code}: {' / '.join(said) or 'no word'}")

    def name(self, worker_id: str) -> str:
        """``worker 1``, ``worker 2``, ...: in the order of their start."""
        return self._names.setdefault(worker_id, f"worker {len(self._names) + 1}")

    def introduce(self, workers: list[WorkerInfo]) -> list[str]:
        """Name the workers that are new; gives the new names."""
        # The supervisor's places are the end of the ids: of those that start together, the order is always the same.
        new = sorted((w.worker_id for w in workers if w.worker_id not in self._names), key=lambda i: i[-3:])
        return [self.name(worker_id) for worker_id in new]

    async def kill_one(self, server: Server, lane: Lane, status: Status, done: int) -> Kill | None:
        """SIGKILL the worker that holds most, if one holds anything.

        It is stopped first, for the time of a look: so what it holds when it dies is known exactly.
        """
        summary = await server.execute("XPENDING", lane.stream, GROUP)
        holding = {owner.decode(): int(count) for owner, count in summary[3] or ()}
        workers = [worker for worker in status.workers if worker.alive and holding.get(worker.worker_id)]
        if not workers:
            return None
        victim = max(workers, key=lambda worker: holding[worker.worker_id])
        pid = int(victim.about["pid"])
        os.kill(pid, signal.SIGSTOP)
        held = await self._held(server, lane, victim.worker_id)
        if not held:
            os.kill(pid, signal.SIGCONT)
            return None
        os.kill(pid, signal.SIGKILL)
        return Kill(victim.worker_id, time.time(), done, tuple(held))

    async def _held(self, server: Server, lane: Lane, worker_id: str) -> list[str]:
        """The item ids that a stopped worker holds, when what it had sent before has arrived."""
        before: list[bytes] | None = None
        while True:
            rows = await server.execute("XPENDING", lane.stream, GROUP, "-", "+", 10_000, worker_id)
            ids = [row[0] for row in rows]
            if ids == before:
                break
            before = ids
            await asyncio.sleep(_LOOK_SECONDS)
        held = []
        for entry_id in ids:
            for found_id, raw in await server.execute("XRANGE", lane.stream, entry_id, entry_id):
                entry = read_entry(lane, found_id, raw)
                if isinstance(entry, Delivery):
                    held.append(entry.message.item_id)
        return held

    async def stop(self, *, hurry: bool) -> int:
        """Let them finish what runs (or not, in a hurry); gives the supervisor's exit code."""
        process = self._supervisor
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            if hurry:
                process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(process.wait(), _HURRIED_SECONDS if hurry else _AFTER_GRACE_SECONDS)
        except TimeoutError:
            process.kill()  # its workers are told by the kernel, and end
            return await process.wait()
