"""Log lines tell what happened, and nothing of what was at hand when it did."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import memsched
from memsched import Settings
from memsched.logs import configure_logs, exception_field, get_logger

SECRET = "hunter2"
HUGE = "x" * 100_000


@pytest.fixture(autouse=True)
def _the_tests_own_configuration_again() -> Iterator[None]:
    before: dict[str, Any] = structlog.get_config()
    yield
    structlog.configure(**before)


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
