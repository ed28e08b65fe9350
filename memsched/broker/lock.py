"""What only one process at a time may do: a key in Redis says who does, for as long as he goes on saying so."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

from memsched.broker.client import Server
from memsched.broker.scripting import as_text, script
from memsched.errors import MemschedError, ServerUnreachable

T = TypeVar("T")

_HOLD = script("lock", "broker")
HOLD_SECONDS = 30
"""After the death of its holder, it is free so late."""


class LockHeld(MemschedError):
    """Another process does this right now."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(f"It is {holder}. If that one was killed, try again in {HOLD_SECONDS} s.")


class Lock:
    """One attempt to be the only one. The key is renewed every third of its time; two renewals may fail."""

    def __init__(self, server: Server, key: str) -> None:
        self._server = server
        self._key = key
        self._sure_until = 0.0
        self._holder = f"process {os.getpid()} on {socket.gethostname()} ({uuid4().hex[:8]})"

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while nobody else does. It is cancelled as soon as another may have begun.

        Raises LockHeld, and ServerUnreachable when nobody can say whose it is.
        """
        try:
            await self.check()
        except BaseException:
            work.close()
            raise
        working = asyncio.create_task(work)
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                renewing.result()  # it only ends by an exception
            return working.result()
        finally:
            await _end(working)
            await _end(renewing)
            with suppress(ServerUnreachable, LockHeld):  # it ends by itself
                await self._say(0)

    async def check(self) -> None:
        """Take or renew it now: before a step that two must never do."""
        began = time.monotonic()
        await self._say(HOLD_SECONDS)
        self._sure_until = began + HOLD_SECONDS / 2

    async def check_if_old(self) -> None:
        """As ``check``, and for nothing while it was renewed lately: for whoever may have been stopped in between."""
        if time.monotonic() >= self._sure_until:
            await self.check()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(HOLD_SECONDS / 3)
            await self.check()

    async def _say(self, seconds: int) -> None:
        command = _HOLD.command([self._key], [self._holder, seconds], as_text)
        holder = await self._server.persistently(lambda: self._server.call(command), seconds=HOLD_SECONDS / 3)
        if holder:
            raise LockHeld(holder)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
