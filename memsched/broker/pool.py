"""A connection pool that keeps its connections in hand, so that a round trip costs a round trip.

redis-py's client looks at its pool, its connection and its socket before every command; that is half of what a small
call costs. Here a connection that answered well is used again as it is. One that did not is closed, and whoever
called decides what may be repeated.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import hiredis
from redis.asyncio.connection import ConnectionPool as RedisPyPool
from redis.exceptions import RedisError, ResponseError

_SENT_AT_ONCE_BYTES = 64 * 1024
_MOST_IN_USE = 64
"""Pipelines at once; the next one waits. redis-py's pool would refuse it (it allows 100 connections)."""
_CHECK_AFTER_SECONDS = 10
_CHECK_SECONDS = 1.0
"""So long may the answer to a health check take."""


class ConnectionPool:
    """Connections of redis-py's pool that are used again as they are. Each carries one pipeline at a time.

    One that was idle for long has a health check first: what stands between here and the server (a NAT, a load
    balancer) may have forgotten it without a word.

    Args:
        max_connections: at once.
        health_check_interval: seconds of idleness after which a connection is checked; 0: never.
    """

    def __init__(
        self, pool: RedisPyPool, *, max_connections: int | None = None, health_check_interval: int | None = None
    ) -> None:
        self._pool: Any = pool
        self._idle: list[tuple[Any, float]] = []
        self._free = asyncio.Semaphore(min(_MOST_IN_USE, max_connections or _MOST_IN_USE))
        interval = _CHECK_AFTER_SECONDS if health_check_interval is None else health_check_interval
        self._check_after = interval or math.inf

    async def pipeline(self, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Send all calls in one go, and return their replies: raw, or the error the server gave.

        Large ones leave as they come, so that the server works on the first while the next are made. Raises what
        redis-py raises when the server cannot be talked to.
        """
        async with self._free:
            return await self._pipeline(calls)

    async def _pipeline(self, calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        if _is_told_to_stop():
            await asyncio.sleep(0)  # raises; below, it could be swallowed unseen
        cancellations = _cancellations()
        connection = await self._connection()
        try:
            sent = 0
            for packed, count in _packed(calls):
                await connection.send_packed_command(packed, check_health=False)
                sent += count
            if _cancellations() > cancellations:
                # redis-py sends, and connects, in asyncio.wait_for: before Python 3.12 that swallows a cancellation
                # which comes just when it is done.
                raise asyncio.CancelledError
            replies: list[Any] = []
            for _ in range(sent):
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
        except BaseException as error:
            # Also when cancelled: an answer that comes late must not meet the next question.
            await self._drop(connection)
            if not isinstance(error, asyncio.CancelledError):
                # What broke this one most likely broke the others: the next try must not find that out one by one.
                await self.aclose()
            raise
        self._idle.append((connection, time.monotonic()))
        return replies

    async def _connection(self) -> Any:
        if self._idle:
            connection, since = self._idle.pop()
            if time.monotonic() - since < self._check_after or await self._answers(connection):
                return connection
            await self.aclose()  # the others were idle for longer
        return await self._pool.get_connection()

    async def _answers(self, connection: Any) -> bool:
        """The health check. A connection that fails it is dropped."""
        answer = None
        try:
            await connection.send_packed_command(hiredis.pack_command(("PING",)), check_health=False)
            answer = await connection.read_response(timeout=_CHECK_SECONDS)
        except ResponseError as error:  # no right to ask, but an answer
            answer = error
        except (RedisError, OSError):
            pass
        finally:
            if answer is None:
                await self._drop(connection)
        return answer is not None

    async def _drop(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    async def aclose(self) -> None:
        while self._idle:
            await self._drop(self._idle.pop()[0])


def _packed(calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[bytes, int]]:
    """The calls as the server reads them, in parts of some size; with each, how many calls it is."""
    parts: list[bytes] = []
    size = 0
    for call in calls:
        parts.append(hiredis.pack_command(call))
        size += len(parts[-1])
        if size >= _SENT_AT_ONCE_BYTES:
            yield b"".join(parts), len(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts), len(parts)


def _cancellations() -> int:
    """How often this task was told to stop."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _is_told_to_stop() -> bool:
    """Whether this task was cancelled since it ran last, as by a signal, and does not know it yet."""
    return bool(getattr(asyncio.current_task(), "_must_cancel", False))
