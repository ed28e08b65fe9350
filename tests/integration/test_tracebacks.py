"""Tracebacks that memsched logs show no local variables, in whatever program it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import memsched

SECRET = "hunter2"

FAILING = """
import sys
from memsched import MemScheduler, ScheduleMessageItem

if sys.argv[1:]:
    import structlog
    structlog.configure(processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()])

def handle(messages):
    key, text = "hunter" + "2", "x" * 100_000
    raise ValueError("it does not work")

scheduler = MemScheduler(redis_url="memory://", memory=False, max_errors=1, retry_base_ms=1)
scheduler.register_handlers({"fails": handle})
scheduler.start()
scheduler.submit_messages([ScheduleMessageItem(user_id="u", mem_cube_id="c", label="fails", content="hello")])
scheduler.wait(timeout=30)
scheduler.stop()
"""


@pytest.mark.parametrize("setup", ["", "dict_tracebacks"], ids=["structlog's defaults", "a setup of the user's own"])
def test_a_failed_handler_shows_none_in_a_program_that_never_called_us(setup: str, tmp_path: Path) -> None:
    pytest.importorskip("fakeredis", reason="fakeredis is not installed (pip install 'memsched[memory]')")
    (tmp_path / "program.py").write_text(FAILING)

    done = subprocess.run(
        [sys.executable, "program.py", *setup.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(memsched.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )

    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert told.count("ValueError: it does not work") >= 2, "it was retried once, and then a dead letter"
    assert "in handle" in told
    assert SECRET not in told
    assert "xxxx" not in told
