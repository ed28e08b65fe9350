"""A metrics sink: what a worker counts goes to a StatsD server, by UDP.

    python examples/statsd_metrics.py

``StatsD`` sends a line per count or measurement, and waits for nobody: a datagram that no server takes is lost, and
messages go on. In a package of yours an entry point gives the sink a name, which MEMSCHED_METRICS says to all workers:

    [project.entry-points."memsched.metrics"]
    statsd = "my_package.metrics:StatsD"

Here a socket of our own stands in for the server, and prints what comes. Everything stays inside this process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from memsched import MemScheduler, ScheduleMessageItem
from memsched.logs import configure_logs


class StatsD:
    """Counters and timers of StatsD, with labels in the form that DogStatsD and Telegraf read."""

    def __init__(self) -> None:
        host, _, port = os.environ.get("STATSD", "localhost:8125").rpartition(":")
        self._server = (host, int(port))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def count(self, name: str, value: int, labels: Mapping[str, str]) -> None:
        self._send(name, f"{value}|c", labels)

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._send(name, f"{1000 * value:.3f}|ms", labels)

    def _send(self, name: str, value: str, labels: Mapping[str, str]) -> None:
        tags = ",".join(f"{key}:{label}" for key, label in labels.items())
        self._socket.sendto(f"memsched.{name}:{value}|#{tags}".encode(), self._server)


def greet(messages: list[ScheduleMessageItem]) -> None:
    for message in messages:
        print(f"Hello {message.content}")


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        os.environ["STATSD"] = f"127.0.0.1:{server.getsockname()[1]}"
        metrics = f"{__name__}:StatsD"
        scheduler = MemScheduler(redis_url="memory://", memory=False, log_level="error", metrics=metrics)
        configure_logs(scheduler.settings)
        scheduler.register_handlers({"GREET": greet})
        with scheduler:
            for name in ("Ada", "Bob"):
                message = ScheduleMessageItem(user_id="ada", mem_cube_id="desk", label="GREET", content=name)
                scheduler.submit_messages(message)
                scheduler.wait(timeout=30)
        try:
            while True:
                print(server.recv(512).decode())
        except TimeoutError:
            pass


if __name__ == "__main__":
    main()
