"""What becomes of worker processes whose supervisor is killed, so that nobody looks after them any more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.conditions import wait_until
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

APP = """
import asyncio
from pathlib import Path

async def handle(messages):
    Path("started").touch()
    await asyncio.sleep(1)
    Path("ended").touch()

handlers = {"DEMO": handle}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
def test_a_worker_whose_supervisor_was_killed_lets_its_handlers_end_and_stops(
    any_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    log = tmp_path / "log"
    environment = clean_environment(
        MEMSCHED_REDIS_URL=any_server.url, MEMSCHED_APP="app:handlers", MEMSCHED_LIVENESS_DIR=str(tmp_path / "live")
    )
    supervisor = spawn([sys.executable, "-m", "workers"], log=log, env=environment)
    try:
        any_server.client.xadd("memsched:{DEMO}:stream", {"user_id": "u", "mem_cube_id": "c", "content": "x"})
        wait_until((tmp_path / "started").exists, "the handler to start")
    finally:
        end(supervisor)

    # The kernel says it once for each thread of the supervisor. That is no second, more urgent request.
    wait_until((tmp_path / "ended").exists, "the handler to end")
    wait_until(lambda: "worker.stopped" in log.read_text(encoding="utf-8"), "the worker to stop")
    assert any_server.client.xlen("memsched:{DEMO}:stream") == 0
