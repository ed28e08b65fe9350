"""The handlers of the benchmarks in a worker that counts nothing: what its statistics cost is the difference."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.handlers import handlers
from memsched.broker.keys import Lane
from memsched.queue.delivery import Delivery
from memsched.worker.metrics import Metrics

__all__ = ["handlers"]


def _messages(self: Metrics, lane: Lane, outcome: str, count: int = 1) -> None:
    """Nothing."""


def _called(self: Metrics, deliveries: Sequence[Delivery], outcome: str) -> None:
    """Nothing."""


Metrics.messages = _messages  # type: ignore[method-assign]
Metrics.called = _called  # type: ignore[method-assign]
