"""`embedded://FOLDER`: a real server on this machine, shared by every process that names the folder.

The calling process only holds a lock, and starts a guard where there is none (see guard.py). There is nothing
to shut down: the lock goes when the process goes, and the guard stops the server after the last one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from memsched.embedded import guard
from memsched.embedded.binary import BINARY_VARIABLE, ServerBinary, ServerBinaryError, find_server_binary
from memsched.errors import EmbeddedServerError

SOCKET_NAME = "redis.sock"
MAX_SOCKET_PATH_BYTES = 103  # macOS takes 103, Linux 107
GREETING_SECONDS = 1.0  # a busy server is asked again until the caller's time is over
SHOWN_LOG_LINES = 12
SHOWN_LINE_LENGTH = 200


def ensure_server(folder: str | Path, *, timeout_seconds: float = 15.0, program: str = "") -> str:
    """The URL of the server that keeps its data in `folder`, which is created if need be.

    program: the server to start, if one has to be started; empty: see find_server_binary.

    Starts the server if it does not run, and returns when it answers. Cheap when it does (about 0.1 ms), so
    call it again after a connection error: whatever was killed is started again, with its data.

    From then on this process counts as a user of the server; a forked child only when it calls this too.
    Blocks, at most for `timeout_seconds`; raises EmbeddedServerError. When the time is over because much data
    is being loaded, the loading goes on, and the next call waits for the rest.
    """
    deadline = time.monotonic() + timeout_seconds
    use = _use_of(folder)
    if not use.mutex.acquire(timeout=max(0.0, timeout_seconds)):
        raise EmbeddedServerError(f"Another thread is still starting the server in {use.folder}. Call again.")
    try:
        socket_path = use.server_that_runs(deadline) or use.bring_up(deadline, program)
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded server cannot use the folder {use.folder}: {error}. It must be a folder that this "
            f"user can write to, on a file system that has file locks and is not full."
        ) from error
    finally:
        use.mutex.release()
    return f"unix://{quote(socket_path)}?db=0"


def release_server(folder: str | Path) -> None:
    """This process no longer uses the server of `folder`, in any of its threads.

    Also happens by itself when the process ends, in whatever way.
    """
    use = _use_of(folder)
    with use.mutex:
        use.close()


def server_pid(folder: str | Path) -> int | None:
    """The process number of the server that runs in `folder`, if one does."""
    socket_path = _published_socket(os.path.realpath(folder))
    return None if socket_path is None else guard.pid_of_server(socket_path, GREETING_SECONDS)


class _Use:
    """This process's use of one folder: a shared lock that it holds, and a view on the guard's lock."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.mutex = threading.Lock()
        self._in_use: int | None = None
        self._guard_lock: int | None = None
        self._socket: str | None = None

    def close(self) -> None:
        # Closed, never unlocked: an unlock would reach through to a forked child's copy.
        for file in (self._in_use, self._guard_lock):
            if file is not None:
                with contextlib.suppress(OSError):
                    os.close(file)
        self._in_use = self._guard_lock = self._socket = None

    def server_that_runs(self, deadline: float) -> str | None:
        """The socket, when we are registered, the guard lives and the server answers: the cheap case."""
        if self._socket is None or not self._holds_in_use_lock() or not self._guard_lives():
            return None
        if not guard.is_private(os.path.dirname(self._socket)):
            return None
        ready = self._greet(self._socket, deadline) is guard.Answer.READY
        return self._socket if ready else None

    def bring_up(self, deadline: float, program: str) -> str:
        """Start a guard if there is none, and wait until the server answers."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._take_in_use_lock(deadline)
        pause = 0.002
        while True:
            if guard.try_lock(self._open_guard_lock(), fcntl.LOCK_EX):
                self._start_guard(deadline, program)
            answer = guard.Answer.SILENT
            if socket_path := _published_socket(self.folder):
                answer = self._greet(socket_path, deadline)
                if answer is guard.Answer.READY:
                    self._socket = socket_path
                    return socket_path
                if answer is guard.Answer.CANNOT_WRITE:
                    raise EmbeddedServerError(
                        f"The embedded server in {self.folder} runs, but refuses writes, because it cannot "
                        f"write its append-only file. If the disk is full, make room: then it goes on."
                        f"{_log_of(self.folder)}"
                    )
            if time.monotonic() + pause > deadline:
                raise _timed_out(self.folder, answer)
            time.sleep(pause)
            pause = min(0.05, pause * 1.5)

    def _greet(self, socket_path: str, deadline: float) -> guard.Answer:
        left = deadline - time.monotonic()
        return guard.greet(socket_path, min(GREETING_SECONDS, max(0.01, left)))

    def _holds_in_use_lock(self) -> bool:
        """False also when the folder was deleted or replaced since: then our lock is no longer in it."""
        if self._in_use is None:
            return False
        try:
            there = os.stat(os.path.join(self.folder, guard.IN_USE_LOCK))
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._in_use))

    def _take_in_use_lock(self, deadline: float) -> None:
        """Register as a user. A guard that is just stopping its server is waited for."""
        while not self._holds_in_use_lock():
            self.close()
            self._in_use = guard.open_lock(self.folder, guard.IN_USE_LOCK)
            while not guard.try_lock(self._in_use, fcntl.LOCK_SH):
                if time.monotonic() > deadline:
                    self.close()
                    raise EmbeddedServerError(
                        f"The embedded server in {self.folder} is being stopped, which may last. Call again."
                        f"{_log_of(self.folder)}"
                    )
                time.sleep(0.002)

    def _guard_lives(self) -> bool:
        file = self._open_guard_lock()
        if not guard.try_lock(file, fcntl.LOCK_SH):
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False

    def _open_guard_lock(self) -> int:
        if self._guard_lock is None:
            self._guard_lock = guard.open_lock(self.folder, guard.GUARD_LOCK)
        return self._guard_lock

    def _start_guard(self, deadline: float, program: str) -> None:
        """We hold guard.lock, and the guard inherits it: nobody else can start one at the same time."""
        try:
            state = guard.read_state(self.folder)
            binary = find_server_binary(state.get("binary"), program)
            socket_path = _published_socket(self.folder) or _new_socket_path(self.folder)
            outcome = _run_guard(self.folder, socket_path, binary, self._open_guard_lock(), deadline)
        except ServerBinaryError as error:
            message = f"The embedded server in {self.folder} cannot be started. {error}"
            raise EmbeddedServerError(message) from None
        finally:
            file, self._guard_lock = self._open_guard_lock(), None  # the lock is the guard's now, or nobody's
            os.close(file)
        if outcome is not None and not outcome.get("ready"):
            raise _start_failed(self.folder, outcome, state, binary)


def _run_guard(
    folder: str, socket_path: str, binary: ServerBinary, guard_lock: int, deadline: float
) -> dict[str, Any] | None:
    """Start the guard and wait for its report; None when none came by the deadline, or it was killed."""
    what = [folder, socket_path, binary.path, binary.version, str(guard_lock)]
    try:
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, *what],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[guard_lock],
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise EmbeddedServerError(
            f"The guard of the embedded server cannot be run by sys.executable ({sys.executable!r}): {error}"
        ) from error
    assert launcher.stdout is not None
    with launcher.stdout as pipe:
        text = _first_line(pipe.fileno(), deadline)
    try:
        launcher.wait(timeout=5)  # it forks and ends at once
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()
    if not text:
        return None
    try:
        outcome = json.loads(text)
    except ValueError:
        outcome = {"log": text.decode(errors="replace")}
    return outcome if isinstance(outcome, dict) else {}


def _first_line(pipe: int, deadline: float) -> bytes | None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    text = b""
    while not text.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        part = os.read(pipe, 65_536)
        if not part:
            break
        text += part
    return text


def _published_socket(folder: str) -> str | None:
    """Where the folder's server listens, or did: processes may differ in where they see temporary files."""
    state = guard.read_state(folder)
    socket_path = state.get("socket")
    if not isinstance(socket_path, str) or not guard.is_private(os.path.dirname(socket_path)):
        return None
    with contextlib.suppress(OSError):
        if state.get("folder") == guard.identity(folder):
            return socket_path
    return None


