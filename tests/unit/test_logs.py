"""Log lines tell what happened, and nothing of what was at hand when it did."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

import memsched
from memsched import AsyncMemScheduler, Settings
from memsched.logs import configure_logs, exception_field, get_logger

SECRET = "hunter2"
HUGE = "x" * 100_000


def fail() -> None:
    key, text = SECRET, HUGE
    raise ValueError(f"{len(key + text)} characters")


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("how", ["exc_info", "exception", "field"])
def test_a_traceback_shows_no_local_variables(log_format: str, how: str) -> None:
    out = io.StringIO()
    configure_logs(Settings(log_format=log_format), out)  # type: ignore[arg-type]
    log = structlog.get_logger("test")

    try:
        fail()
    except ValueError as error:
        if how == "exc_info":
            log.warning("failed", exc_info=error)
        elif how == "exception":
            log.exception("failed")
        else:
            log.error("failed", **exception_field(error))

    told = out.getvalue()
    assert "ValueError: 100007 characters" in told
    assert "in fail" in told
    assert SECRET not in told
    assert len(told) < 2000
    if log_format == "json":
        assert json.loads(told)["exception"].startswith("Traceback (most recent call last):\n")


def test_no_line_of_memsched_leaves_its_traceback_to_others() -> None:
    sources = Path(memsched.__file__).parent.rglob("*.py")

    assert not [str(file) for file in sources if "exc_info=" in (text := file.read_text()) or "log.exception(" in text]


@pytest.mark.parametrize(("level", "written"), [("error", ["e"]), ("info", ["i", "e"]), ("debug", ["d", "i", "e"])])
def test_a_program_without_a_setup_of_its_own_sees_lines_from_the_level_on(
    level: str, written: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("memsched.logs._least", logging.NOTSET)
    structlog.reset_defaults()
    AsyncMemScheduler(redis_url="memory://", log_level=level)
    log = get_logger("test")

    log.debug("d")
    log.info("i")
    log.error("e")

    assert [line.split("] ")[1].strip() for line in capsys.readouterr().out.splitlines()] == written


def test_a_line_without_an_error_has_no_traceback() -> None:
    assert exception_field(None) == {}


class Unwritable(io.StringIO):
    """A disk that is full, or a pipe whose reader is gone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        raise self.error

    flush = close = write  # type: ignore[assignment]


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space"), ValueError("closed")])
def test_a_sink_that_fails_fails_nobody(log_format: str, error: Exception) -> None:
    configure_logs(Settings(log_format=log_format), Unwritable(error))  # type: ignore[arg-type]

    get_logger("test").error("a line of memsched")
    structlog.get_logger("test").error("a line of a handler")
    logging.getLogger("test").error("a line of a library")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_value_that_cannot_be_shown_takes_nothing_else_with_it(log_format: str) -> None:
    out = io.StringIO()
    configure_logs(Settings(log_format=log_format), out)  # type: ignore[arg-type]

    structlog.get_logger("test").warning("odd", what=Unshowable(), item_id="i1", half="\ud800")

    assert "Unshowable" in out.getvalue()
    assert "i1" in out.getvalue()


def test_a_program_whose_own_logs_fail_does_not_fail_memsched() -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the application's processor")

    structlog.configure(processors=[broken])

    get_logger("test").error("a line")


def test_without_a_stderr_there_are_no_lines_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    configure_logs(Settings())

    get_logger("test").error("a line")


def test_no_stranger_paints_the_console_or_writes_a_line_of_their_own() -> None:
    out = io.StringIO()
    configure_logs(Settings(log_format="console"), out)

    structlog.get_logger("test").warning(
        "failed", user_id="bob\n2026-11-21 [error] deleted", cube="\x1b[2J\x9b31m", error="\x1b]0;x\x07", more=["\x1b["]
    )

    assert out.getvalue().count("\n") == 1
    assert out.getvalue().strip().isprintable()


def test_a_huge_error_makes_no_huge_line() -> None:
    assert len(exception_field(ValueError("x" * 10_000_000))["exception"]) < 40_000


PIPED = """
import os, sys, time
import memsched.logs
from memsched import Settings
memsched.logs._MOST_BYTES = 200_000
memsched.logs.configure_logs(Settings(log_format="json"))
log = memsched.logs.get_logger("test")
def log_much():
    for number in range(2000): log.error("x" * 500, number=number)
"""


def _run_into_a_pipe(script: str, *, read: bool = True) -> tuple[int, list[dict[str, Any]]]:
    """A script whose stderr is a pipe, read after the script's first line on stdout, or not at all: code and lines."""
    out, into = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", PIPED + script], stdout=subprocess.PIPE, stderr=into)
    os.close(into)
    try:
        with process, open(out) as pipe:
            assert process.stdout is not None
            process.stdout.readline()
            lines = [json.loads(line) for line in pipe] if read else []
            return process.wait(10), lines
    finally:
        process.kill()


def test_a_pipe_that_nobody_reads_holds_up_neither_the_program_nor_its_end() -> None:
    code, _ = _run_into_a_pipe("log_much()", read=False)

    assert code == 0


def test_lines_that_nobody_took_are_counted_and_the_others_keep_their_order() -> None:
    code, lines = _run_into_a_pipe("log_much(); print(flush=True); time.sleep(0.5); log.error('end')")

    assert code == 0
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == sorted(numbers)
    (told,) = (line for line in lines if line.get("action") == "log.dropped")
    assert len(numbers) + told["count"] == 2000
    assert told["count"] > 0
    assert lines[-1]["event"] == "end"


def test_a_forked_child_writes_its_own_lines_and_none_of_its_parents() -> None:
    forks = "log.error('before')\nif not (child := os.fork()): log.error('child'); os._exit(0)\n"
    code, lines = _run_into_a_pipe(forks + "os.waitpid(child, 0); log.error('parent')")

    assert code == 0
    assert [line["event"] for line in lines] == ["before", "child", "parent"]
