"""A metrics sink is told what happens, and does no harm."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from memsched.worker.metrics import Metrics


class Broken:
    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None:
        raise OSError("no route")

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        raise OSError("no route")


def test_a_sink_that_fails_is_told_of_once_a_minute() -> None:
    metrics = Metrics(Broken())

    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            metrics.messages("add", "done")
            metrics.handler_seconds("add", "done", 0.1)

    assert [each["action"] for each in logs] == ["metrics.failed"]
