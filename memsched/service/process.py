"""The service's process: listens, says where and for whom, and stops when it is told to."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from memsched.errors import CannotStart
from memsched.logs import get_logger
from memsched.scheduler import AsyncMemScheduler
from memsched.service.app import create_app
from memsched.service.callers import is_loopback
from memsched.service.connections import Connection
from memsched.service.state import Service
from memsched.settings import Settings, listen_address

log = get_logger(__name__)

_KEEP_ALIVE_SECONDS = 75
"""Of an idle connection; longer than the proxies', whose connections must not end while they are used."""
_OPENED_WITHIN_SECONDS = 60.0
_COLLECTED_AFTER = 10_000
"""Objects that are made and not let go again: by thousands at once they take less than by hundreds (Python's 700)."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_service(settings: Settings, *, worker: bool) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises CannotStart, ServerUnreachable.

    Args:
        worker: run the handlers in this process too.
    """
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(settings, worker))
    else:
        uvloop.run(_serve(settings, worker))


async def _serve(settings: Settings, worker: bool) -> None:
    with listening(settings.listen) as listener:
        scheduler = AsyncMemScheduler(settings)
        http = HttpServer(settings, scheduler, listener, worker=worker)
        try:
            await http.open()
            log.info(
                f"serving at {http.url}",
                action="http.serving",
                for_whom=await http.for_whom(),
                workers=await _workers(scheduler, worker),
            )
            for number in _STOP_SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, http.stop)
            await http.run()
        finally:
            await scheduler.stop()
    log.info("stopped", action="http.stopped")


class HttpServer:
    """The service on a socket, in this event loop.

    Args:
        scheduler: stays the caller's, who stops it afterwards.
        listener: from `listening`.
        worker: run the handlers in this process too.
    """

    def __init__(
        self, settings: Settings, scheduler: AsyncMemScheduler, listener: socket.socket, *, worker: bool = False
    ) -> None:
        self._listener = listener
        app = create_app(settings, scheduler, worker=worker)
        self.service: Service = app.state.service
        self._server = _UvicornServer(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",  # it is open already: what is wrong with it was told before anybody was let in
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(settings.grace_seconds),
            )
        )

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def open(self) -> None:
        """Connect. Raises ServerUnreachable, and CannotStart where everybody could come in without a key."""
        await self.service.open()
        await _refuse_everybody_without_keys(self.service)

    async def for_whom(self) -> str:
        """Who is served, in words."""
        if self.service.settings.access == "open":
            return "anybody who reaches it (MEMSCHED_ACCESS=open)"
        if await self.service.any_key():
            return "who has a key"
        return "this machine, without a key, until the first is made (memsched keys create)"

    async def run(self) -> None:
        """Answer until told to stop; what is being answered then is answered."""
        settling = asyncio.create_task(_settle(self.service), name="memsched-settle")
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            settling.cancel()
            await self.service.aclose()

    def stop(self) -> None:
        """Take no more requests, and end the streams; at the second call nobody is waited for."""
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True
        self.service.stopping.set()


async def _settle(service: Service) -> None:
    """What is loaded once stays: the collector need not look at it again, while requests wait."""
    await service.opened(_OPENED_WITHIN_SECONDS)
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)


@contextmanager
def listening(listen: str) -> Iterator[socket.socket]:
    """The socket; bound before anything else, for that is what fails most. Raises CannotStart."""
    host, port = listen_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:  # the latter is of names that cannot be one
        why = error.strerror if isinstance(error, OSError) else None
        raise CannotStart(f"MEMSCHED_LISTEN={listen}: {why or error}. {_advice(error)}") from None
    with listener:
        yield listener


def _advice(error: OSError | UnicodeError) -> str:
    """What to do where nobody can listen."""
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return "Is something else there? Try another port, --listen HOST:PORT."
        case errno.EACCES:
            return "Ports below 1024 are for root: try a higher one, --listen HOST:PORT."
    return "The host must be an address or a name of this machine: 127.0.0.1, or 0.0.0.0 for all its addresses."


async def _refuse_everybody_without_keys(service: Service) -> None:
    settings = service.settings
    if settings.access == "open" or is_loopback(listen_address(settings.listen)[0]) or await service.any_key():
        return
    raise CannotStart(
        f"MEMSCHED_LISTEN={settings.listen} is reached from other machines, and there is no API key: make one "
        "(memsched keys create), or listen on 127.0.0.1; MEMSCHED_ACCESS=open serves anybody."
    )


async def _workers(scheduler: AsyncMemScheduler, worker: bool) -> str:
    alive = sum(each.alive for each in (await scheduler.read_status()).workers)
    if worker:
        return "in this process"
    return str(alive) if alive else "none: nothing is remembered until one runs (memsched worker, or --worker here)"


class _UvicornServer(uvicorn.Server):
    """Uvicorn's, but that whoever runs it says when it ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