def _new_socket_path(folder: str) -> str:
    """A path for the socket, short enough for the kernel, in a directory that only this user may enter.

    The folder's identity is in the name: containers that share a temporary directory may each have a /data.
    """
    key = hashlib.sha256(os.fsencode(f"{folder} {guard.identity(folder)}")).hexdigest()[:16]
    name = f"memsched-{os.geteuid()}-{key}"
    for temporary in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108  a private directory is made there
        directory = os.path.join(temporary, name)
        path = os.path.join(directory, SOCKET_NAME)
        usable = guard.is_private(directory) or (not os.path.lexists(directory) and os.access(temporary, os.W_OK))
        if usable and len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
    raise EmbeddedServerError(
        f"The embedded server in {folder} has no place for its socket: {name} cannot be made in "
        f"{tempfile.gettempdir()} or /tmp, or belongs to another user. Remove it, or set TMPDIR."
    )


def _start_failed(
    folder: str, outcome: dict[str, Any], state: dict[str, Any], binary: ServerBinary
) -> EmbeddedServerError:
    log = str(outcome.get("log", ""))
    reason = str(outcome.get("error", "the guard ended unexpectedly"))
    before = state.get("version", binary.version)
    if "No space left" in log + reason:
        advice = " The disk is full: make room."
    elif before != binary.version:
        # Such a server may call healthy files damaged, and advise a repair that cuts data off.
        advice = (
            f" Before, {before} ({state.get('binary')}) wrote this folder, and another server may be unable "
            f"to read that. Do not repair anything; name that server in {BINARY_VARIABLE}."
        )
    elif "append only file" in log or "append-only file" in log:
        advice = (
            f" Its append-only file is damaged. Restore {folder} from a backup; or make a copy of it, then "
            f"run redis-check-aof --fix {folder}/appendonlydir/appendonly.aof.manifest, which cuts off "
            f"everything after the damage."
        )
    else:
        advice = ""
    return EmbeddedServerError(
        f"The embedded server ({binary.version}, {binary.path}) could not be started in {folder}: {reason}."
        f"{advice}{_tail_of(log, os.path.join(folder, guard.LOG_FILE))}"
    )


