"""A circuit breaker: a server that keeps failing is left alone for a while, then tried with one call.

closed ──(failures in a row)──▶ open ──(seconds)──▶ half-open ──(one call succeeds)──▶ closed
                                 ▲                      │
                                 └──────(it fails)──────┘
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from memsched.llm.errors import LLMUnavailable
from memsched.logs import get_logger

log = get_logger(__name__)


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts failed calls in a row; see the module. For one event loop, not for threads.

    Args:
        failures: in a row, after which it opens.
        seconds: how long it stays open.
        clock: seconds, monotonic.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._last_reason = ""
        self._probe: Call | None = None
        self.epoch = 0
        """Changes whenever it opens or closes: a call that began before that says nothing about now."""

    @property
    def state(self) -> CircuitState:
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self.seconds_left <= 0 else CircuitState.OPEN

    @property
    def seconds_left(self) -> float:
        """Until a call may be tried again; 0 when one may."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._seconds - self._clock())

    def check(self) -> None:
        """Raise LLMUnavailable if a call would not be let through now."""
        if self.state is CircuitState.CLOSED or (self.state is CircuitState.HALF_OPEN and self._probe is None):
            return
        left = self.seconds_left
        raise LLMUnavailable(
            f"It failed {self._failures} times in a row (MEMSCHED_LLM_BREAKER_FAILURES) and is left alone "
            f"{f'for another {left:.1f} s' if left else 'while one call tries it'}. Last: {self._last_reason}",
            kind="circuit_open",
            retry_after=left or None,
        )

    def call(self) -> Call:
        """One call: ``with breaker.call() as call``. Raises LLMUnavailable when it is not let through."""
        return Call(self)

    def _enter(self, call: Call) -> None:
        self.check()
        if self.state is CircuitState.HALF_OPEN:
            self._probe = call

    def _leave(self, call: Call) -> None:
        if self._probe is call:
            self._probe = None

    def _succeeded(self) -> None:
        self._failures = 0
        if self._opened_at is not None:
            self._opened_at = None
            self.epoch += 1
            log.info("the language model answers again", action="llm.breaker_closed")

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._last_reason = reason
        if self._opened_at is None and self._failures < self._limit:
            return
        self._opened_at = self._clock()
        self.epoch += 1
        log.warning(
            "the language model is left alone for a while; memsched goes on with its local forms",
            action="llm.breaker_opened",
            failures=self._failures,
            seconds=self._seconds,
            reason=reason,
        )


class Call:
    """One call, and what its end says about the server; left without a word, it says nothing."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._epoch = breaker.epoch

    def __enter__(self) -> Self:
        self._breaker._enter(self)
        self._epoch = self._breaker.epoch
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._breaker._leave(self)

    def succeeded(self) -> None:
        if self._epoch == self._breaker.epoch:
            self._breaker._succeeded()

    def failed(self, reason: str) -> None:
        if self._epoch == self._breaker.epoch:
            self._breaker._failed(reason)
