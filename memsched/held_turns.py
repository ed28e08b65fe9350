"""A retry buffer: what the queue does not take now is held in this process, and sent again until it does.

Who was answered already cannot be told to come again. What is sent must be idempotent: it may be sent twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

from memsched.backoff import backoff
from memsched.errors import QueueFull, ServerRefused, ServerUnreachable, UnreachableError
from memsched.logs import exception_field, get_logger
from memsched.memory_face import NOT_ANSWERED

log = get_logger(__name__)

NOT_NOW = (QueueFull, ServerUnreachable, ServerRefused, UnreachableError, *NOT_ANSWERED)
"""What is raised where the same may be taken later."""
_MOST = 1_000
_MOST_CHARACTERS = 16 * 1024 * 1024
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 15.0
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    send: Callable[[], Awaitable[object]]
    of: Hashable
    size: int


class HeldTurns:
    """Sends what was said, and holds what cannot be sent now: of one sender in order. When too much waits, the oldest
    is given up.
    """

    def __init__(self) -> None:
        self._held: deque[_Held] = deque()
        self._size = 0
        self._sending: asyncio.Task[None] | None = None

    async def send(self, send: Callable[[], Awaitable[object]], *, of: Hashable, size: int) -> None:
        """Send it, now or later. Raises what ``send`` does, but for NOT_NOW.

        Args:
            of: whose it is: what they sent before goes first.
            size: characters, about.
        """
        held = _Held(send, of, size)
        if any(each.of == of for each in self._held):
            self._hold(held)
            return
        self._go_on()
        try:
            await send()
        except NOT_NOW as error:
            log.warning(
                "what was said cannot be submitted now; it is held, and sent again",
                action="turns.held",
                held=len(self._held) + 1,
                error=str(error),
            )
            self._hold(held)

    def leave(self) -> None:
        """The event loop has ended that sent what is held; the next one goes on with it."""
        self._sending = None

    async def aclose(self) -> None:
        """Send what is held once more, for some seconds at most."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._send_held()
        lost = len(self._held)
        self._held.clear()
        self._size = 0
        self._tell_lost(lost, "the process ends")

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        self._size += held.size
        lost = 0
        while len(self._held) > _MOST or self._size > _MOST_CHARACTERS:
            self._drop(self._held[0])
            lost += 1
        self._tell_lost(lost, "too much waits")
        self._go_on()

    def _go_on(self) -> None:
        if self._held and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send_until_empty(), name="memsched-held-turns")

    def _drop(self, held: _Held) -> None:
        self._held.remove(held)
        self._size -= held.size

    async def _send_until_empty(self) -> None:
        tries = 0
        while self._held:
            await asyncio.sleep(backoff(tries, base=_FIRST_PAUSE_SECONDS, cap=_LONGEST_PAUSE_SECONDS, least=0.5))
            before = len(self._held)
            await self._send_held()
            tries = 0 if len(self._held) < before else tries + 1

    async def _send_held(self) -> None:
        """One pass over what is held. Where the server is away, nothing behind it is tried."""
        waiting: set[Hashable] = set()
        sent = 0
        for held in list(self._held):
            if held.of in waiting or held not in self._held:
                continue
            try:
                await held.send()
            except (ServerUnreachable, UnreachableError):
                break
            except NOT_NOW:
                waiting.add(held.of)
                continue
            except Exception as error:  # noqa: BLE001  the others shall not wait behind it for ever
                log.error("what was said cannot be submitted", action="turns.failed", **exception_field(error))
            else:
                sent += 1
            if held in self._held:
                self._drop(held)
        if sent:
            log.info("what was said was submitted at last", action="turns.sent", sent=sent, held=len(self._held))

    def _tell_lost(self, lost: int, why: str) -> None:
        if lost:
            log.error("what was said is lost", action="turns.lost", lost=lost, reason=why)
