"""Child processes that do not outlive the tests, however those end."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_the_tests() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to ``log``; it is killed when the tests are."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            preexec_fn=_die_with_the_tests if sys.platform == "linux" else None,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, also to one that is stopped, and reap it."""
    if process.poll() is None:
        process.kill()
    process.wait()


def processes_in(folder: Path) -> list[psutil.Process]:
    """Those that have it as their working directory, and a server's watchdog, whose command names it; but not us."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) or any(str(folder) in word for word in process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.pid != os.getpid()]


def free_port() -> int:
    """A port that nobody listens on, and with a Cluster bus port (plus 10,000) in range."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without a developer's settings, with the tests' modules importable.

    memsched is the one beside these tests, also where another copy of it is installed (a second working tree). The
    width of the terminal that runs the tests (pytest-xdist passes it on) must not break the lines of the commands.
    """
    ours = (*SETTINGS_PREFIXES, "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    return {**kept, "PYTHONPATH": f"{TESTS}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1", **more}


SETTINGS_PREFIXES = ("MEMSCHED_", "MOS_SCHEDULER_", "MEMSCHEDULER_")
