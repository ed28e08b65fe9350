"""Teardown of the servers of a folder at once, so that no process outlives what they were started for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from memsched.backoff import poll_pauses
from memsched.deadline import Deadline
from memsched.embedded import watchdog
from memsched.embedded.model_server import places_of_models
from memsched.embedded.vector_server import SUBFOLDER

_PATIENCE_SECONDS = 15.0


def end_servers(folder: Path) -> None:
    """Have the watchdogs of an `embedded://FOLDER` stop its servers, and wait until all of them are gone.

    By themselves they would wait a little for the next user, and there is none. They are told by a lock that they look
    at, not by signals: a process number that is read from somewhere may be another process's by then.
    """
    deadline = Deadline(_PATIENCE_SECONDS)
    places = [str(place) for place in (*places_of_models(folder), folder / SUBFOLDER, folder) if place.is_dir()]
    with contextlib.ExitStack() as told:
        for place in places:
            told.enter_context(_shared(place, watchdog.STOP_LOCK, deadline))
        for place in places:
            with _shared(place, watchdog.WATCHDOG_LOCK, deadline):
                pass  # there is no watchdog, or none any more


def end_unused_servers(folder: Path) -> bool:
    """As `end_servers`, but those that another process uses stay. Returns whether all are gone."""
    places = [str(place) for place in (*places_of_models(folder), folder / SUBFOLDER, folder) if place.is_dir()]
    if any(_in_use(place) for place in places):
        return False
    end_servers(folder)
    return True


def _in_use(place: str) -> bool:
    """Whether a process has registered as a user; a watchdog that found none is no user, and holds the lock alone."""
    lock = watchdog.open_lock(place, watchdog.IN_USE_LOCK)
    try:
        return not watchdog.try_lock(lock, fcntl.LOCK_EX) and watchdog.try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _shared(folder: str, name: str, deadline: Deadline) -> Iterator[None]:
    """Hold a lock together with others, as soon as nobody has it alone; at the deadline, go on without it."""
    lock = watchdog.open_lock(folder, name)
    try:
        for pause in poll_pauses(0.005, 0.05):
            if watchdog.try_lock(lock, fcntl.LOCK_SH) or deadline.passed:
                break
            time.sleep(pause)
        yield
    finally:
        os.close(lock)
