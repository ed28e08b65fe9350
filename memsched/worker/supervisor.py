"""The supervisor: keeps N worker processes running, and hands a dead one's messages over at once.

How a worker process ended is not told by its exit code, which a handler or a native library may have chosen: before it
is ready, a worker that can never start says so through a pipe. Every other end is a crash, and so is the end of the
pipe while the process lives on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from memsched.backoff import backoff
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.deadline import Deadline
from memsched.errors import CannotStart, MemschedError, UnreachableError
from memsched.logs import get_logger
from memsched.queue.handover import hand_over
from memsched.settings import Settings
from memsched.worker.cancellation import cancel_and_wait
from memsched.worker.worker import new_worker_id

log = get_logger(__name__)

READY = "ready"
"""What a worker process writes into the pipe when it reads messages; before that, why it can never start."""

_QUICK_DEATH_SECONDS = 10.0
_SLOW_START_SECONDS = 60.0
_LEFTOVERS_SECONDS = 2.0
"""For the programs that a handler had started, between SIGTERM and SIGKILL, once their worker is gone."""
_EXIT_SECONDS = 1.0
"""Between the end of a worker's pipe and that of its process, which come together unless it is no worker any more."""
_POLL_SECONDS = 0.02
_AFTER_GRACE_SECONDS = 15.0
"""What a worker may need, beyond the grace time, to cancel, report and deregister."""
_LONGEST_PAUSE_SECONDS = 30.0
_ONE_REQUEST_SECONDS = 1.0
"""Signals so close together are one request: some senders tell a whole group of processes, and some tell twice."""


class _Child:
    """One worker process, and what it says about its start."""

    def __init__(self, worker_id: str, process: asyncio.subprocess.Process, pipe: int) -> None:
        self.worker_id = worker_id
        self.process = process
        self.started = time.monotonic()
        self.silent = asyncio.Event()
        """It has closed its end of the pipe: it ended, or is another program now."""
        self._pipe = pipe
        self._said = b""
        asyncio.get_running_loop().add_reader(pipe, self._listen)

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while part := os.read(self._pipe, 65_536):
                self._said += part
            self.silent.set()
            asyncio.get_running_loop().remove_reader(self._pipe)

    @property
    def said(self) -> str:
        """READY, or why it can never start; empty when it has said nothing yet."""
        self._listen()
        return self._said.decode(errors="replace")

    @property
    def is_ready(self) -> bool:
        return self.process.returncode is None and self.said == READY

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)


