"""Every error says what happened and what to do."""

from __future__ import annotations

import inspect

import pytest

from memsched import SubmitResult, errors
from memsched.errors import MemschedError


def catalogue() -> list[type[MemschedError]]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MemschedError)]
    assert len(found) > 5
    return found


@pytest.mark.parametrize("kind", catalogue())
def test_every_error_explains_itself_in_a_sentence(kind: type[MemschedError]) -> None:
    sentence = " ".join((kind.__doc__ or "").split())

    assert sentence.endswith(".")
    assert len(sentence) > 15


def test_a_full_queue_says_how_much_was_accepted_and_when_to_come_back() -> None:
    results = [SubmitResult("a", "queued"), SubmitResult("b", "full"), SubmitResult("c", "full")]

    error = errors.QueueFull("query", 10, 1.5, results)

    assert "'query' is limited to 10 (MEMSCHED_MAX_BACKLOG)" in str(error)
    assert "1 of 3 were accepted" in str(error)
    assert "in 1.5 s" in str(error)
    assert (error.lane, error.limit, error.retry_after) == ("query", 10, 1.5)
    assert [result.accepted for result in error.results] == [True, False, False]


def test_a_full_queue_that_took_nothing_says_so() -> None:
    assert "Nothing was accepted" in str(errors.QueueFull("query", 10, 1, [SubmitResult("a", "full")]))


def test_an_unreachable_server_is_named_with_what_to_check() -> None:
    error = errors.ServerUnreachable("redis://:***@db:6379/0", "Connection refused")

    assert str(error) == (
        "The Redis server does not answer. redis://:***@db:6379/0: Connection refused. "
        "Check MEMSCHED_REDIS_URL, and that the server is running and reachable from here."
    )


def test_a_timeout_names_the_label_and_the_setting() -> None:
    told = str(errors.HandlerTimeout("query", 2.5))

    assert "label=query limit=2.5 s (its Handler's timeout_seconds, or MEMSCHED_HANDLER_TIMEOUT_SECONDS)" in told


def test_an_old_server_is_told_what_is_needed() -> None:
    assert "It says version 6.2.1; memsched needs Redis 7.0 or later, or Valkey." in str(errors.ServerTooOld("6.2.1"))


def test_all_problems_of_the_settings_are_told_at_once() -> None:
    error = errors.SettingsError(["MEMSCHED_A: one.", "MEMSCHED_B: two."])

    assert str(error) == "A setting cannot be used. MEMSCHED_A: one. MEMSCHED_B: two."
    assert error.problems == ["MEMSCHED_A: one.", "MEMSCHED_B: two."]
