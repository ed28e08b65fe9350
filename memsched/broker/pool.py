"""A connection pool that keeps its connections in hand, so that a round trip costs a round trip.

redis-py's client looks at its pool, its connection and its socket before every command; that is half of what a small
call costs. Here a connection that answered well is used again as it is. One that did not is closed, and whoever
called decides what may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio.connection import ConnectionPool as RedisPyPool
from redis.exceptions import ResponseError

_KEPT_IDLE = 16
_MOST_IN_USE = 64
"""Pipelines at once; the next one waits. redis-py's pool would refuse it (it allows 100 connections)."""


class ConnectionPool:
    """Connections of redis-py's pool that are used again as they are. Each carries one pipeline at a time."""

    def __init__(self, pool: RedisPyPool) -> None:
        self._pool: Any = pool
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(_MOST_IN_USE)

    async def pipeline(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send all calls at once, and return their replies: raw, or the error the server gave.

        Raises what redis-py raises when the server cannot be talked to.
        """
        async with self._free:
            return await self._pipeline(calls)

    async def _pipeline(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if _is_told_to_stop():
            await asyncio.sleep(0)  # raises; below, it could be swallowed unseen
        cancellations = _cancellations()
        connection: Any = self._idle.pop() if self._idle else await self._pool.get_connection()
        try:
            packed = b"".join([hiredis.pack_command(call) for call in calls])
            await connection.send_packed_command(packed, check_health=False)
            if _cancellations() > cancellations:
                # redis-py sends, and connects, in asyncio.wait_for: before Python 3.12 that swallows a cancellation
                # which comes just when it is done.
                raise asyncio.CancelledError
            replies: list[Any] = []
            for _ in calls:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
        except BaseException as error:
            # Also when cancelled: an answer that comes late must not meet the next question.
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
            if not isinstance(error, asyncio.CancelledError):
                # What broke this one most likely broke the others: the next try must not find that out one by one.
                await self.aclose()
            raise
        if len(self._idle) < _KEPT_IDLE:
            self._idle.append(connection)
        else:
            await self._pool.release(connection)
        return replies

    async def aclose(self) -> None:
        while self._idle:
            connection = self._idle.pop()
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)


def _cancellations() -> int:
    """How often this task was told to stop."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _is_told_to_stop() -> bool:
    """Whether this task was cancelled since it ran last, as by a signal, and does not know it yet."""
    return bool(getattr(asyncio.current_task(), "_must_cancel", False))
