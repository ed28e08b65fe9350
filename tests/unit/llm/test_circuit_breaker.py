"""When a server is left alone, and when it is tried again."""

from __future__ import annotations

import pytest
import structlog

from memsched.llm.circuit_breaker import CircuitBreaker, CircuitState
from memsched.llm.errors import LLMUnavailable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failures=3, seconds=10, clock=clock)


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with breaker.call() as call:
            call.failed("why")


def succeed(breaker: CircuitBreaker) -> None:
    with breaker.call() as call:
        call.succeeded()


def test_it_opens_after_failures_in_a_row_only(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    succeed(breaker)
    fail(breaker, 2)
    before = breaker.state
    fail(breaker)

    assert (before, breaker.state) == (CircuitState.CLOSED, CircuitState.OPEN)


def test_while_open_calls_are_refused_with_the_time_left_and_the_last_reason(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now += 4

    with pytest.raises(LLMUnavailable, match=r"failed 3 times .* another 6\.0 s\. Last: why") as error, breaker.call():
        pass

    assert (error.value.kind, error.value.retry_after) == ("circuit_open", 6.0)


def test_after_its_time_one_call_is_let_through(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10

    with breaker.call() as call:
        with pytest.raises(LLMUnavailable), breaker.call():
            pass
        call.succeeded()

    assert breaker.state is CircuitState.CLOSED
    fail(breaker, 2)
    assert breaker.state is CircuitState.CLOSED, "counting began anew"


def test_a_failed_probe_opens_it_for_the_whole_time_again(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    fail(breaker)

    assert (breaker.state, breaker.seconds_left) == (CircuitState.OPEN, 10)


def test_a_probe_that_ends_without_a_word_lets_the_next_one_try(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    with pytest.raises(KeyError), breaker.call():
        raise KeyError

    succeed(breaker)

    assert breaker.state is CircuitState.CLOSED


def test_calls_from_before_it_opened_say_nothing_about_now(breaker: CircuitBreaker, clock: Clock) -> None:
    with breaker.call() as early, breaker.call() as late:
        fail(breaker, 3)
        clock.now += 5
        early.succeeded()
        late.failed("old")

    assert (breaker.state, breaker.seconds_left) == (CircuitState.OPEN, 5)


def test_opening_and_closing_are_logged_once(breaker: CircuitBreaker, clock: Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        fail(breaker, 3)
        clock.now += 10
        succeed(breaker)
        succeed(breaker)

    assert [line["action"] for line in lines] == ["llm.breaker_opened", "llm.breaker_closed"]
