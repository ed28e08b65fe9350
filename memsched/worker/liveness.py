"""Liveness of a worker process, for healthchecks: a file that its read loop touches after a successful call.

Not the heartbeat at the server: a process may still beat while its loop is stuck, and a healthcheck must not need the
server to tell. `memsched live` reads the files.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from memsched.broker.keys import escape, unescape
from memsched.settings import Settings

_TOUCH_EVERY_SECONDS = 1.0


def liveness_dir(settings: Settings) -> Path:
    """The folder of the files of this machine (in a container: of its workers)."""
    if settings.liveness_dir:
        return Path(settings.liveness_dir)
    return Path(tempfile.gettempdir()) / f"memsched-live-{os.getuid()}"


class Liveness:
    """The file of one worker. Its name is the worker's id, its text the process id."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._path = folder / escape(worker_id)
        self._touched = 0.0

    def begin(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.write_text(str(os.getpid()), encoding="ascii")

    def touch(self) -> None:
        """The read loop had a successful call. Writes at most once a second."""
        now = time.monotonic()
        if now - self._touched >= _TOUCH_EVERY_SECONDS:
            self._touched = now
            try:
                os.utime(self._path)
            except FileNotFoundError:  # somebody tidied the temporary folder
                self.begin()

    def end(self) -> None:
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class LivenessReport:
    """One worker's file: how old it is, and whether its process is there and young enough."""

    worker_id: str
    age_seconds: float
    alive: bool


def read_liveness(settings: Settings) -> list[LivenessReport]:
    """The workers of this machine. Files of processes that are gone are removed: a supervisor started others."""
    reports = []
    folder = liveness_dir(settings)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            age = time.time() - path.stat().st_mtime
            pid = int(path.read_text(encoding="ascii") or "0")
        except (OSError, ValueError):
            continue
        if not _process_exists(pid):
            path.unlink(missing_ok=True)
            continue
        reports.append(LivenessReport(unescape(path.name), age, age < settings.liveness_seconds))
    return reports


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
