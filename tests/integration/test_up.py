"""`memsched up`: all of it as one process tree that loses nothing, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
from support.conditions import until, wait_until
from support.processes import clean_environment, end, processes_in, spawn
from support.servers import server_programs
from typer.testing import CliRunner

from memsched import AsyncMemScheduler
from memsched.cli.app import app
from memsched.demo.sample import play_sample, sample_item_id
from memsched.memory.access.permissions import CubeRef

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not server_programs(), reason="no Redis or Valkey server on this machine"),
]
Up = Callable[..., tuple["Popen[bytes]", Path]]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Starts it in the test's folder, which is the working directory. Nothing of it may be left running."""
    started: list[Popen[bytes]] = []

    def start(*options: str, **settings: str) -> tuple[Popen[bytes], Path]:
        log = tmp_path / f"up-{len(started)}.log"
        own = {"MEMSCHED_MEMORY": "false", "MEMSCHED_APP": "support.handlers:app", "MEMSCHED_LISTEN": "127.0.0.1:0"}
        environment = clean_environment(TEST_RECORD=str(tmp_path / "record"), **{**own, **settings})
        started.append(spawn([sys.executable, "-m", "memsched", "up", *options], log=log, env=environment))
        return started[-1], log

    yield start
    for process in started:
        end(process)
    for left in processes_in(tmp_path):
        left.kill()


def address_in(log: Path) -> str:
    found = wait_until(
        lambda: re.search(r"^api +ready +(http://[^/]+)/v1", log.read_text(), re.MULTILINE), log.read_text()
    )
    return str(found.group(1))


def submit(url: str, numbers: range, **info: object) -> None:
    messages = [
        {"label": "task", "content": "do it", "mem_cube_id": "home", "item_id": f"m{number}", "info": info}
        for number in numbers
    ]
    httpx.post(f"{url}/v1/scheduler/messages", json={"user_id": "ada", "messages": messages}).raise_for_status()


def ended(record: Path) -> set[str]:
    lines = record.read_text().splitlines() if record.exists() else []
    return {line.split()[1] for line in lines if line.startswith("end ")}


def test_ctrl_c_ends_all_of_it_and_loses_nothing(up: Up, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process, log = up(MEMSCHED_GRACE_SECONDS="0.2")
    url = address_in(log)
    submit(url, range(3), gate=str(gate))
    second, said = up()
    assert second.wait(30) == 2

    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 0, log.read_text()
    assert processes_in(tmp_path) == []
    text = log.read_text()
    assert [line.split()[0] for line in text.splitlines()] == [
        *("queue", "workers", "api", "dashboard"),
        *("Ctrl-C", "stopping", "stopped;"),
    ]
    assert "messages unfinished: 3, they go on at the next `memsched up` here" in text
    assert f"runs with {tmp_path}/memsched-data already, at {url} (process {process.pid})" in said.read_text()
    assert ended(tmp_path / "record") == set()

    gate.touch()
    assert CliRunner().invoke(app, ["keys", "create", "--role", "admin"]).exit_code == 0
    process, log = up()

    link = wait_until(lambda: re.search(r"http://\S+/login\?once=\S+", log.read_text()), "a link to log in")[0]
    assert "memsched_session=" in httpx.get(link).headers["set-cookie"]
    assert httpx.get(link).status_code == 401
    wait_until(lambda: ended(tmp_path / "record") == {"m0", "m1", "m2"}, "all of it handled")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert processes_in(tmp_path) == []


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = CliRunner().invoke(app, ["up", "--listen", f"127.0.0.1:{other.getsockname()[1]}"])

    assert re.fullmatch(r"MEMSCHED_LISTEN=\S+: Address already in use .*--listen HOST:PORT\.", str(done.exception))
    assert done.output == ""


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("memsched.service", "memsched.all_in_one"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    done = CliRunner().invoke(app, ["up"])

    assert str(done.exception) == "memsched up needs uvicorn: pip install 'memsched[service]'."


@pytest.mark.long
def test_handlers_that_cannot_be_loaded_end_it(up: Up, tmp_path: Path) -> None:
    process, log = up(MEMSCHED_APP="nowhere:handlers")

    assert process.wait(60) == 2
    assert "memsched: The handlers to run cannot be loaded. MEMSCHED_APP=nowhere:handlers" in log.read_text()
    assert processes_in(tmp_path) == []


@pytest.mark.long
@pytest.mark.skipif(find_spec("qdrant_edge") is None, reason="qdrant-edge-py is not installed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_however_it_ends_no_process_is_left(up: Up, tmp_path: Path, number: int) -> None:
    process, log = up("--processes", "2", "--sample", MEMSCHED_MEMORY="true")
    wait_until(lambda: "sample     begins" in log.read_text(), "all of it to run", seconds=60)
    assert len(processes_in(tmp_path)) >= 7  # it, two workers, two watchdogs and their servers

    process.send_signal(number)
    process.wait(60)

    wait_until(lambda: not processes_in(tmp_path), "workers and servers to be gone", seconds=60)


def test_what_no_memory_can_hold_is_not_played() -> None:
    done = CliRunner(env={"MEMSCHED_MEMORY": "false", "MEMSCHED_APP": "a:b"}).invoke(app, ["up", "--sample"])

    assert "--sample needs memory" in str(done.exception)


@pytest.mark.long
async def test_the_sample_is_remembered_once_however_often_it_is_played(
    memory_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    scheduler = memory_schedulers(task_ttl_seconds=1)
    await scheduler.start()
    services = await scheduler.memory()
    found = []
    for _ in range(2):
        await play_sample(scheduler, pace=0)
        await scheduler.wait(timeout=60)
        found.append({memory.memory_id: memory async for memory, _ in services.store.scan(CubeRef("alice", "home"))})
        await until(lambda: _is_forgotten(scheduler), "the queue to know nothing of it any more")

    assert len(found[0]) > 15
    assert {key: each.text for key, each in found[1].items()} == {key: each.text for key, each in found[0].items()}
    assert len([each for each in found[1].values() if each.superseded_by]) == 1


async def _is_forgotten(scheduler: AsyncMemScheduler) -> bool:
    return not any(counts.backlog for counts in (await scheduler.read_status()).labels.values()) and not (
        await scheduler.find_tasks("alice", sample_item_id("alice-1"))
    )
