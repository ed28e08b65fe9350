"""When to look after a lane by the clock: claim what is idle, promote what is due."""

from __future__ import annotations

import random
from dataclasses import dataclass

from memsched.keys import Lane

_PROMOTE_EVERY_SECONDS = 30.0
"""Without any hint. A hint tells at once when something becomes due earlier; this is for hints that were lost."""
_AT_MOST_EVERY_SECONDS = 0.02


@dataclass(slots=True)
class LaneWatch:
    """The next times at which a lane wants a look, in loop.time()."""

    lane: Lane
    claim_at: float = 0.0
    promote_at: float = 0.0
    cursor: str = "-"

    def claimed(self, now: float, cursor: str, taken: int, asked: int, min_idle_ms: int) -> None:
        """A claim was made: again at once while there may be more, otherwise after a quarter of the min idle."""
        self.cursor = cursor
        if taken and taken == asked or cursor != "-":
            self.claim_at = now
        else:
            self.claim_at = now + claim_interval(min_idle_ms) * random.uniform(0.9, 1.1)

    def promoted(self, now: float, count: int, until_next: float | None, most: int) -> None:
        later = _PROMOTE_EVERY_SECONDS * random.uniform(0.9, 1.1)
        if count >= most:
            self.promote_at = now
        else:
            self.promote_at = now + max(_AT_MOST_EVERY_SECONDS, min(later, later if until_next is None else until_next))

    def hinted(self, kind: str) -> None:
        """Another process says that there is something to pick up."""
        if kind == "claimable":
            self.claim_at = 0.0
            self.cursor = "-"
        else:
            self.promote_at = 0.0


def claim_interval(min_idle_ms: int) -> float:
    """Seconds between two looks for idle messages of a label."""
    return min(15.0, max(0.25, min_idle_ms / 4000))
