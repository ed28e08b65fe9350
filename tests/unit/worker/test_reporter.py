"""How long a message waits after a failure: longer each time, never in step, never without bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memsched import Settings
from memsched.broker.keys import Keys
from memsched.queue.leases import Leases
from memsched.queue.outcomes import Outcomes
from memsched.worker.reporter import Reporter


def reporter(**given: int) -> Reporter:
    keys = Keys()
    settings = Settings(**given)  # type: ignore[arg-type]
    return Reporter(settings, keys, Leases(keys, "w"), Outcomes(keys, "w", 60), clustered=False)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 1_000_000))
def test_a_retry_waits_up_to_a_doubling_bound_below_the_cap(failures: int, base: int, cap: int) -> None:
    delay = reporter(retry_base_ms=base, retry_cap_ms=cap).retry_delay_ms(failures)

    assert 0 <= delay <= min(cap, base * 2 ** min(failures - 1, 40))


def test_retries_are_spread_over_the_whole_range() -> None:
    made = reporter(retry_base_ms=1000)

    delays = [made.retry_delay_ms(3) for _ in range(400)]

    assert min(delays) < 400
    assert max(delays) > 3600
