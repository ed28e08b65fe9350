"""Cooperative scheduling for long work on the event loop: others are served in between."""

from __future__ import annotations

import asyncio
import time

_SLICE_SECONDS = 0.02


class Pace:
    """Gives the loop to others when it was held for 20 ms since the last time. Short work never waits."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def rest(self) -> None:
        if time.perf_counter() - self._since > _SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
