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


FORKS = """
import asyncio, os, sys
from memsched import AsyncMemScheduler, ScheduleMessageItem

codes, runs = {}, []

def leave(messages):
    way = messages[0].content
    runs.append(way)
    child = os.fork()
    if child == 0:
        if way == "raise":
            raise ValueError(way)
        if way == "exit":
            sys.exit(3)
        return True
    codes[messages[0].label + way] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return False

async def leave_on_loop(messages):
    if leave(messages) and messages[0].content == "wait":
        await asyncio.tasks.__sleep0()

async def main():
    scheduler = AsyncMemScheduler(redis_url="memory://here", memory=False, max_errors=0)
    scheduler.register_handlers({"sync ": lambda messages: leave(messages) and None, "async ": leave_on_loop})
    await scheduler.start()
    messages = [
        ScheduleMessageItem(user_id="u", mem_cube_id="c", label=label, content=way)
        for label in ("sync ", "async ") for way in ("return", "raise", "exit", "wait")
    ]
    await scheduler.submit_messages(messages)
    await scheduler.wait(timeout=30)
    print(len(runs), sorted(codes.items()), flush=True)
    await scheduler.stop()

asyncio.run(main())
"""


def test_a_child_that_comes_back_out_of_a_handler_ends_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        cwd=tmp_path,
        env=clean_environment(MEMSCHED_LOG_LEVEL="error"),
        capture_output=True,
        text=True,
        timeout=60,
    )

    ended = [("exit", 3), ("raise", 1), ("return", 0), ("wait", 0)]
    codes = [(f"{kind} {way}", code) for kind in ("async", "sync") for way, code in ended]
    assert f"8 {codes}" in done.stdout.splitlines(), done.stdout + done.stderr
