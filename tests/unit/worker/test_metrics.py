"""A metrics sink is told what happens, and does no harm."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from memsched.broker.keys import Keys
from memsched.queue.delivery import Delivery, read_entry
from memsched.worker.metrics import Metrics, Statistics

KEYS = Keys()
LANE = KEYS.lane_named("add")
DELIVERY = read_entry(LANE, b"1700000000000-0", [b"user_id", b"u", b"content", b"c", b"mem_cube_id", b"m"])
assert isinstance(DELIVERY, Delivery)


class Broken:
    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None:
        raise OSError("no route")

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        raise OSError("no route")


def test_a_sink_that_fails_is_told_of_once_a_minute() -> None:
    metrics = Metrics(Statistics(KEYS), Broken())

    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            metrics.messages(LANE, "done")
            metrics.called([DELIVERY], "done")

    assert [each["action"] for each in logs] == ["metrics.failed"]
