"""Memory of a process whose embedding model cannot be had (yet): messages wait, nothing is left open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from support.deliveries import delivery

from memsched import HandlerContext, Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import MemschedError, SettingsError
from memsched.handlers.admission import handle
from memsched.handlers.lazy_services import LazyServices
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import Permission
from memsched.memory.embedding.embedder import EmbeddingError


class Embedder:
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


@pytest.fixture
async def embedder(monkeypatch: pytest.MonkeyPatch) -> Embedder:
    embedder = Embedder()
    monkeypatch.setattr("memsched.memory.embedding.factory.embedder_from", lambda _: embedder)
    return embedder


def shared_services(**given: Any) -> LazyServices:
    async def server() -> Server:
        return cast("Server", None)  # nothing is asked of it here

    return LazyServices(Settings.load(redis_url="memory://", **given), Keys(), server)


async def waiting(shared: LazyServices, embedder: Embedder, callers: int) -> list[asyncio.Task[MemoryServices]]:
    tasks = [asyncio.create_task(shared.get()) for _ in range(callers)]
    async with asyncio.timeout(10):
        while not embedder.prepared:
            await asyncio.sleep(0.001)
    return tasks


async def test_all_who_need_memory_wait_for_the_same_attempt(embedder: Embedder) -> None:
    shared = shared_services()
    first, *others = await waiting(shared, embedder, 5)
    first.cancel()
    embedder.go_on.set()

    services = await asyncio.gather(*others)

    assert len({id(each) for each in services}) == 1
    assert await shared.get() is services[0]
    assert (embedder.prepared, embedder.closed) == (1, 0)
    await shared.aclose()
    assert embedder.closed == 1


async def test_a_model_that_fails_is_closed_and_the_next_call_is_the_next_attempt(embedder: Embedder) -> None:
    shared = shared_services()
    callers = await waiting(shared, embedder, 3)
    embedder.failure = EmbeddingError("not now", temporary=True)
    embedder.go_on.set()

    assert await asyncio.gather(*callers, return_exceptions=True) == [embedder.failure] * 3
    assert (embedder.prepared, embedder.closed) == (1, 1)

    embedder.failure = None
    assert (await shared.get()).embedder is embedder
    await shared.aclose()


async def test_the_language_model_is_closed_too_when_the_embedding_model_fails(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    class Model:
        async def aclose(self) -> None:
            closed.append("language model")

    monkeypatch.setattr("memsched.llm.client.LLM.from_settings", lambda _: Model())
    embedder.failure = SettingsError(["MEMSCHED_EMBEDDING_MODEL: there is none."])
    embedder.go_on.set()
    with pytest.raises(SettingsError):
        await shared_services().get()
    assert closed == ["language model"]
    assert embedder.closed == 1


async def test_who_waits_when_memory_is_closed_is_told_so(embedder: Embedder) -> None:
    shared = shared_services()
    (caller,) = await waiting(shared, embedder, 1)
    await shared.aclose()
    with pytest.raises(MemschedError, match="closed"):
        await caller
    assert embedder.closed == 1

    embedder.go_on.set()
    assert (await shared.get()).embedder is embedder
    await shared.aclose()


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (SettingsError(["MEMSCHED_EMBEDDING_MODEL: there is none."]), 30.0),
        (EmbeddingError("The key is wrong.", temporary=False), 30.0),
        (EmbeddingError("It does not answer.", temporary=True), 2.0),
        (EmbeddingError("It wants to be left alone.", temporary=True, retry_after=60.0), 60.0),
        (EmbeddingError("It wants to be left alone.", temporary=True, retry_after=1e9), 300.0),
        (EmbeddingError("It is in a hurry.", temporary=True, retry_after=0.0), 2.0),
    ],
)
async def test_messages_wait_for_a_model_at_no_cost(embedder: Embedder, failure: Exception, seconds: float) -> None:
    class Holder:
        async def save_checkpoint(self, *_: Any) -> None: ...

        async def renew_leases(self, *_: Any) -> None: ...

    async def work(*_: Any) -> None:
        raise NotImplementedError

    embedder.failure = failure
    embedder.go_on.set()
    deliveries = [delivery("one"), delivery("two")]
    ctx = HandlerContext(deliveries, Holder(), 0)

    with capture_logs() as lines:
        messages = [each.message for each in deliveries]
        await handle(work, shared_services(), Permission.WRITE, messages, ctx)

    decisions = [ctx.decisions[each] for each in deliveries]
    assert [each.delay_ms for each in decisions] == [seconds * 1000] * 2
    assert all(str(failure) in each.error for each in decisions)
    assert [(line["action"], line["count"]) for line in lines] == [("memory.put_off", 2)]
