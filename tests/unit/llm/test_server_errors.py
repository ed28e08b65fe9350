"""What a status means, for chat and embeddings alike, and when a server wants to be asked again."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from memsched.llm.endpoint import Endpoint
from memsched.llm.server_errors import ServerError, parse_retry_after, status_error

ENDPOINT = Endpoint.checked("embedding", "http://user:pass@host/v1", SecretStr("sk-secret"), "small")


def error_of(status: int, code: object = None, **headers: str) -> ServerError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status_error(ENDPOINT, status, headers=named, code=code, complaint="")


@pytest.mark.parametrize(
    ("status", "kind", "retriable"),
    [
        (400, "refused", False),
        (401, "misconfigured", False),
        (402, "refused", False),
        (403, "misconfigured", False),
        (404, "misconfigured", False),
        (408, "server_error", True),
        (409, "server_error", True),
        (413, "refused", False),
        (422, "refused", False),
        (425, "server_error", True),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (503, "server_error", True),
    ],
)
def test_a_status_is_one_kind_of_failure(status: int, kind: str, retriable: bool) -> None:
    error = error_of(status)

    assert (error.kind, error.retriable, error.status) == (kind, retriable, status)


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (400, []),
        (401, ["MEMSCHED_EMBEDDING_API_KEY", "MEMSCHED_EMBEDDING_MODEL (small)"]),
        (404, ["MEMSCHED_EMBEDDING_MODEL (small)", "MEMSCHED_EMBEDDING_BASE_URL"]),
        (405, ["MEMSCHED_EMBEDDING_MODEL (small)", "MEMSCHED_EMBEDDING_BASE_URL"]),
        (500, []),
    ],
)
def test_the_settings_to_check_are_named(status: int, names: list[str]) -> None:
    reason = error_of(status).reason

    assert all(name in reason for name in names)
    assert ("Check" in reason) == bool(names)


def test_a_code_is_told_unless_it_may_be_a_secret() -> None:
    assert "500 (overloaded)" in error_of(500, "overloaded").reason
    for code in ("sk-secret", "a whole sentence", 5, None):
        assert error_of(500, code).reason == "http://user:***@host/v1 says 500."


def test_the_delay_grows_unless_the_server_asks_for_one() -> None:
    delays = [error_of(500).delay(tries) for tries in (0, 1, 50)]

    for delay, bound in zip(delays, (0.25, 0.5, 8.0), strict=True):
        assert bound / 2 <= delay <= bound
    assert error_of(429, retry_after="3").delay(7) == 3


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Sun, 07 May 2023 10:00:30 GMT", 30.0),
        ("Sun, 07 May 2023 09:00:00 GMT", 0.0),
        ("99 Foo 99999999", None),
    ],
)
def test_retry_after_is_in_seconds_or_a_date(value: str, seconds: float | None) -> None:
    ten_o_clock = 1_683_453_600.0

    assert parse_retry_after({"retry-after": value}, ten_o_clock) == seconds
