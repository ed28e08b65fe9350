"""Real worker processes for a test: with or without a supervisor, to be killed, stopped and continued."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.conditions import until
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer


class Crew:
    """The workers of one test, and what they left behind in ``folder``."""

    def __init__(self, server: RedisServer, folder: Path, **environment: str) -> None:
        self.server = server
        self.folder = folder
        self.log = folder / "workers.log"
        short = {
            "MEMSCHED_REDIS_URL": server.url,
            "MEMSCHED_APP": "support.chaos_handlers:handlers",
            "MEMSCHED_MIN_IDLE_MS": "1000",
            "MEMSCHED_BEAT_SECONDS": "0.3",
            "MEMSCHED_WORKER_TTL_SECONDS": "1.5",
            "MEMSCHED_RETRY_BASE_MS": "10",
            "MEMSCHED_CONCURRENCY": "8",
            "MEMSCHED_BATCH_SIZE": "4",
            "MEMSCHED_MAX_CRASHES": "40",
            "MEMSCHED_GRACE_SECONDS": "5",
            "MEMSCHED_LOG_FORMAT": "json",
            "MEMSCHED_LIVENESS_DIR": str(folder / "live"),
            "CHAOS_FOLDER": str(folder),
        }
        self.environment = clean_environment(**{**short, **environment})
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int = 1) -> list[subprocess.Popen[bytes]]:
        """Workers without a supervisor."""
        command = [sys.executable, "-m", "memsched.worker.process"]
        started = [spawn(command, log=self.log, env=self.environment) for _ in range(count)]
        self.processes += started
        return started

    def supervise(self, count: int) -> subprocess.Popen[bytes]:
        """Workers under a supervisor."""
        environment = {**self.environment, "MEMSCHED_PROCESSES": str(count)}
        process = spawn([sys.executable, "-m", "workers"], log=self.log, env=environment)
        self.processes.append(process)
        return process

    def pids(self) -> list[int]:
        """The worker processes that are registered and there."""
        client = self.server.client
        found = [client.hget(f"memsched:worker:{name}", "pid") for name in client.zrange("memsched:workers", 0, -1)]
        return [int(pid) for pid in found if pid and _is_there(int(pid))]

    def kill_one(self, chance: random.Random) -> int:
        """SIGKILL one of the workers; gives its process id, 0 if there is none."""
        pids = self.pids()
        if not pids:
            return 0
        pid = chance.choice(sorted(pids))
        os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            if process.pid == pid:
                process.wait()
        return pid

    async def ready(self, count: int) -> None:
        def all_there() -> bool:
            if all(process.poll() is not None for process in self.processes):
                raise AssertionError("the workers ended: " + "\n".join(self.lines("workers.log")[-5:]))
            return len(self.pids()) >= count

        await until(all_there, f"{count} workers to be ready")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def actions(self, action: str) -> list[dict[str, Any]]:
        """What the workers logged under this name."""
        rows = (json.loads(line) for line in self.lines("workers.log") if line.startswith("{"))
        return [row for row in rows if row.get("action") == action]

    def remove(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                end(process)


def _is_there(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
