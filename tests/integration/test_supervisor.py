"""What a supervisor makes of the end of a worker process, and of one that cannot start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.conditions import wait_until
from support.crew import Crew, Member
from support.processes import clean_environment, spawn
from support.servers import RedisServer

HANDLERS = """
import os, subprocess, sys

def dies(messages):
    if not os.path.exists("died"):
        open("died", "w").close()
        os._exit(2)

def becomes_another_program(messages):
    if not os.path.exists("executed"):
        open("executed", "w").close()
        if not os.fork():  # a child of the worker lives on, and is none
            import time; time.sleep(600)
        os.execvp("sleep", ["sleep", "600"])

def closes_files(messages):
    if not os.path.exists("closed"):
        open("closed", "w").close()
        os.closerange(3, 200)

def runs_a_program(messages):
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)", messages[0].content])

def counts(messages):
    open("counted", "a").write("x" * len(messages))

handlers = {
    "DIES": dies, "EXEC": becomes_another_program, "CLOSE": closes_files, "PROGRAM": runs_a_program, "COUNT": counts
}
"""


@pytest.fixture
def supervise(real_redis: RedisServer, crews: Callable[..., Crew], tmp_path: Path) -> Callable[..., Member]:
    """Starts a supervisor whose handlers are in a module of this text, in the working directory."""

    def start(text: str = HANDLERS, processes: int = 1, **settings: str) -> Member:
        (tmp_path / "myapp.py").write_text(text, encoding="utf-8")
        crew = crews(real_redis.url, app="myapp:handlers", grace_seconds=1, **settings)
        return crew.supervise(processes)

    return start


def submit(server: RedisServer, label: str, count: int = 1) -> None:
    for number in range(count):
        fields = {"user_id": f"u{number}", "mem_cube_id": "c", "content": f"program-{os.getpid()}"}
        server.client.xadd(f"memsched:{{{label}}}:stream", fields)


def started(supervisor: Member, count: int) -> bool:
    return len(supervisor.said("worker.started")) == count


def test_a_handler_may_end_its_process_with_any_exit_code(
    supervise: Callable[..., Member], real_redis: RedisServer
) -> None:
    supervisor = supervise(processes=2)
    wait_until(lambda: started(supervisor, 2))

    submit(real_redis, "DIES")
    submit(real_redis, "COUNT", 20)

    wait_until(lambda: real_redis.client.xlen("memsched:{DIES}:stream") == 0)
    wait_until(lambda: real_redis.client.xlen("memsched:{COUNT}:stream") == 0)
    assert [row["exit"] for row in supervisor.said("worker.died")] == ["exit code 2"]
    assert [row["count"] for row in supervisor.said("worker.handover")] >= [1]
    supervisor.terminate()
    assert supervisor.wait() == 0


@pytest.mark.parametrize("label", ["EXEC", "CLOSE"])
def test_a_worker_that_is_none_any_more_is_replaced(
    label: str, supervise: Callable[..., Member], real_redis: RedisServer
) -> None:
    supervisor = supervise()
    wait_until(lambda: started(supervisor, 1))

    submit(real_redis, label)

    wait_until(lambda: started(supervisor, 2))
    wait_until(lambda: real_redis.client.xlen(f"memsched:{{{label}}}:stream") == 0)
    assert len(supervisor.said("worker.died")) == len(supervisor.said("worker.handover")) == 1
    supervisor.terminate()
    assert supervisor.wait() == 0


def test_an_application_that_cannot_be_loaded_ends_the_supervisor_with_one_sentence(
    supervise: Callable[..., Member],
) -> None:
    supervisor = supervise("import os\nKEY = os.environ['NO_SUCH_KEY']\n", processes=2)

    assert supervisor.wait(20) == 2
    (line,) = supervisor.log.read_text().splitlines()
    assert line.startswith("memsched: The handlers to run cannot be loaded. MEMSCHED_APP=myapp:handlers: ")
    assert line.endswith("myapp.py, line 2: KeyError: 'NO_SUCH_KEY'.")


def test_a_worker_that_cannot_start_does_not_stop_the_others(
    supervise: Callable[..., Member], real_redis: RedisServer, tmp_path: Path
) -> None:
    supervisor = supervise(processes=2)
    wait_until(lambda: started(supervisor, 2))
    whole = (tmp_path / "myapp.py").read_text()
    (tmp_path / "myapp.py").write_text("raise RuntimeError('half a deployment')")

    supervisor.children()[0].kill()

    wait_until(lambda: supervisor.said("worker.not_started"))
    submit(real_redis, "COUNT")
    wait_until(lambda: real_redis.client.xlen("memsched:{COUNT}:stream") == 0)
    (tmp_path / "myapp.py").write_text(whole)
    wait_until(lambda: started(supervisor, 3))


def test_an_import_that_hangs_can_be_stopped(supervise: Callable[..., Member]) -> None:
    supervisor = supervise("open('hangs', 'w')\nimport time\ntime.sleep(600)\n")
    wait_until(Path("hangs").exists)

    supervisor.terminate()

    assert supervisor.wait(10) == 0
    assert not supervisor.said("worker.died")


def test_a_supervisor_that_waits_for_the_server_can_be_stopped(crews: Callable[..., Crew], tmp_path: Path) -> None:
    supervisor = crews(f"unix://{tmp_path}/nobody", connect_timeout_seconds=600).supervise(1)
    wait_until(lambda: _catches_sigterm(supervisor.pid))

    supervisor.terminate()

    assert supervisor.wait(5) == 0


def _catches_sigterm(pid: int) -> bool:
    (line,) = [row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def programs() -> list[psutil.Process]:
    """What the handler has started for a message of these tests."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-1:] == [f"program-{os.getpid()}"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def no_program_is_left() -> Iterator[None]:
    yield
    for process in programs():
        process.kill()


@pytest.mark.usefixtures("no_program_is_left")
@pytest.mark.long
def test_programs_of_a_handler_end_with_its_worker(supervise: Callable[..., Member], real_redis: RedisServer) -> None:
    supervisor = supervise()
    submit(real_redis, "PROGRAM")
    wait_until(programs)
    (first,) = programs()

    supervisor.children()[0].kill()

    wait_until(lambda: programs() not in ([], [first]))
    assert first not in programs()
    supervisor.terminate()
    assert supervisor.wait() == 0
    assert programs() == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
def test_a_worker_whose_supervisor_died_before_it_could_ask_for_it_does_not_start(tmp_path: Path) -> None:
    environment = clean_environment(MEMSCHED_CONNECT_TIMEOUT_SECONDS="600", MEMSCHED_REDIS_URL="redis://127.0.0.1:1")

    worker = spawn(
        [sys.executable, "-m", "memsched.process", "--supervisor", "1"], log=tmp_path / "log", env=environment
    )

    assert worker.wait(60) == 1
    assert "process 1, which started this one, is gone" in (tmp_path / "log").read_text()
