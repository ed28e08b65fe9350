"""What a delivery count says about crashes. How the scripts keep it: see contract/test_ownership."""

from __future__ import annotations

import pytest

from memsched.queue.crash_account import crashes, is_suspect, needs_isolation


@pytest.mark.parametrize(
    ("count", "suspect", "isolated", "blamed"),
    [
        (1, False, False, 0),
        (2, True, False, 1),
        (3, True, False, 1),
        (4, True, False, 2),
        (103, True, True, 1),
        (102, True, True, 1),
        (203, True, True, 1),
        (204, True, True, 2),
        (80, True, False, 40),
    ],
)
def test_the_account_is_read_from_the_delivery_count(count: int, suspect: bool, isolated: bool, blamed: int) -> None:
    assert (is_suspect(count), needs_isolation(count), crashes(count)) == (suspect, isolated, blamed)
