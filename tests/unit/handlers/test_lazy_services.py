"""Memory of a process whose embedding model cannot be had (yet): messages wait, nothing is left open."""

from __future__ import annotations

import asyncio

import pytest
from support.services import FakeEmbedder, lazy_services

from memsched.errors import MemschedError, SettingsError
from memsched.handlers.lazy_services import LazyServices
from memsched.handlers.services import MemoryServices
from memsched.memory.embedding.embedder import EmbeddingError


async def waiting(shared: LazyServices, embedder: FakeEmbedder, callers: int) -> list[asyncio.Task[MemoryServices]]:
    tasks = [asyncio.create_task(shared.get()) for _ in range(callers)]
    async with asyncio.timeout(10):
        while not embedder.prepared:
            await asyncio.sleep(0.001)
    return tasks


async def test_all_who_need_memory_wait_for_the_same_attempt(embedder: FakeEmbedder) -> None:
    shared = lazy_services()
    first, *others = await waiting(shared, embedder, 5)
    first.cancel()
    embedder.go_on.set()

    services = await asyncio.gather(*others)

    assert len({id(each) for each in services}) == 1
    assert await shared.get() is services[0]
    assert (embedder.prepared, embedder.closed) == (1, 0)
    await shared.aclose()
    assert embedder.closed == 1


async def test_a_model_that_fails_is_closed_and_the_next_call_is_the_next_attempt(embedder: FakeEmbedder) -> None:
    shared = lazy_services()
    callers = await waiting(shared, embedder, 3)
    embedder.failure = EmbeddingError("not now", temporary=True)
    embedder.go_on.set()

    assert await asyncio.gather(*callers, return_exceptions=True) == [embedder.failure] * 3
    assert (embedder.prepared, embedder.closed) == (1, 1)

    embedder.failure = None
    assert (await shared.get()).embedder is embedder
    await shared.aclose()


async def test_the_language_model_is_closed_too_when_the_embedding_model_fails(
    embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    class Model:
        build = ""

        async def manage(self, *_: object) -> None:
            """Nothing is asked of it."""

        async def aclose(self) -> None:
            closed.append("language model")

    monkeypatch.setattr("memsched.llm.client.LLM.from_settings", lambda _: Model())
    embedder.failure = SettingsError(["MEMSCHED_EMBEDDING_MODEL: there is none."])
    embedder.go_on.set()
    with pytest.raises(SettingsError):
        await lazy_services().get()
    assert closed == ["language model"]
    assert embedder.closed == 1


async def test_who_waits_when_memory_is_closed_is_told_so(embedder: FakeEmbedder) -> None:
    shared = lazy_services()
    (caller,) = await waiting(shared, embedder, 1)
    await shared.aclose()
    with pytest.raises(MemschedError, match="closed"):
        await caller
    assert embedder.closed == 1

    embedder.go_on.set()
    assert (await shared.get()).embedder is embedder
    await shared.aclose()
