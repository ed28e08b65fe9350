"""Ending the servers of a folder at once, so that no process outlives what they were started for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

from memsched.embedded import watchdog
from memsched.embedded.vector_server import SUBFOLDER

_PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 0.01


def end_servers(folder: Path) -> None:
    """Tell the guards of an `embedded://FOLDER` to stop its servers, and wait until all of them are gone.

    By themselves they would wait a little for the next user, and there is none.
    """
    for each in (folder / SUBFOLDER, folder):
        _end_server(each)


def _end_server(folder: Path) -> None:
    if not folder.is_dir():
        return
    pid = watchdog.read_state(str(folder)).get("watchdog_pid")
    if isinstance(pid, int):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    lock = watchdog.open_lock(str(folder), watchdog.WATCHDOG_LOCK)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not watchdog.try_lock(lock, fcntl.LOCK_SH) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    finally:
        os.close(lock)
