"""The memory services of a process whose embedding model a test holds in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.handlers.lazy_services import LazyServices


class FakeEmbedder:
    """Is prepared once it may be, or fails."""

    name = "slow"
    dimensions = 8

    def __init__(self) -> None:
        self.prepared = 0
        self.closed = 0
        self.go_on = asyncio.Event()
        self.failure: BaseException | None = None

    async def prepare(self) -> None:
        self.prepared += 1
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure

    async def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        raise NotImplementedError

    async def embed_query(self, text: str, weights: Mapping[str, float] | None = None) -> list[float]:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closed += 1


def lazy_services(**given: Any) -> LazyServices:
    async def server() -> Server:
        return cast("Server", None)  # nothing is asked of it here

    return LazyServices(Settings.load(redis_url="memory://", **given), Keys(), server)
