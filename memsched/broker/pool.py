"""Connections that stay in hand, so that a round trip costs a round trip.

redis-py's client looks at its pool, its connection and its socket before every command; that is half of what a small
call costs. Here a connection that answered well is used again as it is. One that did not is closed, and whoever
called decides what may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio.connection import ConnectionPool

_KEPT = 16
_MOST = 64
"""Conversations at once; the next one waits. The pool would refuse it (redis-py allows 100 connections)."""


class Lines:
    """The connections of one pool. Each carries one conversation at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool: Any = pool
        self._idle: list[Any] = []
        self._places = asyncio.Semaphore(_MOST)

    async def talk(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send all calls at once, and read their replies: raw, or the error the server gave.

        Raises what redis-py raises when the server cannot be talked to.
        """
        async with self._places:
            return await self._talk(calls)

    async def _talk(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        import hiredis
        from redis.exceptions import ResponseError

        if _is_told_to_stop():
            await asyncio.sleep(0)  # raises; below, it could be swallowed unseen
        cancellations = _cancellations()
        line: Any = self._idle.pop() if self._idle else await self._pool.get_connection()
        try:
            packed = b"".join([hiredis.pack_command(call) for call in calls])
            await line.send_packed_command(packed, check_health=False)
            if _cancellations() > cancellations:
                # redis-py sends, and connects, in asyncio.wait_for: before Python 3.12 that swallows a cancellation
                # which comes just when it is done.
                raise asyncio.CancelledError
            replies: list[Any] = []
            for _ in calls:
                try:
                    replies.append(await line.read_response())
                except ResponseError as error:
                    replies.append(error)
        except BaseException as error:
            # Also when cancelled: an answer that comes late must not meet the next question.
            await line.disconnect(nowait=True)
            await self._pool.release(line)
            if not isinstance(error, asyncio.CancelledError):
                # What broke this one most likely broke the others: the next try must not find that out one by one.
                await self.aclose()
            raise
        if len(self._idle) < _KEPT:
            self._idle.append(line)
        else:
            await self._pool.release(line)
        return replies

    async def aclose(self) -> None:
        while self._idle:
            line = self._idle.pop()
            await line.disconnect(nowait=True)
            await self._pool.release(line)


def _cancellations() -> int:
    """How often this task was told to stop."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _is_told_to_stop() -> bool:
    """Whether this task was cancelled since it ran last, as by a signal, and does not know it yet."""
    return bool(getattr(asyncio.current_task(), "_must_cancel", False))
