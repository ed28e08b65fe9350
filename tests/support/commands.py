"""Commands as their users meet them, each a process of its own, but forked from one that has imported what is slow.

``python -m support.commands`` does so. The commands' own files it does not import: that each process does for itself.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import IO

from support.processes import clean_environment, die_with_the_parent

Result = subprocess.CompletedProcess[str]


def run(words: Sequence[str], env: Mapping[str, str], stdin: str = "", timeout: float = 100) -> Result:
    """``memsched WORDS`` in this folder, as ``subprocess.run`` runs it."""
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = (os.pipe() for _ in range(3))
    with (
        open(our_out, encoding="utf-8") as out,
        open(our_err, encoding="utf-8") as err,
        open(our_in, "w", encoding="utf-8") as given,
        _forker().begin(words, env, (their_in, their_out, their_err)) as told,
        ThreadPoolExecutor() as threads,
    ):
        pid = int(told.recv(32))
        threads.submit(_write, stdin, given)
        said = [threads.submit(stream.read) for stream in (out, err)]
        told.settimeout(timeout)
        try:
            code = int(told.recv(32))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(words, code, *(each.result() for each in said))


def _write(text: str, stream: IO[str]) -> None:
    with suppress(BrokenPipeError), stream:  # it need not read
        stream.write(text)


class _Forker:
    """The process that forks. It ends with this one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.commands", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=clean_environment(),
                pass_fds=[theirs.fileno()],
            )

    def begin(self, words: Sequence[str], env: Mapping[str, str], streams: Sequence[int]) -> socket.socket:
        """A command with these streams, which are its own from then on; where its process id is told, and its end."""
        told, theirs = socket.socketpair()
        command = json.dumps([list(words), dict(env), os.getcwd()])
        with theirs, self._lock:
            socket.send_fds(self._control, [f"{command}\n".encode()], [*streams, theirs.fileno()])
            assert self._control.recv(1), "the process that forks is gone"
        for stream in streams:
            os.close(stream)
        return told


_forker = functools.cache(_Forker)


def fork_commands(control: socket.socket) -> None:
    """Fork for each command that is told. Returns in its own process."""
    import memsched.cli.app
    import memsched.scheduler  # noqa: F401

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, files, *_ = socket.recv_fds(control, 65_536, 4)
        while not text.endswith(b"\n"):
            if not (more := control.recv(65_536)):
                sys.exit()
            text += more
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            *streams, told = files
            die_with_the_parent()
            if command := os.fork():
                for stream in streams:
                    os.close(stream)
                os.write(told, b"%d" % command)
                _, status = os.waitpid(command, 0)
                os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
                os._exit(0)
            die_with_the_parent()
            os.close(told)
            _become(*json.loads(text), streams)
            return
        for file in files:
            os.close(file)
        control.send(b".")


def _become(words: list[str], env: dict[str, str], folder: str, streams: list[int]) -> None:
    """As if this process had just been started for a command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, encoding="utf-8") for number, mode in enumerate("rww"))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = folder
    sys.argv = ["memsched", *words]
    random.seed()


if __name__ == "__main__":
    from memsched.cli import main

    fork_commands(socket.socket(fileno=int(sys.argv[1])))
    main()
