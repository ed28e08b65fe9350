"""Watchdog of one embedded server: starts it, restarts it when it dies, and stops it when nobody uses it any more.

One small process per folder. It is started as a script in a session of its own, so that it outlives the process that
happened to need the server first. It uses the standard library only and imports nothing of memsched: it must start
fast (python -I -S), and keep working while the package under it is upgraded. For that it is one file, and its clients
take the locks and the state file from here. It is told in JSON what to run and how to probe it: Redis, or any server
that answers GET /readyz on its socket.

Who does what is settled by kernel locks (flock) on four files of the folder. They vanish with their holders,
however those die, so nothing is ever decided from a process number in a file:

    in-use.lock   shared by every process that uses the server, which makes it a count of references; the watchdog
                  stops the server only while it holds this lock exclusively, so that nobody can begin to use a
                  server that is about to stop
    guard.lock    held by the watchdog. Taken by the client that starts it, and inherited: there is no moment at
                  which two watchdogs, or none, believe that they are in charge
    server.lock   inherited by the server itself: two servers never write one append-only file, even when a
                  watchdog was killed and its successor is quicker than the old server's end
    stop.lock     shared by everybody who wants the server to stop at once, whoever uses it (teardown.py)
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

IN_USE_LOCK = "in-use.lock"
WATCHDOG_LOCK = "guard.lock"  # its first name: memsched of another version must meet the same lock
SERVER_LOCK = "server.lock"
STOP_LOCK = "stop.lock"
STATE_FILE = "server.json"
LOG_FILE = "server.log"

GRACE_SECONDS = 2.0  # a script that runs right after another finds the server warm
CHECK_SECONDS = 0.5  # a few system calls each time: far below 0.1 % of a core
STOP_SECONDS = 10.0  # time to flush before SIGKILL; what was written survives a SIGKILL all the same
TAKE_OVER_SECONDS = 30.0  # time for the previous watchdog's server to flush and exit
ADOPT_SECONDS = 1.0  # a server that still answers after this did not learn that its watchdog died: keep it
CRASH_LOOP_SECONDS = 5.0  # a server that lived for less is restarted after a growing pause
MAX_PAUSE_SECONDS = 5.0
MAX_FAILED_STARTS = 5
MAX_LOG_BYTES = 5_000_000
KEPT_LOG_BYTES = 100_000
PR_SET_PDEATHSIG = 1


class Readiness(enum.Enum):
    """What a server says when it is probed."""

    READY = "it answers"
    LOADING = "it is loading its data"
    CANNOT_WRITE = "it cannot write to its append-only file"
    SILENT = "it does not answer"


class ServerStartError(Exception):
    """The server ended before it ever answered."""


def ask(socket_path: str, request: bytes, timeout_seconds: float) -> bytes:
    """The reply to one command without arguments, or the head of a web page; empty when there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(socket_path)
            connection.sendall(request + b"\r\n")
            with connection.makefile("rb") as reply:
                line = reply.readline().rstrip()
                if line.startswith(b"HTTP/"):
                    return line + b"\n" + b"".join(iter(reply.readline, b"\r\n"))
                return reply.read(int(line[1:])) if line.startswith(b"$") else line
    except (OSError, ValueError):
        return b""


class RedisProbe:
    """Readiness probe of a Redis server."""

    @staticmethod
    def readiness(socket_path: str, timeout_seconds: float) -> Readiness:
        reply = ask(socket_path, b"PING", timeout_seconds)
        if not reply:
            return Readiness.SILENT
        if reply.startswith(b"-LOADING"):
            return Readiness.LOADING
        if reply.startswith(b"-MISCONF"):
            return Readiness.CANNOT_WRITE
        return Readiness.READY

    @staticmethod
    def pid_of_server(socket_path: str, timeout_seconds: float) -> int | None:
        """Asked of the server itself: a number in a file may have been given to another process since."""
        return number_after(b"process_id:", ask(socket_path, b"INFO server", timeout_seconds))


