"""`memsched serve` as a process: it says where it is, refuses what cannot be, and ends what it began."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import httpx
import pytest
from support.conditions import wait_until
from support.processes import ROOT, clean_environment, end, free_port, spawn
from support.servers import RedisServer

from memsched.errors import CannotStart
from memsched.service.process import listening

pytestmark = pytest.mark.timeout(60)
LATER = (
    '"project": "atlas"',
    '"label":"mem_feedback"',
    "ada/house",
    "The spare keys are with Mr Berg.",
    '{"deleted":3}',
)
"""What lines further down in the page print."""
Serve = Callable[..., tuple["Popen[bytes]", Path]]


@pytest.fixture
def serve(tmp_path: Path, real_redis: RedisServer) -> Iterator[Serve]:
    started: list[Popen[bytes]] = []

    def start(*options: str, **settings: str) -> tuple[Popen[bytes], Path]:
        log = tmp_path / f"serve-{len(started)}.log"
        environment = clean_environment(MEMSCHED_REDIS_URL=real_redis.url, MEMSCHED_MEMORY="false", **settings)
        started.append(spawn([sys.executable, "-m", "memsched", "serve", *options], log=log, env=environment))
        return started[-1], log

    yield start
    for process in started:
        end(process)


def address_in(log: Path) -> str:
    found = wait_until(lambda: re.search(r"serving at (http://\S+)", log.read_text()))
    return str(found.group(1))


def test_it_says_where_and_for_whom_and_ends_with_a_signal(serve: Serve) -> None:
    process, log = serve("--listen", "127.0.0.1:0")

    url = address_in(log)
    alive = httpx.get(f"{url}/healthz").status_code
    ready = httpx.get(f"{url}/readyz").json()
    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0
    assert alive == 200
    assert ready == {"ready": True, "queue": "ok", "memory": "off", "workers": 0}
    text = log.read_text()
    assert "this machine, without a key" in text
    assert "nothing is remembered until one runs" in text
    assert "action=http.stopped" in text
    assert "Traceback" not in text


def test_it_does_not_start_where_anybody_could_come_in(serve: Serve) -> None:
    process, log = serve("--listen", "0.0.0.0:0")

    assert process.wait(20) == 2
    assert "memsched keys create" in log.read_text()


def test_it_says_that_the_port_is_taken(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        process, log = serve("--listen", f"127.0.0.1:{other.getsockname()[1]}")
        assert process.wait(20) == 2

    assert "Address already in use" in log.read_text()
    assert "--listen HOST:PORT" in log.read_text()


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_a_host_that_is_not_this_machine_is_no_matter_of_ports(host: str) -> None:
    with pytest.raises(CannotStart, match="must be an address or a name of this machine"), listening(f"{host}:8765"):
        pass


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
def test_the_lines_of_the_documentation_do_what_it_says(
    tmp_path: Path, real_redis: RedisServer, vector_folder: str
) -> None:
    log, at = tmp_path / "serve.log", f"127.0.0.1:{free_port()}"
    place = {"MEMSCHED_REDIS_URL": real_redis.url, "MEMSCHED_QDRANT_URL": f"embedded://{vector_folder}"}
    name = f"h{uuid4().hex[:10]}"
    environment = clean_environment(**place, MEMSCHED_PREFIX=name, MEMSCHED_COLLECTION=name)
    command = [sys.executable, "-m", "memsched", "serve", "--worker", "--listen", at]
    process = spawn(command, log=log, env=environment)
    try:
        address_in(log)
        page = (ROOT / "docs/http.md").read_text(encoding="utf-8")
        blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
        script = "\n".join(["set -euo pipefail", *blocks]).replace("localhost:8765", at)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    finally:
        end(process)

    assert done.returncode == 0, done.stderr
    for said in (
        '"task_id"',
        '"added"',
        '"corrects"',
        "Flensburg",
        '"sufficient"',
        '"said"',
        '{"changed":true}',
        *LATER,
    ):
        assert said in done.stdout, f"{said}: {done.stdout}"
    assert "urn:memsched" not in done.stdout
    assert "about:blank" not in done.stdout
