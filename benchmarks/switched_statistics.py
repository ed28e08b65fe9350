"""The handlers of the benchmarks in a worker that counts in every other slice of its messages only; how much CPU time a
message took with and without, pair by pair, is written to BENCH_FOLDER when the process ends.

What statistics cost is the difference, over a few slices of each kind in turn (a pair). All of it: the first of them
sends to the server what was counted. That is several times as often as otherwise, so what is measured is rather too
much.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import time
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import handlers as benchmark
from memsched import ScheduleMessageItem
from memsched.worker.metrics import Metrics, Statistics
from memsched.worker.pipeline import Request

SLICE = 500
"""Messages, about: it ends with a turn of the worker's cycle. What else a machine does changes within longer ones."""
ORDER = (True, False, False, True) * 2
"""Whether a slice counts."""

_messages, _called = Metrics.messages, Metrics.called
_requests, _next_at = Statistics.requests, Statistics.next_at
_order = cycle(ORDER)
_slices: list[tuple[bool, float]] = []
_counts = True
_begun = 0.0
_handled = 0


def _switch() -> None:
    global _counts, _begun, _handled
    if _handled:
        _slices.append((_counts, (time.process_time() - _begun) / _handled))
    _counts = next(_order)
    Metrics.messages = _messages if _counts else lambda *_: None  # type: ignore[method-assign]
    Metrics.called = _called if _counts else lambda *_: None  # type: ignore[method-assign]
    _handled, _begun = 0, time.process_time()


def _switched_requests(self: Statistics, now: float, **how: Any) -> Iterable[Request]:
    """Once in each turn."""
    if not _begun or _handled >= SLICE:
        _switch()
        if len(_slices) % len(ORDER) == 0:
            self._next_at = 0.0
    return _requests(self, now, **how) if _counts or how["at_once"] else ()


async def noop(messages: list[ScheduleMessageItem]) -> None:
    global _handled
    _handled += len(messages)


def _dump() -> None:
    pairs = []
    for at in range(0, len(_slices) - len(ORDER) + 1, len(ORDER)):
        together = _slices[at : at + len(ORDER)]
        pairs.append([mean(seconds for counts, seconds in together if counts is which) for which in (True, False)])
    (Path(os.environ["BENCH_FOLDER"]) / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")


Statistics.requests = _switched_requests  # type: ignore[method-assign]
Statistics.next_at = lambda self, **how: _next_at(self, **how) if _counts else math.inf  # type: ignore[method-assign]
atexit.register(_dump)
handlers = {**benchmark.handlers, "noop": noop}
