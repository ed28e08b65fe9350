"""Every form of callable is a handler that is run rightly, or refused when it is registered."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import sqlite3
import threading
import types
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from support.deliveries import delivery
from support.dispatching import Bench

from memsched import Handler, HandlerContext, Settings
from memsched.errors import HandlerNotLoaded
from memsched.worker.call import CallResult
from memsched.worker.handlers import Orchestrator

SAID: list[str] = []
POOL = ThreadPoolExecutor(1)


def say(word: str, ctx: Any = None) -> None:
    SAID.append(f"{word} {type(ctx).__name__}" if ctx is not None else word)


async def later(word: str) -> None:
    await asyncio.sleep(0)
    say(word)


class Service:
    def sync(self, messages: Any) -> None:
        say("method")

    async def with_context(self, messages: Any, ctx: HandlerContext) -> None:
        await asyncio.sleep(0)
        say("async method", ctx)

    @staticmethod
    def static(messages: Any) -> None:
        say("static")

    @classmethod
    def of_class(cls, messages: Any) -> None:
        say("class method")

    async def __call__(self, messages: Any) -> None:
        await later("object")


class Lazy:
    def __call__(self, messages: Any) -> Iterator[None]:
        yield say("never")


async def of_three(name: str, messages: Any, ctx: Any) -> None:
    say(name, ctx)


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **more: Any) -> Any:
        return function(*args, **more)

    return wrapper


@logged
async def wrapped(messages: Any, ctx: Any) -> None:
    await ctx.checkpoint(1)
    say("wrapped", ctx)


async def keeps(messages: Any, ctx: Any) -> None:
    await ctx.checkpoint(1)
    say("kept")


def in_a_loop() -> Callable[..., Any]:
    made = []
    for number in range(3):

        def handle(messages: Any, number: int = number) -> None:
            say(f"number {number}")

        made.append(handle)
    return made[1]


def annotated(messages: Any, extra: int = 3, where: HandlerContext | None = None) -> None:
    say("annotated", where)


def keyword_only(messages: Any, *, ctx: Any) -> None:
    say("keyword", ctx)


def anything(*args: Any, **more: Any) -> None:
    say(f"{len(args)} argument")


def to_a_pool(messages: Any) -> Future[None]:
    return POOL.submit(say, "in a pool")


def twice(messages: Any) -> Any:
    async def outer() -> Any:
        return later("twice")

    return outer()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (functools.partial(of_three, "partial"), "partial HandlerContext"),
        (functools.partial(lambda messages, word: say(word), word="keyword"), "keyword"),
        (functools.partial(Service()), "object"),
        (Service(), "object"),
        (Service().sync, "method"),
        (Service().with_context, "async method HandlerContext"),
        (Service.static, "static"),
        (Service.of_class, "class method"),
        (lambda messages: later("awaited"), "awaited"),
        (lambda messages, ctx: keeps(messages, ctx), "kept"),
        (wrapped, "wrapped HandlerContext"),
        (in_a_loop(), "number 1"),
        (annotated, "annotated SyncHandlerContext"),
        (keyword_only, "keyword SyncHandlerContext"),
        (anything, "1 argument"),
        (to_a_pool, "in a pool"),
        (twice, "twice"),
        (SAID.extend, None),
    ],
)
async def test_it_is_run(function: Callable[..., Any], said: str | None) -> None:
    SAID.clear()
    bench = Bench({"task": function})
    bench.give(delivery())
    (call,) = await bench.ended(1)

    assert call.result is CallResult.DONE, call.error
    assert said in (None, *SAID)
    assert len(SAID) == 1


def lazy(messages: Any) -> Iterator[None]:
    yield say("never")


async def lazy_async(messages: Any) -> AsyncIterator[None]:
    yield say("never")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lazy, "is a generator"),
        (lazy_async, "is a generator"),
        (functools.partial(lazy), "is a generator"),
        (Lazy(), "is a generator"),
        (logged(lazy), "is a generator"),
        (Service, "is a class"),
        (functools.partial(Service), "is a class"),
        (lambda: None, "takes no messages"),
        (lambda *, word: None, "takes no messages"),
        (lambda messages, ctx, third: None, "needs third"),
        (lambda messages, *, word: None, "needs word"),
        (Service.with_context, "is a method without its object"),
        (None, "cannot be called"),
        (map(say, ()), "was called already"),
    ],
)
def test_it_is_refused(function: Any, why: str) -> None:
    with pytest.raises(HandlerNotLoaded, match=f"task: .*{why}"):
        Orchestrator(Settings(redis_url="memory://")).register({"task": Handler(function)})


def test_a_coroutine_is_refused_and_leaves_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(HandlerNotLoaded, match="without \\(\\)"):
        Orchestrator(Settings(redis_url="memory://")).register({"task": later("never")})  # type: ignore[dict-item]

    assert not recwarn.list


@dataclasses.dataclass
class Box:
    held: Any


@dataclasses.dataclass(slots=True)
class SlotBox:
    held: Any


@pytest.mark.parametrize(
    "function",
    [
        lambda messages: (say("never") for _ in messages),
        lambda messages: lazy_async(messages),
        lambda messages: map(say, messages),
        lambda messages: [later("never") for _ in messages],
        lambda messages: {"one": later("never")},
        lambda messages: [[later("never")]],
        lambda messages: {"all": (map(say, messages),)},
        lambda messages: deque(map(later, messages)),
        lambda messages: {"one": later("never")}.items(),
        lambda messages: {later("never"): 1}.keys(),
        lambda messages: {"one": {"two": {"three": [later("never")]}}},
        lambda messages: [[[[say(one) for one in ()], (say(one) for one in messages)]]],
        lambda messages: Box(later("never")),
        lambda messages: SlotBox([Box(later("never"))]),
        lambda messages: types.SimpleNamespace(one=later("never")),
        lambda messages: threading.Thread(target=say, args=("never",)),
        lambda messages: [threading.Timer(1, say, ("never",))],
        lambda messages: iter([1]),
        lambda messages: itertools.starmap(say, [messages]),
        lambda messages: functools.partial(say, "never"),
        lambda messages: lambda: say("never"),
    ],
)
async def test_what_returns_undone_work_has_failed(function: Callable[..., Any]) -> None:
    SAID.clear()
    bench = Bench({"task": function})
    bench.give(delivery())
    (call,) = await bench.ended(1)

    assert (call.result, SAID) == (CallResult.ERROR, [])
    assert isinstance(call.error, TypeError)


async def busy_elsewhere(messages: Any) -> Any:
    """What knows an event loop, a task that has not begun, and itself."""
    begun = Box(None)
    begun.held = [begun, asyncio.get_running_loop(), Box(asyncio.ensure_future(asyncio.sleep(0))), threading]
    return begun


async def already_done(messages: Any) -> Any:
    return await asyncio.wait([asyncio.ensure_future(later("done"))])


@pytest.mark.parametrize(
    "function",
    [
        already_done,
        busy_elsewhere,
        lambda messages: sqlite3.connect(":memory:").execute("select 1"),
        lambda messages: {"counts": [1, 2], "names": ["a"]},
    ],
)
async def test_what_returns_done_work_is_done(function: Callable[..., Any]) -> None:
    bench = Bench({"task": function})
    bench.give(delivery())
    (call,) = await bench.ended(1)

    assert call.result is CallResult.DONE
