"""Every measurement is in one bucket, and in the sum: none is lost, and none is guessed."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from memsched.counting import BOUNDS, Counts, bucket_of


def histogram(counts: Counts, name: str) -> dict[int, int]:
    fields = {field.removeprefix(f"{name}:"): number for field, number in counts.numbers().items() if name in field}
    return {int(field): number for field, number in fields.items() if field != "sum"}


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(-3.0, 0), (0.0, 0), (0.0004, 0), (0.001, 0), (0.0011, 1), (0.002, 1), (0.016, 4), (4000.0, 22), (1e9, 23)],
)
def test_a_bucket_goes_up_to_its_bound(seconds: float, bucket: int) -> None:
    counts = Counts()
    counts.observe("run", seconds)

    assert bucket_of(seconds) == bucket
    assert seconds <= ([*BOUNDS, math.inf])[bucket]
    assert histogram(counts, "run") == {bucket: 1}


def test_what_is_put_into_buckets_together_is_what_each_is_by_itself() -> None:
    dice = random.Random(5)
    counts, expected, total = Counts(), Counter[int](), 0.0
    for size in (1, 1, 7, 64, 999, 1000, 1001, 3):
        seconds = [10 ** dice.uniform(-5, 4) for _ in range(size)] + [-1.0, *BOUNDS]
        expected.update(map(bucket_of, seconds))
        total += sum(max(0.0, each) for each in seconds)
        counts.observe("wait", *seconds)

    assert histogram(counts, "wait") == expected
    assert counts["wait:sum"] == pytest.approx(total * 1_000_000, abs=8)


def test_nothing_is_not_counted() -> None:
    counts = Counts()
    counts.observe("run")

    assert not counts
    assert counts.numbers() == {}


def test_what_was_sent_is_no_longer_to_be_sent_and_what_came_since_is() -> None:
    counts = Counts()
    counts.observe("run", 0.003)
    sent = counts.numbers()
    counts.observe("run", 0.003, 0.1)
    counts.sent(sent)

    assert counts.numbers() == {"run:2": 1, "run:7": 1, "run:sum": 103_000}
    counts.sent(counts.numbers())
    assert not counts
