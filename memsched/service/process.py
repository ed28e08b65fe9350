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
    with _listening(settings.listen) as listener:
        scheduler = AsyncMemScheduler(settings)
        try:
            app = create_app(settings, scheduler, worker=worker)
            service: Service = app.state.service
            await service.open()
            await _refuse_everybody_without_keys(service)
            host, port = listener.getsockname()[:2]
            log.info(
                f"serving at http://{f'[{host}]' if ':' in host else host}:{port}",
                action="http.serving",
                for_whom=await _for_whom(service),
                workers=await _workers(service, worker),
            )
            config = uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",  # it is open already: what is wrong with it was told before anybody was let in
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(settings.grace_seconds),
            )
            settling = asyncio.create_task(_settle(service), name="memsched-settle")
            await _UvicornServer(config, service).serve(sockets=[listener])
            settling.cancel()
            await service.aclose()
        finally:
            await scheduler.stop()
    log.info("stopped", action="http.stopped")


async def _settle(service: Service) -> None:
    """What is loaded once stays: the collector need not look at it again, while requests wait."""
    await service.opened(_OPENED_WITHIN_SECONDS)
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)


@contextmanager
def _listening(listen: str) -> Iterator[socket.socket]:
    """The socket; bound before anything else, for that is what fails most."""
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


async def _for_whom(service: Service) -> str:
    if service.settings.access == "open":
        return "anybody who reaches it (MEMSCHED_ACCESS=open)"
    if await service.any_key():
        return "who has a key"
    return "this machine, without a key, until the first is made (memsched keys create)"


async def _workers(service: Service, worker: bool) -> str:
    alive = sum(each.alive for each in (await service.scheduler.read_status()).workers)
    if worker:
        return "in this process"
    return str(alive) if alive else "none: nothing is remembered until one runs (memsched worker, or --worker here)"


class _UvicornServer(uvicorn.Server):
    """Uvicorn's, but that it ends the streams as soon as it shall stop, and its process by itself afterwards."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        """At the second signal nobody is waited for."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.stopping.set()
