"""An import whose process is killed again and again goes on each time, and ends as one that nobody killed."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import pytest
from support.processes import clean_environment, end, spawn

from benchmarks.chatgpt_export import write_export
from memsched import AsyncMemScheduler, Settings
from memsched.embedded.teardown import end_servers
from memsched.memory.access.permissions import CubeRef

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
CONVERSATIONS = 60


def import_into(folder: Path, file: Path, log: Path, kill_after: float | None = None) -> int:
    """The exit code of the command, with servers of its own in the folder."""
    words = [sys.executable, "-m", "memsched", "import", str(file), "--user", "alice", "--cube", "home"]
    process = spawn(words, log=log, env=clean_environment(MEMSCHED_REDIS_URL=f"embedded://{folder}"))
    if kill_after is not None:
        time.sleep(kill_after)  # wherever it is then
        end(process)
    return process.wait()


def memories(folder: Path) -> dict[str, tuple[object, ...]]:
    async def read() -> dict[str, tuple[object, ...]]:
        scheduler = AsyncMemScheduler(Settings(redis_url=f"embedded://{folder}"))
        try:
            store = (await scheduler.memory()).store
            there = [memory async for memory, _ in store.scan(CubeRef("alice", "home"))]
        finally:
            await scheduler.stop()
        return {each.memory_id: (each.text, each.at, each.session_id, each.turn, *each.sources) for each in there}

    return asyncio.run(read())


def test_an_import_that_is_killed_again_and_again_ends_as_one_that_nobody_killed(tmp_path: Path) -> None:
    file, log = tmp_path / "conversations.json", tmp_path / "log"
    kept = write_export(file, CONVERSATIONS)
    chance = random.Random(5)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    try:
        assert import_into(whole, file, log) == 0, log.read_text()
        for _ in range(4):
            import_into(killed, file, log, kill_after=chance.uniform(1.5, 6.0))
        assert import_into(killed, file, log) == 0, log.read_text()

        assert len(memories(whole)) == kept
        assert memories(killed) == memories(whole)
    finally:
        end_servers(whole)
        end_servers(killed)
