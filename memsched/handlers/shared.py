"""The memory services of one process, made when they are first needed: a process without memory work pays nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from memsched.connection import Server
from memsched.keys import Keys
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices
    from memsched.policy.protocol import WorkingSetPolicy


class SharedServices:
    """The services of one process: made when the first message or call needs them, then kept."""

    def __init__(self, settings: Settings, keys: Keys, server: Callable[[], Awaitable[Server]]) -> None:
        self.settings = settings
        self._keys = keys
        self._server = server
        self._services: MemoryServices | None = None
        self._opening = asyncio.Lock()
        self.policy: WorkingSetPolicy | None = None

    async def get(self) -> MemoryServices:
        if self._services is None:
            async with self._opening:
                if self._services is None:
                    await asyncio.to_thread(_load)
                    from memsched.handlers.services import MemoryServices

                    server = await self._server()
                    self._services = await MemoryServices.open(self.settings, server, self._keys, self.policy)
        return self._services

    async def aclose(self) -> None:
        if self._services is not None:
            services, self._services = self._services, None
            await services.aclose()


def _load() -> None:
    """Import what takes a second, in a thread: the loop has other messages' handlers to run."""
    import qdrant_client  # noqa: F401

    import memsched.handlers.services  # noqa: F401