class Supervisor:
    """Starts worker processes, replaces those that die, and stops them all when it is told to.

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
        self._cannot_start = ""

    @property
    def ready(self) -> int:
        """How many of its workers read messages."""
        return sum(child.is_ready for child in self._children.values())

    async def run(self) -> None:
        """Until told to stop. Raises ServerUnreachable and its like, and CannotStart when no worker can ever start."""
        connecting = asyncio.create_task(Server.connect(self._settings))
        await self._unless_told(connecting)
        if not connecting.done():
            await cancel_and_wait((connecting,))
            return
        self._server = connecting.result()
        try:
            await asyncio.gather(*(self._keep(place) for place in range(self._settings.processes)))
        finally:
            await self._server.aclose()
        if self._cannot_start:
            raise CannotStart(self._cannot_start)

    def stop(self) -> None:
        """The first call asks the workers to stop, the second to hurry (it costs no attempt), a third kills."""
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
        quick_deaths = 0
        while not self._stopping.is_set():
            try:
                child = await self._start(place)
            except OSError as error:  # no memory, no free process number
                log.error(
                    "a worker process cannot be started; it is tried again",
                    action="worker.not_started",
                    error=str(error),
                )
                lived = 0.0
            else:
                try:
                    if await self._ended(child):
                        return
                finally:
                    del self._children[place]
                    child.close()
                lived = time.monotonic() - child.started
            quick_deaths = quick_deaths + 1 if lived < _QUICK_DEATH_SECONDS else 0
            if quick_deaths > 1:
                pause = backoff(quick_deaths, base=0.1, cap=_LONGEST_PAUSE_SECONDS, least=0.5)
                await self._unless_told(asyncio.sleep(pause))

    async def _start(self, place: int) -> _Child:
        worker_id = f"{new_worker_id()}-{place}"
        pipe, childs_end = os.pipe()
        os.set_blocking(pipe, False)
        command = ["--worker-id", worker_id, "--supervisor", str(os.getpid()), "--report-to", str(childs_end)]
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "memsched.process", *command),  # a queue.py in this folder is not Python's
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                pass_fds=(childs_end,),
                process_group=0,  # Ctrl-C is for the supervisor, which tells its children in order
            )
        except BaseException:
            os.close(pipe)
            raise
        finally:
            os.close(childs_end)
        child = self._children[place] = _Child(worker_id, process, pipe)
        if self._stopping.is_set():
            _signal(process, signal.SIGTERM)
        return child

    async def _ended(self, child: _Child) -> bool:
        """Wait for the end of a worker, and tidy up after it; whether its place stays empty."""
        code = await self._wait(child)
        said = child.said
        await _end_group(child.process.pid)
        if self._stopping.is_set() and (code == 0 or said != READY):
            return True
        if said not in ("", READY):
            if not any(other.is_ready for other in self._children.values()):
                self._cannot_start = self._cannot_start or said
                self._tell_children(signal.SIGTERM)
                return True
            # Others run: what is wrong with this one is no reason to stop them.
            log.error("a worker cannot start; it is tried again", action="worker.not_started", error=said)
            return False
        log.error(
            "a worker process died; its messages are handed over and another one is started",
            action="worker.died",
            worker_id=child.worker_id,
            pid=child.process.pid,
            exit=_describe(code),
        )
        await self._hand_over(child.worker_id)
        return False

    async def _wait(self, child: _Child) -> int:
        """Its exit code. Once all are told to stop, one that does not in time is killed."""
        exited = asyncio.create_task(child.process.wait())
        watching = asyncio.create_task(self._kill_what_is_no_worker(child))
        slow = asyncio.get_running_loop().call_later(_SLOW_START_SECONDS, self._warn_of_slow_start, child)
        await self._unless_told(exited)
        slow.cancel()
        if not exited.done():
            await asyncio.wait((exited,), timeout=self._settings.grace_seconds + _AFTER_GRACE_SECONDS)
        if not exited.done():
            log.error("a worker does not stop; it is killed", action="worker.killed", worker_id=child.worker_id)
            _signal(child.process, signal.SIGKILL)
        code = await exited
        watching.cancel()
        return code

    async def _kill_what_is_no_worker(self, child: _Child) -> None:
        """A worker holds its end of the pipe for as long as it lives. os.exec in a handler closes it, and the process
        lives on as another program; one whose handler closed all its files has lost its connections too.
        """
        await child.silent.wait()
        if child.said != READY:
            return
        await asyncio.sleep(_EXIT_SECONDS)
        if child.process.returncode is None:
            log.error(
                "a worker has become another program (os.exec), or closed its files; it is killed",
                action="worker.killed",
                worker_id=child.worker_id,
                pid=child.process.pid,
            )
            _signal(child.process, signal.SIGKILL)

    def _warn_of_slow_start(self, child: _Child) -> None:
        if not child.said:
            log.warning(
                "a worker is still starting; the import of the application may hang",
                action="worker.slow_start",
                worker_id=child.worker_id,
                app=self._settings.app,
                seconds=_SLOW_START_SECONDS,
            )

    async def _hand_over(self, worker_id: str) -> None:
        """Make what a dead worker held claimable at once. While the server is gone, its min idle does the same."""
        server = self._server
        assert server is not None
        try:
            count = await hand_over(server, self._keys, self._settings, worker_id)
        except (MemschedError, UnreachableError) as error:
            log.error(
                "messages of a dead worker are not handed over; they are claimed after their min idle",
                action="worker.handover_failed",
                worker_id=worker_id,
                error=str(error),
            )
        else:
            log.info("messages handed over", action="worker.handover", worker_id=worker_id, count=count)

    async def _unless_told(self, work: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
        """Wait for the work, or until all are told to stop. A coroutine is then cancelled, a task goes on."""
        working = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
        told = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if working is not work:
            working.cancel()


async def _end_group(group: int) -> None:
    """End the programs that handlers of a dead worker had started, before its messages start them once more.

    They are the rest of its process group; what made a session of its own is left alone.
    """
    deadline = Deadline(_LEFTOVERS_SECONDS)
    number: int = signal.SIGTERM
    while _signal_group(group, number):
        if deadline.passed:
            _signal_group(group, signal.SIGKILL)
            return
        number = 0
        await asyncio.sleep(_POLL_SECONDS)


def _signal_group(group: int, number: int) -> bool:
    """Whether anybody was left to get it."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:  # as the first process of a container, we inherit them
            pass
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the latter: on macOS, only zombies are left
        return False
    return True


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        process.send_signal(number)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name


def run_supervisor(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Run workers until SIGTERM or SIGINT. Raises ServerUnreachable, and CannotStart when no worker can ever start."""

    async def main() -> None:
        supervisor = Supervisor(settings, environment)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
        await supervisor.run()

    asyncio.run(main())
