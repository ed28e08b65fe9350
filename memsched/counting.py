"""Counting: numbers and histograms on their way to the statistics in the server, and what this process counts beside
messages (moves of memories, calls of models and of the store, tokens of prompts).

A worker brings that to the server; where none runs, whoever shows the numbers does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

_LARGEST = 22
BOUNDS = tuple(2**power / 1000 for power in range(_LARGEST + 1))
"""The buckets' upper bounds in seconds: 1 ms, 2 ms, 4 ms, ... 70 min. What is longer is in one bucket more."""


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a measurement is in."""
    return min((max(math.ceil(seconds * 1000), 1) - 1).bit_length(), _LARGEST + 1)


class Counts(Counter[str]):
    """What is to be added to one hash of the statistics."""

    def observe(self, name: str, seconds: float) -> None:
        """One measurement of a histogram."""
        seconds = max(0.0, seconds)
        self[f"{name}:{bucket_of(seconds)}"] += 1
        self[f"{name}:sum"] += round(seconds * 1_000_000)

    def sent(self, counts: Mapping[str, int]) -> None:
        """These are in the server now."""
        for name, number in counts.items():
            if self[name] == number:
                del self[name]
            else:
                self[name] -= number


counted = Counts()
"""Of this process, not yet in the server. Fields: ``<what>:<which>``, of small fixed sets; never ids, never texts."""
