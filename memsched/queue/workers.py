"""The registry of workers: a sorted set by the time of their last heartbeat (the server's clock), a hash about each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text, as_texts, script

_BEAT = script("beat")
NUMBERS = ("pid", "concurrency", "done", "retried", "dead", "lost", "recovered")


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker process: when it was last heard of, and what it says about itself."""

    worker_id: str
    silent_ms: int
    alive: bool
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_told(self) -> dict[str, str | int]:
        """What it says about itself, its numbers as numbers."""
        return {name: int(text) if name in NUMBERS and text.isdecimal() else text for name, text in self.about.items()}


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat."""

    now_ms: int
    """The server's time."""
    was_unlisted: bool
    """The worker was not registered (any more)."""
    dead: Sequence[str]
    """Workers that count as dead, whether they were seen to die or not heard of while others were."""


class WorkerRegistry:
    """The workers of one prefix.

    Args:
        ttl_seconds: a worker that was silent for so long counts as dead.
    """

    def __init__(self, server: Server, keys: Keys, ttl_seconds: float) -> None:
        self._server = server
        self._keys = keys
        self._ttl_ms = int(ttl_seconds * 1000)

    async def register(self, worker_id: str, about: Mapping[str, str]) -> None:
        await self._server.persistently(lambda: self._server.call(self.tell(worker_id, about)))
        await self._server.persistently(lambda: self._server.call(self.beat(worker_id)))

    def tell(self, worker_id: str, about: Mapping[str, str | int]) -> Command[Any]:
        """Write down what a worker says about itself."""
        flat = [part for pair in about.items() for part in pair]
        return Command(("HSET", self._keys.worker(worker_id), *flat), lambda reply: reply)

    def beat(self, worker_id: str) -> Command[Beat]:
        """Say that a worker lives."""

        def parse(reply: Any) -> Beat:
            now_ms, added, dead = reply
            return Beat(int(now_ms), bool(added), as_texts(dead))

        return _BEAT.command([self._keys.workers], [worker_id, self._ttl_ms], parse)

    async def declare_dead(self, worker_id: str) -> None:
        """Somebody saw it die: no need to wait for its silence. It stays listed until it owns nothing any more."""
        await self._server.execute("ZADD", self._keys.workers, "XX", 0, worker_id)

    async def remove(self, worker_id: str) -> None:
        await self._server.execute("ZREM", self._keys.workers, worker_id)
        await self._server.execute("DEL", self._keys.worker(worker_id))

    async def silent(self) -> list[str]:
        """The ids of workers that count as dead, and that nobody has cleared away yet."""
        workers = self.listed(await self._server.run(self.listing()))
        return [worker.worker_id for worker in workers if not worker.alive]

    def listing(self) -> list[Command[Any]]:
        """The commands whose replies ``listed`` understands."""
        return [
            Command(("ZRANGE", self._keys.workers, 0, -1, "WITHSCORES"), lambda reply: reply),
            Command(("TIME",), lambda reply: reply),
        ]

    def listed(self, replies: Sequence[Any]) -> list[WorkerInfo]:
        """All workers, the longest silent first."""
        scored, (seconds, micros) = map(answered, replies)
        if scored and isinstance(scored[0], (list, tuple)):
            scored = [part for pair in scored for part in pair]
        now = int(seconds) * 1000 + int(micros) // 1000
        silent = [max(0, now - int(float(score))) for score in scored[1::2]]
        return [
            WorkerInfo(worker_id, quiet, quiet < self._ttl_ms)
            for worker_id, quiet in zip(as_texts(scored[::2]), silent, strict=True)
        ]

    async def with_abouts(self, workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
        """The same, with what they say about themselves."""
        if not workers:
            return []
        replies = await self._server.run(
            [Command(("HGETALL", self._keys.worker(worker.worker_id)), _as_mapping) for worker in workers]
        )
        return [
            replace(worker, about={} if isinstance(reply, Exception) else reply)
            for worker, reply in zip(workers, replies, strict=True)
        ]


def _as_mapping(reply: object) -> dict[str, str]:
    if isinstance(reply, dict):
        return {as_text(name): as_text(value) for name, value in reply.items()}
    texts = as_texts(reply)
    return dict(zip(texts[::2], texts[1::2], strict=True))


def started_now() -> str:
    """For a worker's ``started`` field."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
