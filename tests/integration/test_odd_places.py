"""Where programs are started from: folders with files of any name, and with standard streams that are closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.conditions import wait_until
from support.messages import message
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

from memsched import MemScheduler
from memsched.cli import main

APP = """
import os
def handle(messages): open(os.environ["DONE"], "a").write("x")
handlers = {"task": handle}
"""


def environment(server: RedisServer, folder: Path, **more: str) -> dict[str, str]:
    return clean_environment(
        MEMSCHED_REDIS_URL=server.url,
        MEMSCHED_MEMORY="false",
        MEMSCHED_LIVENESS_DIR=str(folder / "live"),
        DONE=str(folder / "done"),
        **more,
    )


def test_files_named_like_modules_of_others_do_not_take_their_place(real_redis: RedisServer, tmp_path: Path) -> None:
    for name in ("queue", "redis", "types", "select", "logging", "openai", "asyncio", "structlog", "memsched"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "tools.py").write_text("from beside import handle\nhandlers = {'task': handle}")
    (tmp_path / "beside.py").write_text(APP)
    program = [str(Path(sys.executable).parent / "memsched"), "worker", "--app", "tools:handlers"]
    worker = spawn(program, log=tmp_path / "log", env=environment(real_redis, tmp_path, MEMSCHED_LOG_FORMAT="json"))
    try:
        with MemScheduler(redis_url=real_redis.url, memory=False) as scheduler:
            scheduler.submit_messages(message())
            scheduler.wait(timeout=20)
    finally:
        worker.terminate()
        worker.wait(20)
        end(worker)

    assert (tmp_path / "done").read_text() == "x"
    assert "worker.died" not in (tmp_path / "log").read_text()


def test_a_module_of_pythons_name_is_no_application_and_one_of_anothers_is(tmp_path: Path) -> None:
    (tmp_path / "select.py").write_text(APP)
    (tmp_path / "tests.py").write_text(APP)
    script = """
from memsched import Settings
from memsched.process import load_app
print(*load_app(Settings(app="tests:handlers", memory=False)).handlers)
try: load_app(Settings(app="select:handlers", memory=False))
except Exception as error: print(error)
"""
    told = subprocess.run(
        [sys.executable, "-P", "-c", script], env=clean_environment(), capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert told[0] == "task"
    assert "MEMSCHED_APP=select:handlers" in told[1]


CLOSED = "<&- >&- 2>&-"


def test_a_library_script_runs_with_its_standard_streams_closed(real_redis: RedisServer, tmp_path: Path) -> None:
    script = f"""
{APP}
from memsched import MemScheduler, ScheduleMessageItem, show_web_logs
scheduler = MemScheduler()
scheduler.register_handlers(handlers)
scheduler.start()
scheduler.submit_messages(ScheduleMessageItem(user_id="u", mem_cube_id="c", label="task", content="x"))
scheduler.wait(timeout=20)
scheduler.print_tasks_status(); show_web_logs(scheduler)
"""
    (tmp_path / "script.py").write_text(script)
    code = subprocess.run(
        ["bash", "-c", f"exec {sys.executable} script.py {CLOSED}"], env=environment(real_redis, tmp_path), timeout=60
    ).returncode

    assert code == 0
    assert (tmp_path / "done").read_text() == "x"


def test_the_commands_and_the_worker_run_with_their_standard_streams_closed(
    real_redis: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    variables = environment(real_redis, tmp_path)
    program = f"{Path(sys.executable).parent}/memsched"

    def code_of(command: str) -> int:
        return subprocess.run(["bash", "-c", f"exec {program} {command}"], env=variables, timeout=60).returncode

    worker = subprocess.Popen(["bash", "-c", f"exec {program} worker --app app:handlers {CLOSED}"], env=variables)
    try:
        assert code_of(f"submit hello -l task -u u -c c --wait 20 {CLOSED}") == 0
        assert code_of(f"status {CLOSED}") == 0
        assert code_of(f"submit - -l task -u u -c c {CLOSED}") == 2
        wait_until((tmp_path / "done").exists)
        worker.terminate()
        assert worker.wait(20) == 0
    finally:
        end(worker)


@pytest.mark.parametrize("option", ["--delay nan", "--delay inf", "--delay 1e15", "--wait nan"])
def test_an_odd_number_on_the_command_line_is_refused(
    real_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("MEMSCHED_REDIS_URL", real_redis.url)

    with pytest.raises(SystemExit) as ended:
        main(["submit", "x", "-l", "task", "-u", "u", "-c", "c", *option.split()])

    assert ended.value.code in (1, 2)
