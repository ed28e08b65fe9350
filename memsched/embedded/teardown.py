"""Ending the demo's own server, so that no process outlives the demo."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

from memsched.embedded import guard

_PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 0.01


def end_server(folder: Path) -> None:
    """Tell the guard of this folder to stop its server, and wait until both are gone.

    By itself it would wait a little for the next user, and there is none.
    """
    if not folder.is_dir():
        return
    pid = guard.read_state(str(folder)).get("guard_pid")
    if isinstance(pid, int):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    lock = guard.open_lock(str(folder), guard.GUARD_LOCK)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not guard.try_lock(lock, fcntl.LOCK_SH) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    finally:
        os.close(lock)
