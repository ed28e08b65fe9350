"""How long to wait before the next try: longer each time, never in step, never without bound."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from memsched.backoff import backoff, poll_pauses
from memsched.broker.client import reconnect_backoff


@given(st.integers(0, 10_000), st.floats(0.001, 10_000), st.floats(0.001, 10_000), st.floats(0, 1))
def test_it_is_between_a_part_of_a_doubling_bound_and_the_bound(
    tries: int, base: float, cap: float, least: float
) -> None:
    bound = min(cap, base * 2.0 ** min(tries, 40))

    assert bound * least * 0.999 <= backoff(tries, base=base, cap=cap, least=least) <= bound * 1.001


def test_full_jitter_spreads_over_the_whole_range() -> None:
    waits = [backoff(2, base=1000, cap=100_000) for _ in range(400)]

    assert min(waits) < 400
    assert max(waits) > 3600


@given(st.integers(0, 10_000))
def test_a_reconnection_waits_between_half_and_all_of_a_doubling_bound(tries: int) -> None:
    bound = min(2.0, 0.05 * 2.0 ** min(tries, 30))

    assert bound / 2 <= reconnect_backoff(tries) <= bound


def test_looks_become_rarer_up_to_a_longest_pause() -> None:
    pauses = list(islice(poll_pauses(0.005, 0.2), 30))

    assert pauses[0] == 0.005
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.2
