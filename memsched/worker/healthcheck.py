"""What a healthcheck finds: the liveness files of the workers of this machine, and whether their processes live.

It runs every few seconds, in a process of its own each time: nothing that is slow to import is needed here.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memsched.broker.keys import unescape
from memsched.settings import Settings


def liveness_dir(settings: Settings) -> Path:
    """The folder of the files of this machine (in a container: of its workers)."""
    if settings.liveness_dir:
        return Path(settings.liveness_dir)
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:  # nowhere in the system can a temporary file be written
        temporary = os.sep + "tmp"
    return Path(temporary) / f"memsched-live-{os.getuid()}"


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
            pid, _, began_then = path.read_text(encoding="ascii").partition(" ")
            there = _process_exists(int(pid or "0"), began_then)
        except (OSError, ValueError):
            continue
        if not there:
            with suppress(OSError):
                path.unlink()
            continue
        reports.append(LivenessReport(unescape(path.name), age, age < settings.liveness_seconds))
    return reports


def _process_exists(pid: int, began_then: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # In a container that was started again, everybody has the number that its predecessor had.
    return not began_then or began_then == began(pid)


def began(pid: int) -> str:
    """When a process began, in ticks since the start of the machine; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
