"""A lock in Redis whose lease is renewed while its holder lives: for what only one process at a time may do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

from memsched.broker.client import Server
from memsched.broker.scripting import as_text, script
from memsched.deadline import Deadline
from memsched.errors import MemschedError, ServerUnreachable

T = TypeVar("T")

_LOCK = script("lock", "broker")
LEASE_SECONDS = 30
"""So long after the death of its holder, the lock is free."""


class LockHeld(MemschedError):
    """Another process does this right now."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(f"It is {holder}. If that one was killed, try again in {LEASE_SECONDS} s.")


class Lock:
    """A lock with a lease. The lease is renewed every third of its time, so two renewals may fail.

    Args:
        key: the Redis key that says who holds it.
    """

    def __init__(self, server: Server, key: str) -> None:
        self._server = server
        self._key = key
        self._ours_for_sure = Deadline(0)
        self._holder = f"process {os.getpid()} on {socket.gethostname()} ({uuid4().hex[:8]})"

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Hold the lock while ``work`` runs, and return its result. It is cancelled as soon as the lease is lost.

        Raises LockHeld, and ServerUnreachable when nobody can say whose it is.
        """
        try:
            await self.renew()
        except BaseException:
            work.close()
            raise
        working = asyncio.create_task(work)
        renewing = asyncio.create_task(self._keep_renewing())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                renewing.result()  # it only ends by an exception
            return working.result()
        finally:
            await _end(working)
            await _end(renewing)
            with suppress(ServerUnreachable, LockHeld):  # it ends by itself
                await self._set_lease(0)

    async def renew(self) -> None:
        """Acquire the lock or renew its lease now: before a step that two must never do. Raises LockHeld."""
        half_of_it = Deadline(LEASE_SECONDS / 2)
        await self._set_lease(LEASE_SECONDS)
        self._ours_for_sure = half_of_it

    async def renew_if_old(self) -> None:
        """As ``renew``, and for nothing while it was renewed lately: for whoever may have been stopped in between."""
        if self._ours_for_sure.passed:
            await self.renew()

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            await self.renew()

    async def _set_lease(self, seconds: int) -> None:
        command = _LOCK.command([self._key], [self._holder, seconds], as_text)
        holder = await self._server.persistently(lambda: self._server.call(command), seconds=LEASE_SECONDS / 3)
        if holder:
            raise LockHeld(holder)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
