"""A server shared by processes: reference-counted through a kernel lock, started at the first use.

The calling process only holds a lock, and starts a watchdog where there is none (watchdog.py). There is nothing to
shut down: the lock goes when the process goes, and the watchdog stops the server after the last one.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from memsched.backoff import poll_pauses
from memsched.deadline import Deadline
from memsched.embedded import watchdog
from memsched.embedded.watchdog import Readiness
from memsched.errors import EmbeddedServerError, EmbeddedServerNotReady

MAX_SOCKET_PATH_BYTES = 103  # macOS takes 103, Linux 107
PROBE_SECONDS = 1.0  # a busy server is asked again until the caller's time is over
SHOWN_LOG_LINES = 12
SHOWN_LINE_LENGTH = 200


class NoProgram(Exception):
    """There is no server program that can be used; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """What the watchdog is to run."""

    command: list[str]
    binary: str
    version: str
    environment: dict[str, str] = field(default_factory=dict)


def module_program(module: str, *arguments: str, version: str) -> Program:
    """A module of this package as a program, run by this interpreter."""
    package = str(Path(__file__).parents[2])  # may be a source folder that is nowhere on the path
    path = ":".join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", module, *arguments]
    return Program(command, binary=module, version=version, environment={"PYTHONPATH": path})


class ServerKind(Protocol):
    """What the servers differ in."""

    @property
    def what(self) -> str:
        """Its name in messages, e.g. "embedded server"."""

    @property
    def socket_name(self) -> str: ...

    @property
    def probe(self) -> str:
        """One of watchdog.PROBES."""

    @property
    def written_file(self) -> str:
        """What cannot be written when the disk is full."""

    @property
    def other_kind(self) -> str:
        """What to set when processes that cannot share a socket must share a server."""

    def program(self, remembered: str | None, chosen: str, folder: str, socket_path: str) -> Program:
        """The program to start. Raises NoProgram.

        Args:
            remembered: the binary that served the folder before.
            chosen: the one that was asked for; may be empty.
        """

    def advice(self, folder: str, log: str, state: dict[str, Any], program: Program) -> str:
        """What to do when it did not start: a sentence that begins with a space, or nothing."""


