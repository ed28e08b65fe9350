"""Backoff and polling: how long to wait before the next try, or between two looks. No other file has a formula."""

from __future__ import annotations

import random
from collections.abc import Iterator

_MOST_DOUBLINGS = 40
"""2**40 times any base is above every cap; a larger exponent would only overflow."""


def backoff(tries: int, *, base: float, cap: float, least: float = 0.0) -> float:
    """Exponential backoff with jitter: uniform between ``least`` times the bound and the bound.

    The bound is ``base`` for ``tries`` = 0, doubles with each try, and ends at ``cap``; the result is in their unit.

    Args:
        least: 0 is full jitter, which spreads many callers most evenly; 0.5 is equal jitter, which never comes back at
            once (Brooker, "Exponential Backoff And Jitter", 2015).
    """
    bound = min(cap, base * 2.0 ** min(max(tries, 0), _MOST_DOUBLINGS))
    return bound * (least + (1.0 - least) * random.random())


def poll_pauses(first: float, longest: float) -> Iterator[float]:
    """Seconds between two looks at something that nobody tells us about: short at first, then up to ``longest``."""
    pause = first
    while True:
        yield pause
        pause = min(longest, pause * 1.3)
