"""Liveness of a worker process, for healthchecks: a file that its read loop touches after a successful call.

Not the heartbeat at the server: a process may still beat while its loop is stuck, and a healthcheck must not need the
server to tell. `memsched live` reads the files (``healthcheck.py``).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from memsched.broker.keys import escape
from memsched.logs import get_logger
from memsched.worker.healthcheck import began

log = get_logger(__name__)

_TOUCH_EVERY_SECONDS = 1.0


class Liveness:
    """The file of one worker. Its name is the worker's id, its text the process id, and when that process began.

    Only healthchecks need it: where it cannot be written, that is said once, and the worker works.
    """

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._path = folder / escape(worker_id)
        self._touched = 0.0
        self._can_write = True

    def begin(self) -> None:
        try:
            self._write()
        except OSError as error:
            if self._can_write:
                self._can_write = False
                log.warning(
                    "the liveness file cannot be written, so `memsched live` fails here; the worker works. "
                    "Set MEMSCHED_LIVENESS_DIR to a folder that can be written",
                    action="liveness.not_written",
                    path=str(self._path),
                    error=str(error),
                )
        else:
            self._can_write = True

    def touch(self) -> None:
        """The read loop had a successful call. Writes at most once a second."""
        now = time.monotonic()
        if now - self._touched >= _TOUCH_EVERY_SECONDS:
            self._touched = now
            try:
                os.utime(self._path)
            except OSError:  # somebody tidied the temporary folder
                self.begin()

    def end(self) -> None:
        with suppress(OSError):
            self._path.unlink()

    def _write(self) -> None:
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.write_text(f"{os.getpid()} {began(os.getpid())}", encoding="ascii")
