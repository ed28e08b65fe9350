"""Hooks around a call change nothing of what becomes of its messages, whatever they do."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from support.deliveries import contents, delivery
from support.dispatching import Bench

from memsched import Handler, Middleware
from memsched.messages import ScheduleMessageItem
from memsched.worker import dispatcher as dispatcher_module
from memsched.worker import middleware
from memsched.worker.call import CallResult

Messages = list[ScheduleMessageItem]


class Boom(BaseException):
    pass


class Awaited:
    def __await__(self) -> Any:
        raise Boom


def raises(error: BaseException) -> Any:
    def hook(*_: Any) -> None:
        raise error

    return hook


def cancels_itself(*_: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def cancels_itself_and_waits(*_: Any) -> None:
    cancels_itself()
    await asyncio.sleep(0)


async def never_ends(*_: Any) -> None:
    while True:
        try:
            await asyncio.sleep(0.2)
            return  # the test is over
        except asyncio.CancelledError:
            continue


def takes_messages(batch: Messages, *_: Any) -> None:
    for one in batch:
        one.content = "changed"
    batch.clear()


@pytest.mark.parametrize("name", ["before", "after", "failed"])
@pytest.mark.parametrize(
    "hook",
    [
        takes_messages,
        raises(asyncio.CancelledError()),
        raises(GeneratorExit()),
        raises(Boom()),
        raises(KeyboardInterrupt()),
        lambda *_: Awaited(),
        cancels_itself,
        cancels_itself_and_waits,
        never_ends,
    ],
)
async def test_whatever_a_hook_does_the_call_goes_on(name: str, hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_LONGEST_SECONDS", 0.05)
    monkeypatch.setattr(dispatcher_module, "_UNWIND_SECONDS", 0.01)
    given: list[str] = []

    async def handle(batch: Messages) -> None:
        given.extend(one.content for one in batch)
        if name == "failed":
            raise ValueError("no")

    bench = Bench({"task": Handler(handle, batch_size=2, timeout_seconds=0.02)})
    bench.rules.middleware.append(type("Hooked", (Middleware,), {name: staticmethod(hook)})())
    bench.give(delivery("one"), delivery("two"))
    (call,) = await asyncio.wait_for(bench.ended(1), 5)

    assert given == contents(call.deliveries) == ["one", "two"]
    assert call.result is (CallResult.ERROR if name == "failed" else CallResult.DONE)
    assert name != "failed" or isinstance(call.error, ValueError)


async def test_a_call_that_is_cancelled_in_a_hook_does_not_run() -> None:
    ran: list[str] = []
    begun = asyncio.Event()

    async def before(batch: Messages) -> None:
        begun.set()
        await asyncio.sleep(60)

    async def handle(batch: Messages) -> None:
        ran.append("never")

    bench = Bench({"task": handle})
    bench.rules.middleware.append(type("Hooked", (Middleware,), {"before": staticmethod(before)})())
    bench.give(delivery())
    await begun.wait()
    bench.dispatcher.cancel_all()
    (call,) = await bench.ended(1)

    assert (call.result, ran) == (CallResult.SHUTDOWN, [])


async def test_a_variable_of_before_can_be_reset_in_after() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen: list[str] = []

    class Spans(Middleware):
        async def before(self, messages: Messages) -> None:
            self.token = variable.set("span")

        def after(self, messages: Messages) -> None:
            variable.reset(self.token)
            seen.append(f"after {variable.get()}")

    def handle(batch: Messages) -> None:
        seen.append(variable.get())

    bench = Bench({"task": handle})
    bench.rules.middleware.append(Spans())
    bench.give(delivery())
    await bench.ended(1)

    assert seen == ["span", "after "]


@pytest.mark.parametrize("hook", [raises(Boom()), cancels_itself, cancels_itself_and_waits])
async def test_a_hook_of_dead_letters_ends(hook: Any) -> None:
    hooks = middleware.Hooks([type("Hooked", (), {"dead": staticmethod(hook)})()])
    hooks.soon("dead", delivery().message, "errors", "no")
    for _ in range(10):
        await asyncio.sleep(0)

    assert not hooks._tasks
