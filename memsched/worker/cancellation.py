"""Cancellation of asyncio tasks, for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.1


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> list[BaseException]:
    """Cancel tasks until they have ended; returns the errors of those that had failed.

    Once may not be enough: asyncio.wait_for, in which redis-py sends, swallows a cancellation now and then (before
    Python 3.12).
    """
    errors: list[BaseException] = []
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        ended, waiting = await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
        errors += [error for task in ended if not task.cancelled() and (error := task.exception()) is not None]
    return errors