def _timed_out(folder: str, answer: guard.Answer) -> EmbeddedServerError:
    socket_path = str(guard.read_state(folder).get("socket", ""))
    if answer is guard.Answer.LOADING:
        advice = "It is still loading its data; call again, or give it more time."
    elif socket_path and not os.access(socket_path, os.W_OK):
        advice = (
            f"Its socket {socket_path} cannot be reached. If another user, container or machine uses this "
            f"folder, they must share a server of another kind: MEMSCHED_REDIS_URL=redis://..."
        )
    else:
        advice = "Call again, or see its log."
    message = f"The embedded server in {folder} was not ready in time. {advice}{_log_of(folder)}"
    return EmbeddedServerError(message)


def _log_of(folder: str) -> str:
    path = os.path.join(folder, guard.LOG_FILE)
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8_000))
            return _tail_of(file.read().decode(errors="replace"), path)
    except OSError:
        return ""


def _tail_of(log: str, path: str) -> str:
    lines = log.strip().splitlines()[-SHOWN_LOG_LINES:]
    return (
        "\n".join([f" The end of its log, {path}:", *(f"    {line[:SHOWN_LINE_LENGTH]}" for line in lines)])
        if lines
        else ""
    )


_uses: dict[str, _Use] = {}
_uses_mutex = threading.Lock()


def _use_of(folder: str | Path) -> _Use:
    path = os.path.realpath(folder)
    with _uses_mutex:
        return _uses.setdefault(path, _Use(path))


def _forget_after_fork() -> None:
    """A forked child has copies of our locks: with them it would keep the server, or the guard's place."""
    global _uses_mutex
    for use in _uses.values():
        use.close()
    _uses.clear()
    _uses_mutex = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
