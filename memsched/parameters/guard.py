"""The process between a worker and a trainer: it holds the lock, and ends the trainer when its worker is gone.

``python -m memsched.parameters.guard LOCK WORKER_PID LOG COMMAND...`` uses nothing of memsched, so it starts at once.
The lock is the kernel's, and the trainer inherits it: as long as one process of the training lives, none is started
beside it, whoever was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

HELD = b"held"
"""What it says, to nobody else's ears, when another training holds the lock: every exit code may be the trainer's."""
_CANNOT_RUN = 127
_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 5.0


class _Told(Exception):
    """Somebody told the guard to end."""


def main(lock: str, worker: int, log: str, command: list[str]) -> int:
    signal.signal(signal.SIGTERM, _raise)
    signal.signal(signal.SIGINT, _raise)
    os.makedirs(os.path.dirname(lock), exist_ok=True, mode=0o700)
    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(1, HELD)
        return os.EX_TEMPFAIL
    try:
        trainer = _started(command, log, held)
    except OSError as error:
        with open(log, "a", encoding="utf-8") as output:
            output.write(f"{command[0]}: {error.strerror}\n")
        return _CANNOT_RUN
    try:
        while os.getppid() == worker:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = trainer.wait(_LOOK_SECONDS)
                return code if code >= 0 else 128 - code
        raise _Told
    except _Told:
        _end(trainer)
        return 128 + signal.SIGTERM


def _started(command: list[str], log: str, held: int) -> subprocess.Popen[bytes]:
    """The trainer, in a session of its own, with the lock."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(held,),
            start_new_session=True,
            preexec_fn=_die_with_the_guard,  # noqa: PLW1509  this process has one thread
        )


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Told


def _die_with_the_guard() -> None:
    """On Linux: a guard that is killed takes the trainer with it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(trainer: subprocess.Popen[bytes]) -> None:
    """All of its session, for a trainer may have started others; politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(trainer.pid, number)
        except ProcessLookupError:
            return
        try:
            trainer.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    _lock, _worker, _log, *_command = sys.argv[1:]
    sys.exit(main(_lock, int(_worker), _log, _command))
