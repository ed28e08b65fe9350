"""What is kept of a server's vectors, and calls that several wait for."""

from __future__ import annotations

import asyncio

import pytest

from memsched.memory.embedding.cache import EmbeddingCache
from memsched.memory.embedding.embedder import EmbeddingError


class Model:
    """Gives the texts themselves, once it may."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None
        self.cache = EmbeddingCache("model", self.embed, lambda texts: [list(texts)] if texts else [])

    async def embed(self, texts: list[str]) -> list[bytes]:
        self.asked.append(texts)
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return [text.encode() for text in texts]

    async def callers(self, *texts: str) -> list[asyncio.Task[list[bytes]]]:
        """One for each text; all of them wait."""
        tasks = [asyncio.create_task(self.cache.vectors([text])) for text in texts]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks


async def test_a_text_that_is_asked_for_already_is_not_asked_for_again() -> None:
    model = Model()
    one, both = await model.callers("a"), asyncio.create_task(model.cache.vectors(["a", "b", "a"]))
    await asyncio.sleep(0)
    model.go_on.set()
    assert await one[0] == [b"a"]
    assert await both == [b"a", b"b", b"a"]
    assert model.asked == [["a"], ["b"]]


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_who_no_longer_waits_does_not_take_it_from_the_others(leaving: int) -> None:
    model = Model()
    callers = await model.callers("a", "a", "a")
    callers.pop(leaving).cancel()
    await asyncio.sleep(0)
    model.go_on.set()
    assert await asyncio.gather(*callers) == [[b"a"], [b"a"]]
    assert model.asked == [["a"]]


async def test_after_the_last_one_has_left_the_next_one_asks_anew() -> None:
    model = Model()
    callers = await model.callers("a", "a")
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    (later,) = await model.callers("a")
    model.go_on.set()
    assert await later == [b"a"]
    assert all(caller.cancelled() for caller in callers)
    assert model.asked == [["a"], ["a"]]


@pytest.mark.parametrize("steps", range(6))
async def test_who_comes_while_the_last_one_leaves_gets_a_vector(steps: int) -> None:
    model = Model()
    (leaving,) = await model.callers("a")
    leaving.cancel()
    for _ in range(steps):
        await asyncio.sleep(0)
    model.go_on.set()
    assert await model.cache.vectors(["a"]) == [b"a"]


async def test_a_failure_is_told_to_all_who_wait_and_kept_for_nobody() -> None:
    model = Model()
    callers = await model.callers("a", "a")
    model.failure = EmbeddingError("not now", temporary=True)
    model.go_on.set()
    assert await asyncio.gather(*callers, return_exceptions=True) == [model.failure] * 2
    model.failure = None
    assert await model.cache.vectors(["a"]) == [b"a"]


async def test_who_waits_when_it_is_closed_is_told_so() -> None:
    model = Model()
    (caller,) = await model.callers("a")
    await model.cache.aclose()
    with pytest.raises(EmbeddingError, match="closed"):
        await caller
    with pytest.raises(EmbeddingError, match="closed"):
        await model.cache.vectors(["b"])


async def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    asked: list[str] = []

    async def embed(texts: list[str]) -> list[bytes]:
        asked.extend(texts)
        return [text.encode() * 100 for text in texts]

    cache = EmbeddingCache("model", embed, lambda texts: [list(texts)], max_bytes=3 * (256 + 100))
    for text in ("a", "b", "c", "a", "d", "a", "b"):
        assert await cache.vectors([text]) == [text.encode() * 100]

    assert asked == ["a", "b", "c", "d", "b"]
    await cache.aclose()
