"""Cooperative scheduling for long work on the event loop: others are served in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_SLICE_SECONDS = 0.02


_LONG = 20_000
"""Characters, about, that are read within some milliseconds."""


async def beside_the_loop(size: int, work: Callable[..., T], *args: Any) -> T:
    """Do what only computes: in a thread if there is much of it, so that others are served meanwhile.

    Args:
        size: characters that it reads, about.
    """
    return await asyncio.to_thread(work, *args) if size > _LONG else work(*args)


class Pace:
    """Gives the loop to others when it was held for 20 ms since the last time. Short work never waits."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def rest(self) -> None:
        if time.perf_counter() - self._since > _SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
