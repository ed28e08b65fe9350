"""The handlers of the benchmarks in a worker that counts nothing: what its statistics cost is the difference."""

from __future__ import annotations

from typing import Any

from benchmarks.handlers import handlers
from memsched.worker.metrics import Metrics

__all__ = ["handlers"]


def _nothing(*_: Any) -> None:
    """Nothing."""


Metrics.messages = _nothing  # type: ignore[method-assign]
Metrics.called = _nothing  # type: ignore[method-assign]
