"""The supervisor: keeps N worker processes running, and hands a dead one's messages over at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from memsched.backoff import backoff
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import MemschedError, UnreachableError
from memsched.queue.lanes import known_lanes
from memsched.queue.leases import Leases
from memsched.queue.workers import WorkerRegistry
from memsched.settings import Settings
from memsched.worker.worker import new_worker_id

log = structlog.get_logger(__name__)

EXIT_WILL_NOT_GET_BETTER = 2
EXIT_NO_SERVER = 3
"""Exit codes of a worker process."""

_QUICK_DEATH_SECONDS = 10.0
_AFTER_GRACE_SECONDS = 15.0
"""What a worker may need, beyond the grace time, to cancel, report and deregister."""
_LONGEST_PAUSE_SECONDS = 30.0
_ONE_REQUEST_SECONDS = 1.0
"""Signals so close together are one request: some senders tell a whole group of processes, and some tell twice."""


@dataclass(slots=True)
class _Child:
    worker_id: str
    process: asyncio.subprocess.Process


class Supervisor:
    """Starts worker processes, replaces those that die, and stops them all at SIGTERM or SIGINT.

    Args:
        environment: for the children, over this process's own.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environment = dict(environment or {})
        self._keys = Keys(settings.prefix, settings.partitions)
        self._children: dict[int, _Child] = {}
        self._server: Server | None = None
        self._stopping = asyncio.Event()
        self._told_at: list[float] = []
        self._exit_code = 0

    async def run(self) -> int:
        """Until a signal, or until no child can ever start; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self._server = await Server.connect(self._settings)
        try:
            await asyncio.gather(*(self._keep(place) for place in range(self._settings.processes)))
        finally:
            await self._server.aclose()
        return self._exit_code

    def _on_signal(self) -> None:
        """The first asks the workers to stop, the second to hurry (it costs no attempt), a third kills."""
        now = asyncio.get_running_loop().time()
        if self._told_at and now - self._told_at[-1] < _ONE_REQUEST_SECONDS:
            return
        self._told_at.append(now)
        log.info("the supervisor was told to stop", action="supervisor.told", times=len(self._told_at))
        self._tell_children(signal.SIGTERM if len(self._told_at) <= 2 else signal.SIGKILL)

    def _tell_children(self, number: int) -> None:
        self._stopping.set()
        for child in self._children.values():
            _signal(child.process, number)

    async def _keep(self, place: int) -> None:
        """One place for a worker: filled again whenever its worker dies."""
        loop = asyncio.get_running_loop()
        quick_deaths = 0
        while not self._stopping.is_set():
            started = loop.time()
            child = await self._start(place)
            code = await self._wait(child)
            self._children.pop(place, None)
            if self._stopping.is_set() and code in (0, -signal.SIGTERM):  # the latter: it was only just starting
                return
            if code == EXIT_WILL_NOT_GET_BETTER:
                self._exit_code = code
                self._tell_children(signal.SIGTERM)
                return
            log.error(
                "a worker process died; its messages are handed over and another one is started",
                action="worker.died",
                worker_id=child.worker_id,
                pid=child.process.pid,
                exit=_describe(code),
            )
            await self._hand_over(child.worker_id)
            quick_deaths = quick_deaths + 1 if loop.time() - started < _QUICK_DEATH_SECONDS else 0
            if quick_deaths > 1:
                await self._pause(backoff(quick_deaths, base=0.1, cap=_LONGEST_PAUSE_SECONDS, least=0.5))

    async def _start(self, place: int) -> _Child:
        worker_id = f"{new_worker_id()}-{place}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "memsched.process",
            "--worker-id",
            worker_id,
            env={**os.environ, **self._environment},
            process_group=0,  # Ctrl-C is for the supervisor, which tells its children in order
        )
        child = _Child(worker_id, process)
        self._children[place] = child
        if self._stopping.is_set():
            _signal(process, signal.SIGTERM)
        return child

    async def _wait(self, child: _Child) -> int:
        """Its exit code. Once all are told to stop, one that does not in time is killed."""
        exited = asyncio.create_task(child.process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((exited, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not exited.done():
            await asyncio.wait((exited,), timeout=self._settings.grace_seconds + _AFTER_GRACE_SECONDS)
        if not exited.done():
            log.error("a worker does not stop; it is killed", action="worker.killed", worker_id=child.worker_id)
            _signal(child.process, signal.SIGKILL)
        return await exited

    async def _hand_over(self, worker_id: str) -> None:
        """Make what a dead worker held claimable at once. While the server is gone, its min idle does the same."""
        server = self._server
        assert server is not None

        async def attempt() -> int:
            await WorkerRegistry(server, self._keys, self._settings.worker_ttl_seconds).declare_dead(worker_id)
            leases = Leases(self._keys, worker_id)
            lanes = await known_lanes(server, self._keys)
            replies = await server.run([leases.handover(lane) for lane in lanes]) if lanes else []
            return sum(reply for reply in replies if isinstance(reply, int))

        try:
            count = await server.persistently(attempt)
        except (MemschedError, UnreachableError) as error:
            log.error(
                "messages of a dead worker are not handed over; they are claimed after their min idle",
                action="worker.handover_failed",
                worker_id=worker_id,
                error=str(error),
            )
        else:
            log.info("messages handed over", action="worker.handover", worker_id=worker_id, count=count)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        process.send_signal(number)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name


def run_supervisor(settings: Settings, environment: Mapping[str, str] | None = None) -> int:
    """Run workers until told to stop; returns the exit code. Raises ServerUnreachable if there is no server."""

    async def main() -> int:
        return await Supervisor(settings, environment).run()

    return asyncio.run(main())
