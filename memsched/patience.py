"""A circuit breaker for what somebody would rather go on without: how long it is waited for, and then not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from memsched.errors import AnswerTooLate

Value = TypeVar("Value")


class Patience:
    """Waits so long at most. After it waited in vain, for a while not at all; then one call tries whether it is back.

    Args:
        pause: seconds for which what gave no answer is left alone.
    """

    def __init__(self, pause: float = 5.0) -> None:
        self._pause = pause
        self._until: float | None = None
        """It is tried again from then on (time.monotonic); None: it answered last."""
        self._trying = False

    @property
    def is_over(self) -> bool:
        """Whether it is left alone now."""
        return self._until is not None and (self._trying or time.monotonic() < self._until)

    def lose(self) -> None:
        """Leave it alone from now on."""
        self._until = time.monotonic() + self._pause

    async def wait(self, ask: Callable[[], Awaitable[Value]], seconds: float) -> Value:
        """What ``ask`` returns. Raises AnswerTooLate where that takes longer, and where it is left alone."""
        if self.is_over:
            raise AnswerTooLate
        tries = self._trying = self._until is not None
        try:
            async with asyncio.timeout(seconds):
                found = await ask()
        except TimeoutError:
            self.lose()
            raise AnswerTooLate(seconds) from None
        else:
            self._until = None
            return found
        finally:
            if tries:
                self._trying = False
