"""Log lines tell what happened, and nothing of what was at hand when it did."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import memsched
from memsched import Settings
from memsched.logs import configure_logs, exception_field

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
