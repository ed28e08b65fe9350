"""A deadline: the time by which something must be done, shared by all the steps that it takes."""

from __future__ import annotations

import math
import time


class Deadline:
    """So many seconds from now; None is never. Measured by the monotonic clock, which no one sets."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then: 0 when it has passed, infinite if there is none."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._at
