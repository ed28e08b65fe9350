"""What the requests of one service share: settings, scheduler, MOS, keys."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import Depends, Request

from memsched.errors import ServerUnreachable
from memsched.logs import get_logger
from memsched.memory.access.api_keys import ApiKeys
from memsched.memory.access.audit import Audit
from memsched.metrics.prometheus import Numbers
from memsched.mos.mos import AsyncMOS
from memsched.mos.options import MosOptions
from memsched.scheduler import AsyncMemScheduler
from memsched.service.dashboard.frames import Frames
from memsched.service.dashboard.rendering import away
from memsched.service.dashboard.sessions import LoginCodes, Sessions
from memsched.service.mcp_mount import McpMount
from memsched.service.proxy import Proxy
from memsched.service.rate_limit import RateLimit
from memsched.settings import Settings

log = get_logger(__name__)

SESSION = "http"
"""The session of requests that name none: the same in every process of the service."""
_ANY_KEY_SECONDS = 5.0
"""So long may it take until the first key counts: then nobody gets in without one any more."""
_PATIENCE_SECONDS = 0.5
"""So long is the server waited for that has answered before."""


class Service:
    """One service: it is opened before the first request, and closed after the last one.

    Args:
        scheduler: None: one of its own, which it stops in the end.
        worker: run the handlers in this process too.
    """

    def __init__(self, settings: Settings, scheduler: AsyncMemScheduler | None = None, *, worker: bool = False) -> None:
        self.settings = settings
        self.scheduler = scheduler or AsyncMemScheduler(settings)
        self.mos = AsyncMOS.over(self.scheduler, MosOptions(session_id=SESSION, enable_mem_scheduler=worker))
        self.proxy = Proxy(self.scheduler)
        self.mcp = McpMount(self)
        self.numbers = Numbers(self.scheduler)
        self.stopping = asyncio.Event()
        """Set when no more requests are taken: whoever streams ends then."""
        self.frames = Frames(self.stopping, away)
        self.login_codes = LoginCodes()
        self.audit: Audit | None = None
        """Once it is open."""
        self._own = scheduler is None
        self._warming: asyncio.Task[None] | None = None
        self._any_key: tuple[bool | None, float] = (None, float("-inf"))

    async def open(self) -> None:
        """Connect, and start the handlers that shall run here. Raises ServerUnreachable."""
        server = await self.scheduler.server()
        self.api_keys = ApiKeys(server, self.scheduler.keys)
        self.sessions = Sessions(server, self.scheduler.keys, self.api_keys)
        self.audit = Audit(server, self.scheduler.keys, self.settings.audit_maxlen)
        self.rate_limit = RateLimit(self.settings.rate_limit, server, self.scheduler.keys)
        await self.mos.start()
        if self.settings.memory:
            self._warming = asyncio.create_task(self._open_memory(), name="memsched-open-memory")

    async def aclose(self) -> None:
        """End the streams; stop the scheduler, if it is the service's own."""
        self.stopping.set()
        if self._warming is not None:
            self._warming.cancel()
        await self.mcp.aclose()
        await self.proxy.aclose()
        if self.audit is not None:
            await self.audit.aclose()
        if self._own:
            await self.mos.stop()

    async def opened(self, seconds: float) -> None:
        """Wait until memory is open for the first time, for so long at most."""
        if self._warming is not None and not self._warming.done():
            await asyncio.wait({self._warming}, timeout=seconds)

    async def _open_memory(self) -> None:
        """So that no request waits for what is slow to load; what does not open now is opened by the first one."""
        try:
            await self.scheduler.memory()
        except Exception as error:  # noqa: BLE001  the request that needs it says so
            log.warning("memory cannot be opened yet", action="http.memory_not_open", error=str(error))

    async def any_key(self) -> bool:
        """Whether keys were created: from then on nobody is served without one.

        While the server does not answer, what it said last holds.
        """
        found, looked = self._any_key
        if found is None or time.monotonic() - looked > _ANY_KEY_SECONDS:
            known = found
            try:
                async with asyncio.timeout(None if known is None else _PATIENCE_SECONDS):
                    found = await self.api_keys.any()
            except (ServerUnreachable, TimeoutError):
                if known is None:
                    raise
                found = known
            self._any_key = (found, time.monotonic())
        return found


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


async def _here(request: Request) -> Service:  # async: what is not runs in a thread
    return service_of(request)


Here = Annotated[Service, Depends(_here)]
