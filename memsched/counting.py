"""Counting: numbers and histograms on their way to the statistics in the server, and what this process counts beside
messages (moves of memories, calls of models and of the store, tokens of prompts).

A worker brings that to the server; where none runs, whoever shows the numbers does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping

_LARGEST = 22
_AT_ONCE = 1_000
BOUNDS = tuple(2**power / 1000 for power in range(_LARGEST + 1))
"""The buckets' upper bounds in seconds: 1 ms, 2 ms, 4 ms, ... 70 min. What is longer is in one bucket more."""


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a measurement is in."""
    return bisect_left(BOUNDS, seconds)


class Counts(Counter[str]):
    """What is to be added to one hash of the statistics. Measurements are put into buckets together: it is cheaper."""

    def __init__(self) -> None:
        super().__init__()
        self._measured: dict[str, list[float]] = {}

    def __bool__(self) -> bool:
        return bool(len(self) or self._measured)

    def observe(self, name: str, *seconds: float) -> None:
        """Measurements of a histogram."""
        if seconds:
            found = self._measured.setdefault(name, [])
            found += seconds
            if len(found) >= _AT_ONCE:
                self.numbers()

    def numbers(self) -> dict[str, int]:
        """All of it, as fields and numbers."""
        measured, self._measured = self._measured, {}
        for name, seconds in measured.items():
            seconds.sort()
            first, last = bucket_of(seconds[0]), bucket_of(seconds[-1])
            ends = [*(bisect_right(seconds, BOUNDS[bucket]) for bucket in range(first, last)), len(seconds)]
            begin = 0
            for bucket, end in enumerate(ends, first):
                if end > begin:
                    self[f"{name}:{bucket}"] += end - begin
                begin = end
            self[f"{name}:sum"] += round(sum(seconds[bisect_left(seconds, 0.0) :]) * 1_000_000)  # clocks differ
        return dict(self)

    def taken(self) -> dict[str, int]:
        """All of it, which is the caller's from here on: whoever takes next gets what comes after. What cannot be
        brought to the server is given back with ``update``.
        """
        numbers = self.numbers()
        self.clear()
        return numbers

    def sent(self, counts: Mapping[str, int]) -> None:
        """These, of ``numbers``, are in the server now. For counts that one task alone sends."""
        for name, number in counts.items():
            if self[name] == number:
                del self[name]
            else:
                self[name] -= number


counted = Counts()
"""Of this process, not yet in the server. Several may bring it there at once: each takes (``taken``) what it sends.
Fields: ``<what>:<which>``, of small fixed sets; never ids, never texts."""
