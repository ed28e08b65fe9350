"""The rate limit of a key: a fixed window, counted on the queue's server for all processes of the service together."""

from __future__ import annotations

import asyncio
import math
import time

from limits import RateLimitItem, parse
from limits.aio.storage.base import Storage
from limits.aio.strategies import FixedWindowRateLimiter

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_int, script
from memsched.errors import ServerRefused, ServerUnreachable
from memsched.logs import get_logger

log = get_logger(__name__)

_COUNT_REQUEST = script("count_request", "service")
_PATIENCE_SECONDS, _PAUSE_SECONDS = 0.5, 5.0
"""So long is the server waited for; after that it is not asked for so long."""


class RateLimit:
    """What MEMSCHED_RATE_LIMIT says, of each key.

    Args:
        limit: such as ``100/second``; "": none.
    """

    def __init__(self, limit: str, server: Server, keys: Keys) -> None:
        self._limit = parse(limit) if limit else None
        self._limiter = FixedWindowRateLimiter(_ServerStorage(server, keys))
        self._from = float("-inf")
        """When it counts again (time.monotonic)."""

    async def seconds_to_wait(self, key_id: str) -> int:
        """Count one request; 0 if it may go on, otherwise after how many seconds the next may.

        While the server does not answer, or is full, nothing is counted: what can be served then is served.
        """
        if self._limit is None or time.monotonic() < self._from:
            return 0
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._counted(self._limit, key_id)
        except (ServerUnreachable, ServerRefused, TimeoutError) as error:
            self._from = time.monotonic() + _PAUSE_SECONDS
            log.warning(
                "the queue's server does not count; no rate is limited",
                action="http.rate_not_limited",
                error=str(error) or type(error).__name__,
            )
            return 0

    async def _counted(self, limit: RateLimitItem, key_id: str) -> int:
        if await self._limiter.hit(limit, key_id):
            return 0
        stats = await self._limiter.get_window_stats(limit, key_id)
        return max(1, math.ceil(stats.reset_time - time.time()))


class _ServerStorage(Storage):
    """Of limits' storages the one on memsched's own connections: so every address of the queue's server will do."""

    STORAGE_SCHEME = None

    def __init__(self, server: Server, keys: Keys) -> None:
        super().__init__()
        self._server = server
        self._keys = keys

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return ()

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return await self._call(_COUNT_REQUEST.command([self._keys.rate(key)], [expiry, amount], as_int))

    async def get(self, key: str) -> int:
        return int(await self._call(Command(("GET", self._keys.rate(key)), _count)))

    async def get_expiry(self, key: str) -> float:
        left_ms = await self._call(Command(("PTTL", self._keys.rate(key)), as_int))
        return time.time() + max(0, left_ms) / 1000

    async def clear(self, key: str) -> None:
        await self._call(Command(("DEL", self._keys.rate(key)), as_int))

    async def reset(self) -> None:
        """Windows end by themselves."""

    async def check(self) -> bool:
        return True

    async def _call(self, command: Command[int]) -> int:
        return await self._server.persistently(lambda: self._server.call(command))


def _count(reply: bytes | None) -> int:
    return int(reply or 0)
