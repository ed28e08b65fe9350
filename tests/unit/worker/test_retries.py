"""How long a retry waits: longer each time, never in step, never without bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memsched import Settings
from memsched.worker.retries import RetryPolicy


def policy(**given: int) -> RetryPolicy:
    return RetryPolicy(Settings(**given))  # type: ignore[arg-type]


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 1_000_000))
def test_a_retry_waits_up_to_a_doubling_bound_below_the_cap(failures: int, base: int, cap: int) -> None:
    delay = policy(retry_base_ms=base, retry_cap_ms=cap).delay_ms(failures)

    assert 0 <= delay <= min(cap, base * 2 ** min(failures - 1, 40))


def test_retries_are_spread_over_the_whole_range() -> None:
    made = policy(retry_base_ms=1000)

    delays = [made.delay_ms(3) for _ in range(400)]

    assert min(delays) < 400
    assert max(delays) > 3600
