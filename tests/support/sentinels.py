"""A master, a replica, and three Sentinels that look after them, as real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import redis

from support.certificates import Certificates
from support.conditions import wait_until
from support.processes import end, free_port, spawn
from support.servers import RedisServer

SERVICE = "main"
_QUORUM = 2


class WatchedServers:
    """Replication under Sentinel. The Sentinels agree within a second that a master is gone.

    Args:
        tls: what all of them speak.
        password: of the servers; the Sentinels have none.
    """

    def __init__(self, program: str, folder: Path, *, tls: Certificates | None = None, password: str = "") -> None:
        self._program = program
        self._folder = folder
        self._tls = tls
        self._password = password
        login = ["--requirepass", password, "--masterauth", password] if password else []
        self._servers = [RedisServer(program, port=True, tls=tls, options=login) for _ in range(2)]
        self._sentinels = [free_port() for _ in range(3)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        login = f":{self._password}@" if self._password else ""
        if self._tls:
            return f"rediss+sentinel://{login}{hosts}/{SERVICE}/0?ssl_ca_certs={self._tls.authority}"
        return f"redis+sentinel://{login}{hosts}/{SERVICE}/0"

    def start(self) -> WatchedServers:
        master, replica = self._servers
        master.start(password=self._password)
        replica.start(password=self._password)
        replica.client.replicaof("127.0.0.1", master.port)
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        for port in self._sentinels:
            self._start_sentinel(port, master.port)
        for port in self._sentinels:
            wait_until(lambda port=port: self._knows_all(port), f"Sentinel {port} to know the others")
        return self

    def _start_sentinel(self, port: int, master: int) -> None:
        folder = self._folder / f"sentinel-{port}"
        folder.mkdir()
        listen = [f"port {port}"]
        if self._tls:
            words = iter(self._tls.options)
            listen = [f"port 0\ntls-port {port}", *(f"{name.removeprefix('--')} {next(words)}" for name in words)]
        watch = [
            f"monitor {SERVICE} 127.0.0.1 {master} {_QUORUM}",
            f"down-after-milliseconds {SERVICE} 500",
            f"failover-timeout {SERVICE} 3000",
        ]
        if self._password:
            watch.append(f"auth-pass {SERVICE} {self._password}")
        lines = [*listen, "bind 127.0.0.1", f"dir {folder}", *(f"sentinel {line}" for line in watch)]
        (folder / "conf").write_text("\n".join([*lines, f"unixsocket {folder}/s", ""]))
        self._processes.append(spawn([self._program, str(folder / "conf"), "--sentinel"], log=folder / "log"))

    def ask(self, port: int, *words: Any) -> Any:
        client = redis.Redis(unix_socket_path=f"{self._folder}/sentinel-{port}/s", decode_responses=True)
        with client:
            return client.execute_command("SENTINEL", *words)

    def _knows_all(self, port: int) -> bool:
        try:
            state = self.ask(port, "MASTER", SERVICE)
        except redis.ConnectionError:
            return False
        return int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1

    @property
    def master(self) -> RedisServer:
        """The one that the Sentinels name now."""
        port = int(self.ask(self._sentinels[0], "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        (found,) = [server for server in self._servers if server.port == port]
        return found

    def replicated(self) -> bool:
        """Whether the replica has all that the master has."""
        state = self.master.client.info("replication")
        return bool(state["slave0"]["offset"] == state["master_repl_offset"])

    def fail_over(self) -> None:
        """As an administrator asks for it: the old master goes on as a replica."""
        self.ask(self._sentinels[0], "FAILOVER", SERVICE)

    def remove(self) -> None:
        for process in self._processes:
            end(process)
        for server in self._servers:
            server.remove()
