"""Liveness of a worker process, for healthchecks: a file that its read loop touches after a successful call.

Not the heartbeat at the server: a process may still beat while its loop is stuck, and a healthcheck must not need the
server to tell. `memsched live` reads the files.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memsched.broker.keys import escape, unescape
from memsched.logs import get_logger
from memsched.settings import Settings

log = get_logger(__name__)

_TOUCH_EVERY_SECONDS = 1.0


def liveness_dir(settings: Settings) -> Path:
    """The folder of the files of this machine (in a container: of its workers)."""
    if settings.liveness_dir:
        return Path(settings.liveness_dir)
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:  # nowhere in the system can a temporary file be written
        temporary = os.sep + "tmp"
    return Path(temporary) / f"memsched-live-{os.getuid()}"


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
        self._path.write_text(f"{os.getpid()} {_began(os.getpid())}", encoding="ascii")


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
            pid, _, began = path.read_text(encoding="ascii").partition(" ")
            there = _process_exists(int(pid or "0"), began)
        except (OSError, ValueError):
            continue
        if not there:
            with suppress(OSError):
                path.unlink()
            continue
        reports.append(LivenessReport(unescape(path.name), age, age < settings.liveness_seconds))
    return reports


def _process_exists(pid: int, began: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # In a container that was started again, everybody has the number that its predecessor had.
    return not began or began == _began(pid)


def _began(pid: int) -> str:
    """When a process began, in ticks since the start of the machine; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
