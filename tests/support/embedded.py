"""The processes of an embedded server's folder, and a watchdog with less patience."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

from memsched.embedded import watchdog

IMPATIENT = (("GRACE_SECONDS = 2.0", "GRACE_SECONDS = 0.1"), ("CHECK_SECONDS = 0.5", "CHECK_SECONDS = 0.02"))


def processes_of(folder: Path) -> list[psutil.Process]:
    """The watchdogs and servers of the folder: they work in it, or in a folder of it."""
    return [process for process, _ in _with_commands(folder)]


def watchdogs_of(folder: Path) -> list[psutil.Process]:
    return [each for each, command in _with_commands(folder) if any(part.endswith("watchdog.py") for part in command)]


def _with_commands(folder: Path) -> list[tuple[psutil.Process, list[str]]]:
    """Each process with its command line, read at once: it may end at any moment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder.resolve()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process, process.cmdline()))
    return found


def use_changed_watchdog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = Path(watchdog.__file__).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    copy = tmp_path / "changed_watchdog.py"
    copy.write_text(text)
    monkeypatch.setattr(watchdog, "__file__", str(copy))
    return copy
