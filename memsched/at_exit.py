"""Leaving the interpreter is a stop: what runs here is stopped in order, however the main thread ended."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 -- has put its own hook into `threading` before ours
import os
import threading
from collections.abc import Callable

from memsched.logs import get_logger

log = get_logger(__name__)


class StopAtExit:
    """Calls ``stop`` once before the interpreter ends, unless it was disarmed before that.

    With ``early``, when the main thread has ended: at that moment concurrent.futures closes all thread pools, and what
    works here could not go on. Without, other threads may use it until they too have ended.

    Args:
        stop: must end within a bounded time; what it raises is logged.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def arm(self, *, early: bool) -> None:
        _armed[self] = (os.getpid(), early)

    def disarm(self) -> None:
        _armed.pop(self, None)

    def leave(self) -> None:
        """What happens at the end. A child process leaves what its parent armed before the fork to the parent."""
        process, _ = _armed.pop(self, (0, False))
        if process != os.getpid():
            return
        try:
            self._stop()
        except Exception as error:  # noqa: BLE001 -- the others are to be stopped too
            log.error(
                "not stopped in order at exit; what is unfinished is claimed after its min idle",
                action="exit.failed",
                error=repr(error),
            )


_armed: dict[StopAtExit, tuple[int, bool]] = {}
"""With the process that armed each, and whether the main thread's end is the end for it."""


def _main_thread_ended() -> None:
    for each, (_, early) in list(_armed.items()):
        if early:
            each.leave()


def _interpreter_ends() -> None:
    for each in list(_armed):
        each.leave()


# The hooks of `threading` come before those of `atexit`, and the newest one first. They have no public name yet.
threading._register_atexit(_main_thread_ended)  # type: ignore[attr-defined]
atexit.register(_interpreter_ends)
