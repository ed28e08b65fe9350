"""The reference for the start latency: a bare XADD to a bare blocked XREADGROUP in another process.

``python -m benchmarks.raw_hop SOCKET`` is the reading side; it prints the median in ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import redis

_STREAM = "raw-hop"
_HOPS = 300


def measure(socket: str) -> float:
    """The median time in ms from before XADD to after XREADGROUP, at 50 a second."""
    client: Any = redis.Redis(unix_socket_path=socket, protocol=2)
    client.xgroup_create(_STREAM, "group", id="0", mkstream=True)
    command = [sys.executable, "-m", "benchmarks.raw_hop", socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        for _ in range(_HOPS):
            client.xadd(_STREAM, {"at": time.time(), "body": "x" * 1024})
            time.sleep(0.02)
        output, _ = reader.communicate(timeout=30)
    return float(output)


def _read(socket: str) -> None:
    client: Any = redis.Redis(unix_socket_path=socket, protocol=2)
    delays: list[float] = []
    while len(delays) < _HOPS:
        for _, entries in client.xreadgroup("group", "reader", {_STREAM: ">"}, count=10, block=5000):
            now = time.time()
            delays += [now - float(fields[b"at"]) for _, fields in entries]
    print(statistics.median(delays[_HOPS // 10 :]) * 1000)


if __name__ == "__main__":
    _read(sys.argv[1])
