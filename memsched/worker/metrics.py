"""Metrics: what a worker counts, told to a sink of another package (MEMSCHED_METRICS), as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from memsched.extensions import extension
from memsched.logs import exception_field, get_logger

log = get_logger(__name__)

_TOLD_EVERY_SECONDS = 60.0


class MetricsSink(Protocol):
    """Takes what is counted and measured. It is called on the event loop of the worker: it must not wait.

    Labels are ``label``, of which there are as many as handlers, and ``outcome``; never ids of users or messages.
    """

    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None:
        """So many more of something: ``messages``, by ``outcome`` (done, retried, dead, lost, recovered)."""

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """One measurement: ``handler_seconds``, of a handler's call by ``outcome`` (done, error, timeout, ...)."""


class Metrics:
    """Tells a sink, and lets none of its errors reach a message."""

    def __init__(self, sink: MetricsSink | None = None) -> None:
        self._sink = sink
        self._told_at = -_TOLD_EVERY_SECONDS

    @classmethod
    def by(cls, name: str) -> Metrics:
        """With the sink that MEMSCHED_METRICS names. Raises SettingsError."""
        if not name:
            return cls()
        return cls(extension("MEMSCHED_METRICS", "memsched.metrics", name, ("count", "observe"), {}))

    def messages(self, label: str, outcome: str, count: int = 1) -> None:
        """Some messages of a label came to this outcome."""
        if self._sink is not None and count:
            self._safely(self._sink.count, "messages", count, {"label": label, "outcome": outcome})

    def handler_seconds(self, label: str, outcome: str, seconds: float) -> None:
        """A handler's call took so long."""
        if self._sink is not None:
            self._safely(self._sink.observe, "handler_seconds", seconds, {"label": label, "outcome": outcome})

    def _safely(self, tell: Callable[..., Any], *args: Any) -> None:
        try:
            tell(*args)
        except Exception as error:  # noqa: BLE001 -- whatever it raises: a message does not fail for it
            now = time.monotonic()
            if now - self._told_at >= _TOLD_EVERY_SECONDS:
                self._told_at = now
                log.warning(
                    "the metrics sink failed; what it was told is lost to it, and messages go on",
                    action="metrics.failed",
                    **exception_field(error),
                )