class HttpProbe:
    """Readiness probe of a web server: its /readyz says 200, or 503 while it loads; a header tells its number."""

    REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

    @staticmethod
    def readiness(socket_path: str, timeout_seconds: float) -> Readiness:
        reply = ask(socket_path, HttpProbe.REQUEST, timeout_seconds)
        if not reply:
            return Readiness.SILENT
        status = reply.split(b" ", 2)[1:2]
        return {b"503": Readiness.LOADING, b"507": Readiness.CANNOT_WRITE}.get(b"".join(status), Readiness.READY)

    @staticmethod
    def pid_of_server(socket_path: str, timeout_seconds: float) -> int | None:
        return number_after(b"process-id:", ask(socket_path, HttpProbe.REQUEST, timeout_seconds).lower())


Probe = type[RedisProbe] | type[HttpProbe]
PROBES: dict[str, Probe] = {"redis": RedisProbe, "http": HttpProbe}


def number_after(name: bytes, reply: bytes) -> int | None:
    for line in reply.splitlines():
        if line.startswith(name):
            return int(line.removeprefix(name))
    return None


def is_private(directory: str) -> bool:
    """Whether the directory exists, is ours and nobody else can use it: temporary directories are shared."""
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def make_private(directory: str) -> None:
    if not is_private(directory):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise PermissionError(f"{directory} is not a private directory of this user; remove it") from None


