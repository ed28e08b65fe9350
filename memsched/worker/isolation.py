"""Isolation of suspected poison messages: the one that kills its worker is found out, and no other is blamed for it.

What ran in a worker that died is counted a crash, and runs beside others as before; what has one crash left (see
memsched/queue/crash_account.py) runs on trial, for its next crash is the last. So no other cause may come into
question: no two trials at once, and a trial and another message never start in the same moment, for what kills a
process mostly does so at once. The moment is over when the server knows that a message has been running for a
while (it is marked).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from memsched.queue.crash_account import trial_at
from memsched.queue.delivery import Delivery
from memsched.worker.call import Call


class Isolation:
    """Says which messages may start beside what runs in this worker.

    Args:
        max_crashes: deaths of its worker after which a message is given up.
        running: returns the calls that run now.
        look_again: called when what was not admitted may be admitted now.
    """

    def __init__(self, max_crashes: int, running: Callable[[], Iterable[Call]], look_again: Callable[[], None]) -> None:
        self._trial_at = trial_at(max_crashes)
        self._running = running
        self._look_again = look_again
        self._on_trial: Delivery | None = None
        self._next_trial: Delivery | None = None
        """It waits for what has just started. Nothing else may start before it, or its turn would never come."""

    def admits(self, delivery: Delivery) -> bool:
        """Whether a message may start now."""
        if not delivery.has_past or delivery.crashes < self._trial_at:
            return self._next_trial is None and (self._on_trial is None or self._on_trial.marked)
        if self._on_trial is not None or (self._next_trial is not None and self._next_trial is not delivery):
            return False
        if any(not one.marked and not one.lost for call in self._running() for one in call.deliveries):
            self._next_trial = delivery
            return False
        self._next_trial = None
        self._on_trial = delivery
        return True

    @property
    def holds_up(self) -> bool:
        """Whether something may be waiting for what runs, for a trial or before one."""
        return self._on_trial is not None or self._next_trial is not None

    def settled(self, delivery: Delivery) -> None:
        """The server knows a message's outcome, or that it went to another worker.

        Not sooner: until then, a death of this worker would be put down to it.
        """
        if delivery is self._on_trial:
            self._on_trial = None
        elif delivery is self._next_trial:
            self._next_trial = None
        else:
            return
        self._look_again()
