"""What a delivery count says about crashes. How the scripts keep it: see contract/test_ownership."""

from __future__ import annotations

import pytest

from memsched.queue.crash_account import crashes_of, trial_at


def test_the_account_is_read_from_the_delivery_count() -> None:
    assert [crashes_of(count) for count in (0, 1, 2, 3, 41)] == [0, 0, 1, 2, 40]


@pytest.mark.parametrize(("max_crashes", "crashes"), [(1, 1), (2, 1), (3, 2), (40, 39)])
def test_with_one_crash_left_a_message_runs_on_trial_but_never_before_the_first(max_crashes: int, crashes: int) -> None:
    assert trial_at(max_crashes) == crashes
