"""Timers of a process: calls to be made after a while, each once, for what may be left out: they end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable


class Timers:
    """At most one call waits under each name; ``aclose`` makes none of those that still wait."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Task[None]] = {}

    def once(self, name: Hashable, seconds: float, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call after so many seconds, unless one waits under this name already."""
        if name not in self._waiting:
            self._waiting[name] = asyncio.create_task(self._after(name, seconds, call))

    async def aclose(self) -> None:
        waiting = list(self._waiting.values())
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _after(self, name: Hashable, seconds: float, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            del self._waiting[name]
        await call()
