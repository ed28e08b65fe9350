"""Real worker processes and their supervisors, and what their handlers wrote down."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from support.handlers import RECORD
from support.processes import clean_environment, end, spawn


@dataclass(frozen=True)
class Line:
    """One line of the record: what a handler did."""

    word: str
    item_id: str
    pid: int
    more: str


class Record:
    """What the handlers wrote down, outside of Redis."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, word: str = "") -> list[Line]:
        if not self.path.exists():
            return []
        found = []
        for text in self.path.read_text().splitlines():
            name, item_id, pid, more = text.split(" ", 3)
            if not word or name == word:
                found.append(Line(name, item_id, int(pid), more))
        return found

    def ids(self, word: str) -> set[str]:
        return {line.item_id for line in self.lines(word)}

    def runs(self) -> Counter[str]:
        """How often each item's handler began."""
        return Counter(line.item_id for line in self.lines("begin"))


class Member:
    """One process of the crew: a worker, or a supervisor with its workers."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self.process = process
        self.name = name
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, action: str) -> list[dict[str, Any]]:
        """Its log lines of this action, its children's too."""
        rows = []
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                row = json.loads(line)
                if row.get("action") == action:
                    rows.append(row)
        return rows

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.running:
            self.process.send_signal(number)

    def kill(self) -> None:
        """As the kernel kills it: at once, and gone when this returns."""
        end(self.process)

    def pause(self) -> None:
        """Stopped when this returns."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def wait(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)

    def children(self) -> list[psutil.Process]:
        """The worker processes of a supervisor."""
        try:
            found = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in found if _is_a_worker(child)]


def _is_a_worker(process: psutil.Process) -> bool:
    try:
        return "memsched.process" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class Crew:
    """Starts workers on one server, and ends all of them."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        self.folder = folder
        self.url = url
        self.settings = settings
        self.record = Record(folder / "record")
        self.members: list[Member] = []

    def environment(self, **settings: Any) -> dict[str, str]:
        given = {
            "redis_url": self.url,
            "app": "support.handlers:app",
            "liveness_dir": self.folder / "live",
            "log_format": "json",
            "memory": False,
            **self.settings,
            **settings,
        }
        return clean_environment(
            **{f"MEMSCHED_{name.upper()}": str(value) for name, value in given.items()},
            **{RECORD: str(self.record.path)},
        )

    def start(self, **settings: Any) -> Member:
        """One worker without a supervisor."""
        name = f"worker-{len(self.members)}-{uuid4().hex[:6]}"
        command = [sys.executable, "-m", "memsched.process", "--worker-id", name]
        return self._add(command, name, settings)

    def supervise(self, processes: int, **settings: Any) -> Member:
        """A supervisor with so many workers, started as containers start it."""
        command = [sys.executable, "-m", "workers"]
        return self._add(command, f"supervisor-{len(self.members)}", {**settings, "processes": processes})

    def serve(self, port: int, *, name: str = "serve", **settings: Any) -> Member:
        """`memsched serve` without a worker of its own."""
        command = [sys.executable, "-m", "memsched", "serve", "--listen", f"127.0.0.1:{port}"]
        return self._add(command, name, settings)

    def _add(self, command: list[str], name: str, settings: dict[str, Any]) -> Member:
        log = self.folder / f"{name}.log"
        member = Member(spawn(command, log=log, env=self.environment(**settings)), name, log)
        self.members.append(member)
        return member

    def said(self, action: str) -> list[dict[str, Any]]:
        return [row for member in self.members for row in member.said(action)]

    def workers(self) -> list[int]:
        """The process ids of all workers that have started to read and are still there."""
        there = {child.pid for member in self.members for child in member.children()}
        there |= {member.pid for member in self.members if member.running}
        return sorted(there & {row["pid"] for row in self.said("worker.started")})

    def kill_one(self, chance: random.Random) -> int:
        """SIGKILL a worker; gives its process id, 0 if there is none."""
        there = self.workers()
        if not there:
            return 0
        pid = chance.choice(there)
        for member in self.members:
            if member.pid == pid:
                member.kill()
                return pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def end(self) -> None:
        """Kill all of them, the workers of supervisors first: they must not outlive the test."""
        for member in self.members:
            member.signal(signal.SIGSTOP)  # a supervisor must not start others meanwhile
            for child in member.children():
                child.kill()
        for member in self.members:
            member.kill()

    def print_logs(self) -> None:
        """For the report of a failed test."""
        for member in self.members:
            print(f"--- {member.name} (pid {member.pid}, exit {member.process.poll()})")
            print(member.log.read_text(errors="replace")[-6000:])
