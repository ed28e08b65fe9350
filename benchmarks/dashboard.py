"""What it takes to be looked at: ``memsched serve`` in a process of its own, and browsers on its live overview.

``one`` and ``many``: one who looks, and 200, at one frame a second, of 30 labels with messages: the share of a core
that the service takes, and how much more memory than before anybody looked. ``none``: the same after the last has left.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.service import service_process
from benchmarks.targets import Results, Target, at_most
from memsched import AsyncMemScheduler, ScheduleMessageItem, Settings
from memsched.embedded.teardown import end_servers
from memsched.logs import configure_logs

LABELS, MESSAGES = 30, 20
WATCHERS = 200
SECONDS = 20.0
TARGETS: dict[str, Target] = {
    "many_core_share": at_most("many_core_share", 0.10, "of a core"),
    "many_megabytes_more": at_most("many_megabytes_more", 20, "MB"),
    "none_core_share": at_most("none_core_share", 0.01, "of a core"),
}
_REQUEST = "GET /ui/frames/queue HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


class DashboardBenchmark:
    """A step for each number of those who look."""

    STEPS: tuple[str, ...] = ("one", "many", "none")

    def __init__(self, results: Results) -> None:
        self.results = results

    async def run(self, only: list[str]) -> None:
        """Run the steps; fills in the flat results."""
        folder = Path(tempfile.mkdtemp(prefix="memsched-bench-"))
        settings = Settings.load(redis_url=f"embedded://{folder}", memory=False, log_level="error")
        configure_logs(settings)
        async with AsyncMemScheduler(settings) as scheduler:
            await scheduler.submit_messages(
                ScheduleMessageItem(user_id=f"user{number}", mem_cube_id="home", label=f"label{label}", content="hello")
                for label in range(LABELS)
                for number in range(MESSAGES)
            )
            with service_process(folder, {"MEMSCHED_MEMORY": "false"}) as (url, process):
                await self._look(url, process, 1, 3.0)  # what is loaded at the first look is no part of it
                before = _megabytes(process)
                for step in only or self.STEPS:
                    print(f"{step} ...", file=sys.stderr, flush=True)
                    watchers = {"one": 1, "many": WATCHERS, "none": 0}[step]
                    cores, frames, megabytes = await self._look(url, process, watchers, SECONDS)
                    self.results[f"{step}_core_share"] = cores
                    self.results[f"{step}_frames_per_s"] = frames
                    self.results[f"{step}_megabytes_more"] = megabytes - before
        await asyncio.to_thread(end_servers, folder)
        shutil.rmtree(folder, ignore_errors=True)

    async def _look(self, url: str, process: int, watchers: int, seconds: float) -> tuple[float, float, float]:
        """The share of a core, the frames that came in a second, and the memory in MB in the end."""
        address, frames, size, connected = urlsplit(url), 0, 0, asyncio.Semaphore(0)

        async def watch() -> None:
            nonlocal frames, size
            reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)
            try:
                writer.write(_REQUEST.encode())
                await reader.readuntil(b"\r\n\r\n")
                connected.release()
                while True:
                    size = len(await reader.readuntil(b"\n\n"))  # the end of an event
                    frames += 1
            finally:
                writer.close()

        watching = [asyncio.create_task(watch()) for _ in range(watchers)]
        for _ in watching:
            await connected.acquire()
        await asyncio.sleep(1.0)
        began, frames = _cpu_seconds(process), 0
        await asyncio.sleep(seconds)
        cores, megabytes = (_cpu_seconds(process) - began) / seconds, _megabytes(process)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        self.results["frame_kilobytes"] = max(size / 1e3, self.results.get("frame_kilobytes", 0.0))
        return cores, frames / seconds, megabytes


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _megabytes(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
