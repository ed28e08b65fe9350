"""A metrics sink is told what happens, and does no harm."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
import structlog

from memsched.broker.keys import Keys, Lane
from memsched.queue.delivery import Delivery, read_entry
from memsched.worker.call import Call, CallResult
from memsched.worker.handlers import Handler
from memsched.worker.metrics import Metrics, Statistics
from memsched.worker.reporter import by_lane

KEYS = Keys(partitions=2)
LANE, OTHER = KEYS.lanes_of("add")
NOW = 1_700_000_000.0


class Broken:
    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None:
        raise OSError("no route")

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        raise OSError("no route")


class Told:
    def __init__(self) -> None:
        self.observed: list[tuple[str, float, dict[str, str]]] = []

    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None: ...

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self.observed.append((name, value, dict(labels)))


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def call(
    lane: Lane = LANE,
    *,
    waited: float = 0.5,
    ran: float = 0.25,
    messages: int = 1,
    result: CallResult = CallResult.DONE,
) -> Call:
    deliveries = []
    for number in range(messages):
        entry_id = f"{round((NOW - ran - waited) * 1000)}-{number}".encode()
        delivery = read_entry(lane, entry_id, [b"user_id", b"u", b"content", b"c", b"mem_cube_id", b"m"])
        assert isinstance(delivery, Delivery)
        delivery.started = NOW - ran
        deliveries.append(delivery)
    return Call("add", ("u", "m"), Handler(print), deliveries, 5.0, result=result)


def unstarted() -> Call:
    found = call(result=CallResult.LOST)
    found.deliveries[0].started = 0.0
    return found


def test_a_sink_that_fails_is_told_of_once_a_minute() -> None:
    metrics = Metrics(Statistics(KEYS), Broken())

    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            metrics.messages(LANE, "done")
            metrics.called(LANE, [call()])

    assert [each["action"] for each in logs] == ["metrics.failed"]
    assert metrics.statistics.of(LANE).numbers()["run:8"] == 3


def test_every_call_and_every_message_of_it_is_counted_for_its_lane() -> None:
    metrics = Metrics(Statistics(KEYS))
    ended = [call(), call(OTHER, waited=-2.0), call(messages=3, waited=1.5), *(call(ran=2.0) for _ in range(500))]

    for lane, calls in by_lane(ended):
        metrics.called(lane, calls)

    assert metrics.statistics.of(LANE).numbers() == {
        "run:8": 2,
        "run:11": 500,
        "run:sum": 1_000_500_000,
        "wait:9": 501,
        "wait:11": 3,
        "wait:sum": 255_000_000,
    }
    assert metrics.statistics.of(OTHER).numbers() == {"run:8": 1, "run:sum": 250_000, "wait:0": 1, "wait:sum": 0}


def test_a_sink_is_told_of_every_call_that_began_and_of_no_other() -> None:
    sink = Told()
    metrics = Metrics(Statistics(KEYS), sink)
    metrics.called(LANE, [unstarted()])
    assert not metrics.statistics.pending

    metrics.called(LANE, [call(), call(messages=2, result=CallResult.ERROR), unstarted()])

    assert sink.observed == [
        ("handler_seconds", 0.25, {"label": "add", "outcome": "done"}),
        ("handler_seconds", 0.25, {"label": "add", "outcome": "error"}),
    ]
    assert metrics.statistics.of(LANE).numbers() == {"run:8": 2, "run:sum": 500_000, "wait:9": 3, "wait:sum": 1_500_000}
