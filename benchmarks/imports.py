"""`memsched import` of an export of 2,000 conversations: time and memory, a second time, and killed in the middle.

Each on embedded servers of its own, without workers: the command remembers what it reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.chatgpt_export import write_export
from benchmarks.targets import Results, Target
from memsched import AsyncMemScheduler, Settings
from memsched.embedded.teardown import end_servers
from memsched.memory.access.permissions import CubeRef

CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "2000"))
USER, CUBE = "reader", "past"
TARGETS: dict[str, Target] = {
    "second_run_kept": lambda results: ("= 0", not results["second_run_kept"]),
    "killed_differs": lambda results: ("= 0", not results["killed_differs"]),
    "turns_missing": lambda results: ("= 0", not results["turns_missing"]),
}


@dataclass
class Ran:
    """What a command said, and what it took."""

    code: int
    said: dict[str, int]
    seconds: float
    peak_mb: float


class ImportsBenchmark:
    STEPS = ("import",)

    def __init__(self, results: Results) -> None:
        self._results = results

    async def run(self, only: list[str]) -> None:
        del only  # there is one step
        await asyncio.to_thread(self._run)

    def _run(self) -> None:
        results = self._results
        with tempfile.TemporaryDirectory(prefix="memsched-imports-") as name:
            folder = Path(name)
            file = folder / "conversations.json"
            kept = write_export(file, CONVERSATIONS)
            results |= {"conversations": CONVERSATIONS, "file_mb": file.stat().st_size / 1e6, "turns": kept}
            dry = _command(file, folder / "none", "--dry-run")
            results |= {"dry_run_seconds": dry.seconds, "dry_run_peak_mb": dry.peak_mb}
            with _servers(folder / "whole") as data:
                first = _command(file, data)
                results |= {"first_seconds": first.seconds, "first_turns_per_s": kept / first.seconds}
                results |= {"first_peak_mb": first.peak_mb, "turns_missing": kept - first.said["kept"]}
                before = _memories(data)
                again = _command(file, data)
                results |= {"second_run_seconds": again.seconds, "second_run_kept": again.said["kept"]}
                results["second_run_differs"] = len(before.items() ^ _memories(data).items())
            with _servers(folder / "killed") as data:
                results["killed_after_seconds"] = killed_after = first.seconds / 2
                _command(file, data, kill_after=killed_after)
                rest = _command(file, data)
                results |= {"rest_seconds": rest.seconds, "rest_kept": rest.said["kept"]}
                results["killed_differs"] = len(before.items() ^ _memories(data).items())
            results["memories"] = len(before)


@contextmanager
def _servers(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    try:
        yield folder
    finally:
        end_servers(folder)


def _command(file: Path, data: Path, *more: str, kill_after: float = 0.0) -> Ran:
    environment = {**os.environ, "MEMSCHED_REDIS_URL": f"embedded://{data}"}
    words = ["import", str(file), "--user", USER, "--cube", CUBE, "--json", *more]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "memsched", *words], stdout=subprocess.PIPE, env=environment)
    peak = 0
    lines: list[bytes] = []
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    while process.poll() is None:
        time.sleep(0.05)
        lines.append(process.stdout.read() or b"")
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.Error:
            break
        if kill_after and time.perf_counter() - began > kill_after:
            process.send_signal(signal.SIGKILL)
            break
    code = process.wait()
    took = time.perf_counter() - began
    lines.append(process.stdout.read() or b"")
    said = b"".join(lines).decode().splitlines()
    return Ran(code, json.loads(said[-1]) if said and not kill_after else {}, took, peak / 1e6)


def _memories(data: Path) -> dict[str, tuple[object, ...]]:
    """What the cube holds, without when it was written."""

    async def read() -> dict[str, tuple[object, ...]]:
        scheduler = AsyncMemScheduler(Settings.load(redis_url=f"embedded://{data}", log_level="error"))
        try:
            store = (await scheduler.memory()).store
            there = [memory async for memory, _ in store.scan(CubeRef(USER, CUBE))]
        finally:
            await scheduler.stop()
        return {
            each.memory_id: (
                each.text,
                each.speaker,
                each.at,
                each.session_id,
                each.turn,
                each.part,
                *sorted(each.sources),
            )
            for each in there
        }

    return asyncio.run(read())
