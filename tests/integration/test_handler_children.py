"""What handlers start: processes of multiprocessing, which inherit more of a worker than they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import clean_environment

APP = """
import asyncio, multiprocessing, os, threading, time
from uuid import uuid4
from memsched import Settings
from memsched.process import run_loop, run_worker
from memsched.worker.handlers import Orchestrator
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.messages import ScheduleMessageItem
from memsched.queue.submit import Producer

fork = multiprocessing.get_context("fork")
ended = []

def handle(messages):
    with fork.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    child = fork.Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join(5)
    ended.append(child.exitcode)
    child.kill()

def look():
    for _ in range(1000):
        time.sleep(0.01)
        if len(ended) == 2:
            break
    time.sleep(0.2)
    print(ended, "still runs", flush=True)
    os._exit(0)

settings = Settings(redis_url="memory://here", memory=False)
rules = Orchestrator(settings)
rules.register({"task": handle})

async def main():
    server = await Server.connect(settings)
    messages = [ScheduleMessageItem(user_id=user, mem_cube_id="c", label="task", content="x") for user in ("a", "b")]
    await Producer(server, Keys(settings.prefix, 1), settings).submit_or_raise(messages)
    threading.Thread(target=look).start()
    await run_worker(settings, rules, "worker")
    print("stopped", flush=True)
    os._exit(1)

LOOP
"""


@pytest.mark.parametrize("loop", ["run_loop(main)", "asyncio.run(main())"])
def test_sigterm_ends_a_forked_process_and_not_its_worker(loop: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", APP.replace("LOOP", loop)],
        cwd=tmp_path,
        env=clean_environment(MEMSCHED_LOG_LEVEL="error"),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.splitlines()[-1:] == ["[-15, -15] still runs"], done.stdout + done.stderr