def read_state(folder: str) -> dict[str, Any]:
    """What the watchdog wrote about its server; empty when there is nothing that this user wrote.

    It names a program to run, so another user's word does not count, wherever the folder is.
    """
    try:
        with open(os.path.join(folder, STATE_FILE), encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            state = json.load(file)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(folder: str, state: dict[str, Any]) -> None:
    temporary = os.path.join(folder, STATE_FILE + ".new")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(state, file)
    os.replace(temporary, os.path.join(folder, STATE_FILE))


def identity(folder: str) -> list[int]:
    """Tells a folder from its copy, which would otherwise lead to the original's server."""
    status = os.stat(folder)
    return [status.st_dev, status.st_ino]


def open_lock(folder: str, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(os.path.join(folder, name), flags, 0o600)


def try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Log:
    """server.log: what the server and the watchdog say, bounded to a few megabytes."""

    def __init__(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.file = os.open(LOG_FILE, flags, 0o600)
        self.bound()
        self._start = os.fstat(self.file).st_size

    def write(self, text: str) -> None:
        line = f"{os.getpid()}:watchdog {time.strftime('%d %b %Y %H:%M:%S')} {text}\n"
        # A full disk must not stop the server, and there is nowhere else to say it.
        with contextlib.suppress(OSError):
            os.write(self.file, line.encode(errors="replace"))

    def mark(self) -> None:
        """The next `tail` begins here."""
        self._start = os.fstat(self.file).st_size

    def tail(self) -> str:
        size = os.fstat(self.file).st_size
        return os.pread(self.file, 8_000, max(self._start, size - 8_000)).decode(errors="replace")

    def bound(self) -> None:
        """Keep the newest part when the log has grown too long. Writers append, so they go on undisturbed."""
        size = os.fstat(self.file).st_size
        if size > MAX_LOG_BYTES:
            newest = os.pread(self.file, KEPT_LOG_BYTES, size - KEPT_LOG_BYTES)
            os.ftruncate(self.file, 0)
            with contextlib.suppress(OSError):
                os.write(self.file, newest[newest.find(b"\n") + 1 :])


def prctl() -> Callable[..., int] | None:
    """Linux's way to tell a child of its parent's death; without it, the next watchdog adopts the server."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes  # here, because some Pythons are built without it

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


class ServerProcess:
    """The supervised process in the current directory: our child, or one that outlived a killed watchdog."""

    def __init__(self, program: dict[str, Any], socket_path: str, log: Log) -> None:
        self._command: list[str] = program["command"]
        # Some servers refuse to start under a locale that is not installed.
        self._environment = {**os.environ, "LC_ALL": "C", **program["environment"]}
        self._pid_of_server = PROBES[program["probe"]].pid_of_server
        self._socket = socket_path
        self._log = log
        self._lock = open_lock(".", SERVER_LOCK)
        self._pid = 0
        self._exit_code: int | None = 0  # not started is ended
        self.adopted = False
        self._prctl = prctl()

    def lock_or_adopt(self, waited: float) -> bool:
        """Become the only one to run a server here. False while the previous server has not gone yet."""
        if try_lock(self._lock, fcntl.LOCK_EX):
            return True
        if waited < ADOPT_SECONDS and self._prctl is not None:
            return False  # the kernel has told it to stop, and it is flushing
        pid = self._pid_of_server(self._socket, 0.5)
        if pid is None:
            return False
        self._pid, self._exit_code, self.adopted = pid, None, True
        self._log.write(f"adopted the running server {pid}")
        return True

    def start(self) -> None:
        if self.adopted:
            return
        self._log.mark()
        watchdog = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._become_server(watchdog)
        self._exit_code = None

    def _become_server(self, watchdog: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self._prctl is not None:
                # SIGTERM, not SIGKILL: the server flushes what a slow disk made it postpone.
                self._prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() == watchdog:  # otherwise it died before it could be watched
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(self._log.file, 1)
                os.dup2(self._log.file, 2)
                os.set_inheritable(self._lock, True)
                os.execve(self._command[0], self._command, self._environment)  # noqa: S606  found and checked by us
        except OSError as error:
            self._log.write(f"cannot run {self._command[0]}: {error}")
        finally:
            os._exit(127)

    def ended(self) -> int | None:
        """The exit code with which the server ended, or minus the signal; None while it runs."""
        if self._exit_code is None and self.adopted:
            if try_lock(self._lock, fcntl.LOCK_EX):
                self._exit_code, self.adopted = 0, False  # only a parent is told more
        elif self._exit_code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._exit_code = os.waitstatus_to_exitcode(status) if pid else None
        return self._exit_code

    def send(self, number: int) -> None:
        """Only after `ended() is None`: the number is still the server's."""
        with contextlib.suppress(ProcessLookupError):  # an adopted server may end at this very moment
            os.kill(self._pid, number)


class Watchdog:
    """Supervises the server: restarts it when it dies, and stops it when nobody holds in-use.lock any more."""

    def __init__(self, folder: str, socket_path: str, program: dict[str, Any]) -> None:
        self._folder = folder
        self._socket = socket_path
        self._state: dict[str, Any] = read_state(".") | {"folder": identity("."), "socket": socket_path}
        self._served_by: dict[str, str] = program["served_by"]
        self._readiness = PROBES[program["probe"]].readiness
        self.log = Log()
        self._server = ServerProcess(program, socket_path, self.log)
        self._in_use = open_lock(".", IN_USE_LOCK)
        self._stop = open_lock(".", STOP_LOCK)
        self._idle_since: float | None = None
        self._answered = False
        self._reported = False
        self._started = 0.0
        self._restart_at: float | None = None
        self._failed_starts = 0
        self._crashes_in_a_row = 0
        self._told_to_stop = False
        self._wake_up, wake_up_writer = os.pipe()
        os.set_blocking(self._wake_up, False)
        os.set_blocking(wake_up_writer, False)
        signal.set_wakeup_fd(wake_up_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # its arrival ends the wait
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        # The process that started us may block signals, and a mask is inherited, by the server too.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def _on_stop_signal(self, *_: object) -> None:
        self._told_to_stop = True

    def run(self) -> None:
        self._take_over()
        try:
            self._start_server()
            while not self._must_stop() and self._folder_is_there() and not self._is_unused():
                self._look_after_server()
                self._wait(self._time_to_next_look())
        finally:
            self._stop_server()
            self._clean_up()

    def _take_over(self) -> None:
        begin = time.monotonic()
        while not self._server.lock_or_adopt(time.monotonic() - begin):
            if self._must_stop() or time.monotonic() - begin > TAKE_OVER_SECONDS:
                raise ServerStartError("the previous server still holds server.lock and does not end")
            self._wait(0.005)
        make_private(os.path.dirname(self._socket))
        write_state(".", self._state)

    def _start_server(self) -> None:
        self._answered = False
        self._restart_at = None
        self._started = time.monotonic()
        self.log.bound()
        self._server.start()

    def _look_after_server(self) -> None:
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self._start_server()
        elif (code := self._server.ended()) is not None:
            self._server_ended(code)
        elif not self._answered:
            if self._readiness(self._socket, 0.2) in (Readiness.READY, Readiness.CANNOT_WRITE):
                self._server_answered()
        elif not os.path.lexists(self._socket):
            self.log.write("the socket was removed: restarting the server")
            self._stop_server()
            make_private(os.path.dirname(self._socket))
            self._start_server()
        else:
            self.log.bound()

    def _server_answered(self) -> None:
        self._answered = True
        self._failed_starts = 0
        if not self._reported:
            self._reported = True
            if not self._server.adopted:
                # Only now: a server that cannot read the data is not the one to remember.
                write_state(".", self._state | self._served_by)
            report({"ready": True})

    def _server_ended(self, code: int) -> None:
        now = time.monotonic()
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        if not self._answered:
            self._failed_starts += 1
            gave_up_itself = code > 0 and not self._reported  # somebody waits for this answer
            if gave_up_itself or self._failed_starts >= MAX_FAILED_STARTS:
                raise ServerStartError(f"the server ended before it answered ({how})")
        self._crashes_in_a_row = self._crashes_in_a_row + 1 if now - self._started < CRASH_LOOP_SECONDS else 0
        # A backoff of its own, without jitter: memsched.backoff cannot be imported here, and there is one watchdog.
        pause = min(MAX_PAUSE_SECONDS, 0.05 * 2**self._crashes_in_a_row)
        self._restart_at = now + pause
        self.log.write(f"the server ended ({how}): starting it again in {pause:g} s")

    def _must_stop(self) -> bool:
        """True after a signal, or while somebody holds stop.lock."""
        if not self._told_to_stop:
            self._told_to_stop = not try_lock(self._stop, fcntl.LOCK_EX)
            fcntl.flock(self._stop, fcntl.LOCK_UN)
        return self._told_to_stop

    def _is_unused(self) -> bool:
        """True when nobody has used the server for the grace time; in-use.lock is then held exclusively."""
        if not try_lock(self._in_use, fcntl.LOCK_EX):
            self._idle_since = None
            return False
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since >= GRACE_SECONDS:
            return True
        fcntl.flock(self._in_use, fcntl.LOCK_UN)
        return False

    def _folder_is_there(self) -> bool:
        try:
            return bool(identity(self._folder) == self._state["folder"])
        except OSError:
            return False

    def _stop_server(self) -> None:
        if self._server.ended() is not None:
            return
        self._server.send(signal.SIGTERM)
        begin = time.monotonic()
        while self._server.ended() is None:
            if time.monotonic() - begin > STOP_SECONDS:
                self._server.send(signal.SIGKILL)
            self._wait(0.05)

    def _clean_up(self) -> None:
        """Leave nothing in the temporary directory. Without the folder, the socket may be a successor's."""
        with contextlib.suppress(OSError):
            if self._folder_is_there():
                os.unlink(self._socket)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self._socket))

    def _time_to_next_look(self) -> float:
        if self._restart_at is not None:
            return max(0.0, min(CHECK_SECONDS, self._restart_at - time.monotonic()))
        if self._answered:
            return CHECK_SECONDS
        # Quick at first, because somebody waits; slow while a large file is being loaded.
        return min(0.1, 0.003 + 0.02 * (time.monotonic() - self._started))

    def _wait(self, seconds: float) -> None:
        """Sleep, but wake up when a signal arrives (the server's end is one)."""
        if select.select([self._wake_up], [], [], seconds)[0]:
            os.read(self._wake_up, 1024)


def report(outcome: dict[str, Any]) -> None:
    """Tell the process that started us, through the pipe that is our standard output, and let it go."""
    with contextlib.suppress(OSError):  # it has not waited: the server is there for others
        os.write(1, json.dumps(outcome).encode() + b"\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main(folder: str, socket_path: str, program: str, watchdog_lock: str) -> int:
    """program: JSON with command, environment (added to ours), probe, and served_by (kept in server.json)."""
    if os.fork():
        os._exit(0)  # the process that started us is left with nothing to wait for
    os.set_inheritable(int(watchdog_lock), False)  # the server must not hold it when we are gone
    os.umask(0o077)
    log = None
    try:
        os.chdir(folder)
        watchdog = Watchdog(folder, socket_path, json.loads(program))
        log = watchdog.log
        os.dup2(log.file, 2)
        watchdog.run()
    except (OSError, ServerStartError) as error:
        if log is not None:
            log.write(f"the watchdog gives up: {error}")
        report({"ready": False, "error": str(error), "log": log.tail() if log is not None else ""})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
