"""Requests over HTTP/1.1 on bare sockets, in a process of their own, so that what asks is not what is measured.

``python -m benchmarks.load`` reads a Load as JSON from stdin and prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What is asked: each connection sends its next request when the answer to the last one is there.

    Args:
        bodies: JSON, in turn; empty: GET.
        warm_up: of the requests the first ones, whose time does not count.
        counting: the answers with this in them are counted.
    """

    url: str
    bodies: list[str]
    requests: int
    connections: int = 1
    warm_up: int = 0
    counting: str = ""

    async def run(self) -> Loaded:
        """Raises RuntimeError when an answer is none of 2xx."""
        left = iter(range(self.requests))
        taken: list[float] = []
        counted: list[bool] = []
        begun = time.perf_counter()
        last = await asyncio.gather(*(self._ask(left, taken, counted) for _ in range(self.connections)))
        rate = self.requests / (time.perf_counter() - begun)
        return Loaded(sorted(taken), rate, last[0].decode(), sum(counted))

    async def _ask(self, left: Iterator[int], taken: list[float], counted: list[bool]) -> bytes:
        host, port = urlsplit(self.url).hostname, urlsplit(self.url).port
        reader, writer = await asyncio.open_connection(host, port)
        answer = b""
        requests = [self._request(body) for body in self.bodies or [""]]
        for number in left:
            begun = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            answer = await reader.readexactly(int(length[1]) if length else 0)
            if number >= self.warm_up:
                taken.append(1000 * (time.perf_counter() - begun))
            if not head.startswith(b"HTTP/1.1 2"):
                raise RuntimeError((head + answer).decode())
            counted.append(self.counting.encode() in answer)
        writer.close()
        return answer

    def _request(self, body: str) -> bytes:
        parts, said = urlsplit(self.url), body.encode()
        head = f"{'POST' if said else 'GET'} {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        if said:
            head += f"content-type: application/json\r\ncontent-length: {len(said)}\r\n"
        return head.encode() + b"\r\n" + said


@dataclass(frozen=True)
class Loaded:
    """What came of it: milliseconds from least to most, requests a second, the body of one of the last answers, and how
    many had in them what was counted."""

    milliseconds: list[float]
    rate: float
    answer: str
    counted: int

    def percentile(self, share: float) -> float:
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


async def loaded(load: Load) -> Loaded:
    """Run it in a process of its own."""

    def run() -> Loaded:
        command = [sys.executable, "-m", "benchmarks.load"]
        told = subprocess.run(command, input=json.dumps(asdict(load)), stdout=subprocess.PIPE, text=True, check=True)
        return Loaded(**json.loads(told.stdout))

    return await asyncio.to_thread(run)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(Load(**json.load(sys.stdin)).run()))))