class SharedServer:
    """This process's handle on the server of one folder: a reference, by a lock that it shares, and a liveness check,
    by a look at the watchdog's lock.
    """

    def __init__(self, kind: ServerKind, folder: str) -> None:
        self.kind = kind
        self.folder = folder
        self._probe = watchdog.PROBES[kind.probe]
        self.mutex = threading.Lock()
        self._in_use: int | None = None
        self._watchdog_lock: int | None = None
        self._socket: str | None = None

    def ensure(self, timeout_seconds: float, program: str = "") -> str:
        """The socket of the server that keeps its data in the folder; see `ensure_server`."""
        deadline = Deadline(timeout_seconds)
        if not self.mutex.acquire(timeout=max(0.0, timeout_seconds)):
            raise EmbeddedServerError(f"Another thread is still starting the {self._name}. Call again.")
        try:
            return self._server_that_runs(deadline) or self._bring_up(deadline, program)
        except OSError as error:
            raise EmbeddedServerError(
                f"The {self.kind.what} cannot use the folder {self.folder}: {error}. It must be a folder that this "
                f"user can write to, on a file system that has file locks and is not full."
            ) from error
        finally:
            self.mutex.release()

    def release(self) -> None:
        with self.mutex:
            self.close()

    def pid(self) -> int | None:
        """The process number of the server that runs in the folder, if one does."""
        socket_path = _published_socket(self.folder)
        return None if socket_path is None else self._probe.pid_of_server(socket_path, PROBE_SECONDS)

    @property
    def _name(self) -> str:
        return f"{self.kind.what} in {self.folder}"

    def close(self) -> None:
        # Closed, never unlocked: an unlock would reach through to a forked child's copy.
        for file in (self._in_use, self._watchdog_lock):
            if file is not None:
                with contextlib.suppress(OSError):
                    os.close(file)
        self._in_use = self._watchdog_lock = self._socket = None

    def _server_that_runs(self, deadline: Deadline) -> str | None:
        """The socket, when we are registered, the watchdog lives and the server answers: the cheap case."""
        if self._socket is None or not self._holds_in_use_lock() or not self._watchdog_lives():
            return None
        if not watchdog.is_private(os.path.dirname(self._socket)):
            return None
        ready = self._readiness(self._socket, deadline) is Readiness.READY
        return self._socket if ready else None

    def _bring_up(self, deadline: Deadline, program: str) -> str:
        """Start a watchdog if there is none, and wait until the server answers."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._take_in_use_lock(deadline)
        for pause in poll_pauses(0.002, 0.05):
            if watchdog.try_lock(self._open_watchdog_lock(), fcntl.LOCK_EX):
                self._start_watchdog(deadline, program)
            answer = Readiness.SILENT
            if socket_path := _published_socket(self.folder):
                answer = self._readiness(socket_path, deadline)
                if answer is Readiness.READY:
                    self._socket = socket_path
                    return socket_path
                if answer is Readiness.CANNOT_WRITE:
                    raise EmbeddedServerError(
                        f"The {self._name} runs, but refuses writes, because it cannot write its "
                        f"{self.kind.written_file}. If the disk is full, make room: then it goes on."
                        f"{_log_of(self.folder)}"
                    )
            if pause > deadline.left:
                raise self._timed_out(answer)
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _readiness(self, socket_path: str, deadline: Deadline) -> Readiness:
        return self._probe.readiness(socket_path, min(PROBE_SECONDS, max(0.01, deadline.left)))

    def _holds_in_use_lock(self) -> bool:
        """False also when the folder was deleted or replaced since: then our lock is no longer in it."""
        if self._in_use is None:
            return False
        try:
            there = os.stat(os.path.join(self.folder, watchdog.IN_USE_LOCK))
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._in_use))

    def _take_in_use_lock(self, deadline: Deadline) -> None:
        """Register as a user. A watchdog that is just stopping its server is waited for."""
        while not self._holds_in_use_lock():
            self.close()
            self._in_use = watchdog.open_lock(self.folder, watchdog.IN_USE_LOCK)
            for pause in poll_pauses(0.002, 0.02):
                if watchdog.try_lock(self._in_use, fcntl.LOCK_SH):
                    break
                if deadline.passed:
                    self.close()
                    raise EmbeddedServerError(
                        f"The {self._name} is being stopped, which may last. Call again.{_log_of(self.folder)}"
                    )
                time.sleep(pause)

    def _watchdog_lives(self) -> bool:
        file = self._open_watchdog_lock()
        if not watchdog.try_lock(file, fcntl.LOCK_SH):
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False

    def _open_watchdog_lock(self) -> int:
        if self._watchdog_lock is None:
            self._watchdog_lock = watchdog.open_lock(self.folder, watchdog.WATCHDOG_LOCK)
        return self._watchdog_lock

    def _start_watchdog(self, deadline: Deadline, chosen: str) -> None:
        """We hold guard.lock, and the watchdog inherits it: nobody else can start one at the same time."""
        try:
            state = watchdog.read_state(self.folder)
            socket_path = _published_socket(self.folder) or self._new_socket_path()
            program = self.kind.program(state.get("binary"), chosen, self.folder, socket_path)
            outcome = self._run_watchdog(socket_path, program, deadline)
        except NoProgram as error:
            raise EmbeddedServerError(f"The {self._name} cannot be started. {error}") from None
        finally:
            file, self._watchdog_lock = self._open_watchdog_lock(), None  # the lock is the watchdog's now, or nobody's
            os.close(file)
        if outcome is not None and not outcome.get("ready"):
            raise self._start_failed(outcome, state, program)

    def _run_watchdog(self, socket_path: str, program: Program, deadline: Deadline) -> dict[str, Any] | None:
        """Start the watchdog and wait for its report; None when none came by the deadline, or it was killed."""
        lock = self._open_watchdog_lock()
        what = {
            "command": program.command,
            "environment": program.environment,
            "probe": self.kind.probe,
            "served_by": {"binary": program.binary, "version": program.version},
        }
        try:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__, self.folder, socket_path, json.dumps(what), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise EmbeddedServerError(
                f"The watchdog of the embedded server cannot be run by sys.executable ({sys.executable!r}): {error}"
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

    def _new_socket_path(self) -> str:
        """A path for the socket, short enough for the kernel, in a directory that only this user may enter.

        The folder's identity is in the name: containers that share a temporary directory may each have a /data.
        """
        key = hashlib.sha256(os.fsencode(f"{self.folder} {watchdog.identity(self.folder)}")).hexdigest()[:16]
        name = f"memsched-{os.geteuid()}-{key}"
        for temporary in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108  a private directory is made there
            directory = os.path.join(temporary, name)
            path = os.path.join(directory, self.kind.socket_name)
            usable = watchdog.is_private(directory) or (
                not os.path.lexists(directory) and os.access(temporary, os.W_OK)
            )
            if usable and len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
                return path
        raise EmbeddedServerError(
            f"The {self._name} has no place for its socket: {name} cannot be made in "
            f"{tempfile.gettempdir()} or /tmp, or belongs to another user. Remove it, or set TMPDIR."
        )

    def _start_failed(self, outcome: dict[str, Any], state: dict[str, Any], program: Program) -> EmbeddedServerError:
        log = str(outcome.get("log", ""))
        reason = str(outcome.get("error", "the watchdog ended unexpectedly"))
        if "No space left" in log + reason:
            advice = " The disk is full: make room."
        else:
            advice = self.kind.advice(self.folder, log, state, program)
        return EmbeddedServerError(
            f"The {self.kind.what} ({program.version}, {program.binary}) could not be started in {self.folder}: "
            f"{reason}.{advice}{_tail_of(log, os.path.join(self.folder, watchdog.LOG_FILE))}"
        )

    def _timed_out(self, answer: Readiness) -> EmbeddedServerNotReady:
        socket_path = str(watchdog.read_state(self.folder).get("socket", ""))
        if answer is Readiness.LOADING:
            advice = "It is still loading its data; call again, or give it more time."
        elif socket_path and not os.access(socket_path, os.W_OK):
            advice = (
                f"Its socket {socket_path} cannot be reached. If another user, container or machine uses this "
                f"folder, they must share a server of another kind: {self.kind.other_kind}"
            )
        else:
            advice = "Call again, or see its log."
        return EmbeddedServerNotReady(f"The {self._name} was not ready in time. {advice}{_log_of(self.folder)}")


def _first_line(pipe: int, deadline: Deadline) -> bytes | None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    text = b""
    while not text.endswith(b"\n"):
        if not poll.poll(deadline.left * 1000):
            return None
        part = os.read(pipe, 65_536)
        if not part:
            break
        text += part
    return text


def _published_socket(folder: str) -> str | None:
    """Where the folder's server listens, or did: processes may differ in where they see temporary files."""
    state = watchdog.read_state(folder)
    socket_path = state.get("socket")
    if not isinstance(socket_path, str) or not watchdog.is_private(os.path.dirname(socket_path)):
        return None
    with contextlib.suppress(OSError):
        if state.get("folder") == watchdog.identity(folder):
            return socket_path
    return None


def _log_of(folder: str) -> str:
    path = os.path.join(folder, watchdog.LOG_FILE)
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


_servers: dict[str, SharedServer] = {}
_servers_mutex = threading.Lock()


def shared_server(kind: ServerKind, folder: str | Path) -> SharedServer:
    """This process's one handle on the server of the folder."""
    path = os.path.realpath(folder)
    with _servers_mutex:
        return _servers.setdefault(path, SharedServer(kind, path))


def _forget_after_fork() -> None:
    """A forked child has copies of our locks: with them it would keep the server, or the watchdog's place."""
    global _servers_mutex
    for server in _servers.values():
        server.close()
    _servers.clear()
    _servers_mutex = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
