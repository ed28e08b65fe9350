"""A script that leaves the interpreter without ``stop``: grace time, hand back, no retry used, its own exit code."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from support.processes import clean_environment
from support.servers import RedisServer

from memsched import MemScheduler

SCRIPT = """
import asyncio, os, sys, threading, time
from memsched import AsyncMemScheduler, Handler, MemScheduler, ScheduleMessageItem

def item(number, label="task"):
    return ScheduleMessageItem(user_id="u", mem_cube_id=f"c{number}", label=label, content=str(number))

def handle(messages):
    print(f"ran {messages[0].content}\\n", end="", flush=True)  # in one write: other threads print too
    time.sleep(0.3)

scheduler = MemScheduler()
scheduler.register_handlers({"task": Handler(handle, batch_size=1, concurrency=2)})
"""
STARTED = """
scheduler.start()
scheduler.submit_messages([item(number) for number in range(40)])
time.sleep(0.2)
"""
ENDS = {
    "end of main, with a pool": ("from concurrent.futures import *; p = ThreadPoolExecutor(); p.submit(print)", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception beside a thread": (
        "threading.Thread(target=time.sleep, args=(1,)).start(); raise ValueError('mine')",
        1,
    ),
    "in wait of a thread": ("threading.Thread(target=scheduler.wait).start(); time.sleep(0.1)", 0),
}


def run(script: str, server: RedisServer, **settings: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """What came of it, and how long it took."""
    environment = clean_environment(MEMSCHED_REDIS_URL=server.url, MEMSCHED_MEMORY="false", **settings)
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT + script], env=environment, capture_output=True, text=True, timeout=60
    )
    return ended, time.monotonic() - begun


def left(server: RedisServer) -> dict[str, Any]:
    scheduler = MemScheduler(redis_url=server.url, memory=False)
    try:
        return scheduler.get_tasks_status()
    finally:
        scheduler.stop()


@pytest.mark.parametrize("end", ENDS)
def test_leaving_without_stop_hands_back_what_did_not_run(real_redis: RedisServer, end: str) -> None:
    code, expected = ENDS[end]

    ended, seconds = run(STARTED + code, real_redis)

    assert ended.returncode == expected, ended.stderr
    ran = ended.stdout.count("ran")
    status = left(real_redis)
    assert ran >= 2
    assert status["labels"]["task"]["backlog"] == 40 - ran, "what had begun was ended and reported, the rest is there"
    assert (status["running"], status["orphaned"], status["delayed"], status["dead"]) == (0, 0, 0, 0)
    assert status["workers"] == []
    assert "message.retried" not in ended.stdout + ended.stderr
    assert seconds < 45


def test_a_handler_that_never_ends_does_not_keep_the_process(real_redis: RedisServer) -> None:
    script = """
def handle(messages):
    while True: time.sleep(1)
scheduler.register_handlers({"task": handle})
scheduler.start(); scheduler.submit_messages(item(0)); time.sleep(0.3); sys.exit(5)
"""
    ended, seconds = run(script, real_redis, MEMSCHED_GRACE_SECONDS="0.5")

    assert ended.returncode == 5, ended.stderr
    assert seconds < 45
    status = left(real_redis)
    assert (status["backlog"], status["running"], status["orphaned"], status["dead"]) == (1, 0, 0, 0)


def test_an_async_handler_that_blocks_its_loop_does_not_keep_the_process(real_redis: RedisServer) -> None:
    script = """
import memsched.sync_scheduler
memsched.sync_scheduler._STOP_MARGIN_SECONDS = 0.5
async def handle(messages):
    await asyncio.sleep(0.2)
    while True: time.sleep(1)
scheduler.register_handlers({"task": handle})
scheduler.start(); scheduler.submit_messages(item(0)); time.sleep(0.6)
"""
    ended, seconds = run(script, real_redis, MEMSCHED_GRACE_SECONDS="0.2")

    assert ended.returncode == 0, ended.stderr
    assert "stop.timed_out" in ended.stdout + ended.stderr
    assert seconds < 45


def test_threads_may_submit_and_wait_after_the_main_thread_has_ended(real_redis: RedisServer) -> None:
    script = """
def later():
    threading.main_thread().join()
    print(scheduler.submit_messages([item(number) for number in range(3)])[0].outcome, flush=True)
    try: scheduler.start()
    except Exception as error: print(type(error).__name__, flush=True)
scheduler.submit_messages(item(9))
threading.Thread(target=later).start()
"""
    ended, _ = run(script, real_redis)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["queued", "SchedulerNotStarted"]
    assert left(real_redis)["backlog"] == 4


def test_a_forked_child_that_ends_leaves_its_parents_scheduler_alone(real_redis: RedisServer) -> None:
    script = """
import multiprocessing
scheduler.start()
child = multiprocessing.get_context("fork").Process(target=lambda: scheduler.submit_messages(item(1)))
child.start(); child.join()
print(f"{child.exitcode} {scheduler.running}\\n", end="", flush=True)
scheduler.wait(timeout=10)
"""
    ended, _ = run(script, real_redis)

    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stdout.splitlines() if line.startswith(("0", "ran"))] in (
        ["0 True", "ran 1"],
        ["ran 1", "0 True"],
    )
    assert left(real_redis)["backlog"] == 0


def test_an_async_script_that_ends_without_stop_hands_back(real_redis: RedisServer) -> None:
    script = """
scheduler = AsyncMemScheduler()
scheduler.register_handlers({"task": Handler(handle, batch_size=1, concurrency=2)})
async def main():
    await scheduler.start()
    await scheduler.submit_messages([item(number) for number in range(10)])
    await asyncio.sleep(0.2)
    raise ValueError("mine")
asyncio.run(main())
"""
    ended, _ = run(script, real_redis)

    assert ended.returncode == 1
    status = left(real_redis)
    assert (status["backlog"], status["running"], status["orphaned"], status["dead"]) == (10, 0, 0, 0)
    assert status["workers"] == []
