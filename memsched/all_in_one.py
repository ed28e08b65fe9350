"""All in one: servers, workers, API and dashboard as one process tree (`memsched up`).

This process runs the service and supervises the workers. Embedded servers have watchdogs of their own, which stop them
when their last user is gone: so nothing is left behind, however this process ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from memsched.backoff import poll_pauses
from memsched.demo.sample import play_sample
from memsched.embedded import watchdog
from memsched.embedded.teardown import end_unused_servers
from memsched.errors import CannotStart, MemschedError
from memsched.logs import get_logger
from memsched.memory.access.api_keys import Role
from memsched.scheduler import AsyncMemScheduler
from memsched.service.dashboard.sessions import LONGEST_SECONDS
from memsched.service.process import HttpServer, listening
from memsched.settings import Settings, masked
from memsched.worker.cancellation import cancel_and_wait
from memsched.worker.supervisor import Supervisor

log = get_logger(__name__)

LOCK = "up.lock"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COUNT_SECONDS = 2.0
"""For the question how much is unfinished, when everything else has stopped."""


class AllInOne:
    """Starts one part after the other, says of each when it is ready, and stops them in the opposite order.

    Args:
        environment: for the workers, over this process's own.
        say: is told each line.
        sample: play the demo's conversation into it.
    """

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], say: Callable[[str], None], *, sample: bool = False
    ) -> None:
        self._settings = settings
        self._say = say
        self._sample = sample
        self._told = asyncio.Event()
        self._scheduler = AsyncMemScheduler(settings)
        self._supervisor = Supervisor(settings, environment)
        self._http: HttpServer | None = None
        self._parts: list[asyncio.Task[None]] = []
        """What ends before it was told to is the end of all: workers and service."""
        self._key_id = ""
        self._playing: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP. Raises CannotStart, ServerUnreachable, EmbeddedServerError."""
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        with _alone(self._settings) as tell_address, listening(self._settings.listen) as listener:
            self._http = HttpServer(self._settings, self._scheduler, listener)
            tell_address(self._http.url)
            try:
                await self._until_told(self._open(self._http))
                told = asyncio.create_task(self._told.wait())
                await asyncio.wait((told, *self._parts), return_when=asyncio.FIRST_COMPLETED)
                told.cancel()
            finally:
                await self._close()

    def stop(self) -> None:
        """Stop in order; at the second call nobody is waited for, and a third kills."""
        if self._told.is_set():
            self._stop_parts()
        self._told.set()

    def _stop_parts(self) -> None:
        if self._http is not None:
            self._http.stop()
        self._supervisor.stop()

    async def _open(self, http: HttpServer) -> None:
        settings = self._settings
        await self._scheduler.server()
        self._ready("queue", _place(settings, settings.redis_url))
        workers = self._begin(self._supervisor.run())  # they take the longest
        if settings.memory:
            services = await self._scheduler.memory()
            await services.store.open()
            self._ready("vectors", _place(settings, settings.store_url))
        await self._until_ready(workers)
        self._ready("workers", f"{settings.processes} process{'es' * (settings.processes != 1)}")
        await http.open()
        self._begin(http.run())
        self._ready("api", f"{http.url}/v1 for {await http.for_whom()}")
        self._ready("dashboard", await self._dashboard(http))
        if self._sample:
            self._playing.append(asyncio.create_task(self._play()))
        self._say("Ctrl-C ends all of it. What is unfinished then goes on at the next `memsched up` here.")

    async def _dashboard(self, http: HttpServer) -> str:
        """Where it is. Once there are keys, with a link that logs whoever started this in, with a key of its own."""
        service = http.service
        if self._settings.access == "open" or not await service.any_key():
            return f"{http.url}/"
        _, key = await service.api_keys.create(Role.ADMIN, name="memsched up", ttl=LONGEST_SECONDS)
        self._key_id = key.key_id
        return f"{http.url}/login?once={service.login_codes.make(key.key_id)}  (logs in once, within 5 minutes)"

    def _ready(self, what: str, where: str) -> None:
        self._say(f"{what:<10} ready  {where}")

    def _begin(self, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._parts.append(asyncio.create_task(part))
        return self._parts[-1]

    async def _until_ready(self, workers: asyncio.Task[None]) -> None:
        """Raises what the supervisor raised, when no worker can start."""
        for pause in poll_pauses(0.02, 0.2):
            if workers.done():
                workers.result()
                raise CannotStart("The workers have stopped.")
            if self._supervisor.ready >= self._settings.processes:
                return
            await asyncio.sleep(pause)

    async def _play(self) -> None:
        self._say("sample     begins: what Alice and Bob say, in the cubes alice/home and bob/tour")
        try:
            await play_sample(self._scheduler)
        except MemschedError as error:
            self._say(f"sample     stopped: {error}")
        else:
            self._say("sample     is over")

    async def _until_told(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for the work; it is cancelled when all is told to stop."""
        working, told = asyncio.create_task(work), asyncio.create_task(self._told.wait())
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if working.done():
            working.result()
        else:
            await cancel_and_wait((working,))

    async def _close(self) -> None:
        """Service, workers, servers. Raises why a part had ended by itself."""
        ended = [part for part in self._parts if part.done()]
        if self._parts:
            self._say("stopping")
        await cancel_and_wait(self._playing)
        self._stop_parts()
        await asyncio.gather(*self._parts, return_exceptions=True)
        if self._key_id and self._http is not None:
            with suppress(MemschedError):  # it expires
                await self._http.service.api_keys.revoke(self._key_id)
        left = await self._unfinished() if self._parts else 0
        await self._scheduler.stop()
        await asyncio.to_thread(self._end_servers)
        for part in ended:
            part.result()
        self._say(f"stopped; messages unfinished: {left}" + ", they go on at the next `memsched up` here" * (left > 0))

    async def _unfinished(self) -> int:
        with suppress(Exception):  # it is only for the person who looks
            async with asyncio.timeout(_COUNT_SECONDS):
                return (await self._scheduler.read_status()).total.backlog
        return 0

    def _end_servers(self) -> None:
        """Stop what only we have used; by themselves the servers would wait a little for the next user."""
        urls = (self._settings.redis_url, self._settings.store_url, self._settings.llm_base_url)
        folders = {Path(self._settings.embedded_folder(url)) for url in urls if url.startswith("embedded://")}
        for folder in sorted(folder for folder in folders if folder.is_dir()):
            if not end_unused_servers(folder):
                self._say(f"the servers in {folder} stay: another process uses them")


def _place(settings: Settings, url: str) -> str:
    if url.startswith("embedded://"):
        return f"a server of its own in {settings.embedded_folder(url)}"
    return masked(url)


@contextmanager
def _alone(settings: Settings) -> Iterator[Callable[[str], None]]:
    """The only one with the data of this folder; gives what to tell the address to. Raises CannotStart.

    Two would share its servers and messages without harm, but nobody means that who calls it twice.
    """
    if not settings.redis_url.startswith("embedded://"):
        yield lambda _: None
        return
    folder = settings.embedded_folder(settings.redis_url)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = watchdog.open_lock(folder, LOCK)
    try:
        if not watchdog.try_lock(lock, fcntl.LOCK_EX):
            raise CannotStart(f"`memsched up` runs with {folder} already{_who(lock)}. Stop it, or use another folder.")

        def tell_address(url: str) -> None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

        yield tell_address
    finally:
        os.close(lock)


def _who(lock: int) -> str:
    """By what it wrote into its lock."""
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(os.pread(lock, 1000, 0))
        return f", at {said['url']} (process {said['pid']})"
    return ""
