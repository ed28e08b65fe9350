"""Whatever a handler leaves behind, its messages get an outcome, its neighbours too, and nobody holds them for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.conditions import until
from support.messages import message
from support.outcome import dead_letters

from memsched import (
    AsyncMemScheduler,
    Handler,
    HandlerContext,
    ScheduleLogForWebItem,
    ScheduleMessageItem,
    TaskState,
    messages,
)
from memsched.errors import ServerRefused
from memsched.queue.dead_letters import DeadFilter
from memsched.worker import cycle

MakeScheduler = Callable[..., AsyncMemScheduler]
Messages = list[ScheduleMessageItem]


class SaysNothing(Exception):
    def __str__(self) -> str:
        return self.response.text  # type: ignore[attr-defined, no-any-return]


class Ends(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class SaysNumbers(Exception):
    def __str__(self) -> str:
        return 42  # type: ignore[return-value]  # noqa: PLE0307


class Odd(str):
    def encode(self, *_: Any) -> bytes:
        raise ValueError("no")

    def __getitem__(self, _: Any) -> str:
        raise ValueError("no")


class SaysOdd(Exception):
    def __str__(self) -> str:
        return Odd("odd")


class NoNotes(Exception):
    @property
    def __notes__(self) -> Any:
        raise ValueError("no notes")


BAD_ERRORS: dict[str, BaseException] = {
    "says_nothing": SaysNothing(),
    "ends": Ends(),
    "says_numbers": SaysNumbers(),
    "says_odd": SaysOdd(),
    "no_notes": NoNotes("x"),
    "surrogates": ValueError("\ud800 half"),
    "huge": ValueError("x" * 3_000_000),
    "bytes": ValueError(b"\xff\x00"),
    "exit": SystemExit(4),
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
}


def raising(error: BaseException) -> Callable[[Messages], Any]:
    async def handle(batch: Messages) -> None:
        raise error

    return handle


async def test_an_exception_that_cannot_be_told_costs_nobody_else_anything(make_scheduler: MakeScheduler) -> None:
    gate = asyncio.Event()

    async def good(batch: Messages) -> None:
        await gate.wait()

    scheduler = make_scheduler(max_errors=0)
    scheduler.register_handlers({name: raising(error) for name, error in BAD_ERRORS.items()} | {"good": good})
    await scheduler.start()
    await scheduler.submit_messages([message(label="good", user=f"u{number}") for number in range(5)])
    await scheduler.submit_messages([message(label=name) for name in BAD_ERRORS])
    gate.set()
    await scheduler.wait(timeout=20)

    letters = {letter.lane.label: letter for letter in await dead_letters(scheduler)}
    assert letters.keys() == BAD_ERRORS.keys()
    for name, error in BAD_ERRORS.items():
        assert letters[name].reason == "errors"
        assert letters[name].error.startswith(type(error).__name__)
        assert len(letters[name].error) <= 2100
    assert not scheduler._worker.cycle.dispatcher.held  # type: ignore[union-attr]


async def spoil_the_message(batch: Messages, ctx: HandlerContext) -> None:
    batch[0].__dict__.clear()


async def rename_the_message(batch: Messages, ctx: HandlerContext) -> None:
    batch[0].item_id, batch[0].user_id, batch[0].label = "another", "mallory", "nowhere"


async def spoil_the_context(batch: Messages, ctx: HandlerContext) -> None:
    ctx.follow_ups.append("no follow-up")  # type: ignore[arg-type]
    ctx.decisions["no delivery"] = "no decision"  # type: ignore[index, assignment]


async def change_what_was_submitted(batch: Messages, ctx: HandlerContext) -> None:
    found: list[Any] = []
    ctx.submit(message(label="next", info={"found": found}))
    found.append(object())


@pytest.mark.parametrize(
    ("handle", "state"),
    [
        (spoil_the_message, TaskState.COMPLETED),
        (rename_the_message, TaskState.COMPLETED),
        (spoil_the_context, TaskState.FAILED),
        (change_what_was_submitted, TaskState.COMPLETED),
    ],
)
async def test_what_a_handler_does_to_what_it_was_given_is_its_own_matter(
    make_scheduler: MakeScheduler, handle: Any, state: TaskState
) -> None:
    async def good(batch: Messages) -> None: ...

    scheduler = make_scheduler(max_errors=0)
    scheduler.register_handlers({"bad": handle, "good": good, "next": good})
    await scheduler.start()
    bad, other = message(label="bad"), message(label="good")
    await scheduler.submit_messages([bad, other])
    await scheduler.wait(timeout=20)
    await scheduler.wait(user_id="alice", timeout=5)

    for item, expected in ((bad, state), (other, TaskState.COMPLETED)):
        status = await scheduler.get_task_status(item)
        assert status is not None
        assert status.state is expected
    assert not scheduler._worker.cycle.dispatcher.held  # type: ignore[union-attr]


async def test_the_servers_refusal_is_no_handlers_error(make_scheduler: MakeScheduler) -> None:
    refusals = 3
    ran = 0

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        nonlocal ran
        ran += 1
        if ran <= refusals:
            try:
                raise ServerRefused("OOM command not allowed when used memory > 'maxmemory'.")
            except ServerRefused as error:
                raise RuntimeError("the step was not kept") from error

    scheduler = make_scheduler(max_errors=0)
    scheduler.register_handlers({"task": Handler(handle, batch_size=1)})
    await scheduler.start()
    await scheduler.submit_messages(sent := message())

    async def done() -> bool:
        status = await scheduler.get_task_status(sent)
        return status is not None and status.state is TaskState.COMPLETED

    await until(done, "it to be done")
    assert ran == refusals + 1
    assert not await dead_letters(scheduler)


async def test_a_newer_message_waits_for_a_newer_worker(
    make_scheduler: MakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "_NEWER_PAUSE_SECONDS", 0.1)
    done: list[str] = []

    async def handle(batch: Messages) -> None:
        done.extend(item.content for item in batch)

    old, producer = make_scheduler(), make_scheduler()
    old.register_handlers({"task": handle})
    await old.start()
    server, lane = await producer.server(), producer.keys.lane("task", "", "")
    await server.execute("XADD", lane.stream, "*", *message("from tomorrow").to_wire(), "v", "2")
    await producer.submit_messages(message("from today"))
    await until(lambda: done == ["from today"], "the neighbour")
    await asyncio.sleep(0.5)  # it goes round a few times
    assert (await producer.read_status()).total.backlog == 1
    assert not await dead_letters(producer)
    await old.stop()

    monkeypatch.setattr(messages, "WIRE_VERSION", "2")
    new = make_scheduler()
    new.register_handlers({"task": handle})
    await new.start()
    await until(lambda: done == ["from today", "from tomorrow"], "a worker that knows it")


async def test_events_of_a_newer_writer_and_of_strangers_hide_no_other(make_scheduler: MakeScheduler) -> None:
    scheduler = make_scheduler()
    event = ScheduleLogForWebItem(
        user_id="u", mem_cube_id="c", label="L", from_memory_type="a", to_memory_type="b", log_content="x"
    )
    server, key = await scheduler.server(), scheduler.keys.events
    *names, text = event.to_wire()
    await server.execute("XADD", key, "*", *names, text[:-1] + ',"new_field":1}')
    for stranger in ("[]", "no JSON", "{}", "7"):
        await server.execute("XADD", key, "*", *names, stranger)
    await server.execute("XADD", key, "*", "other", "fields")

    assert await scheduler.get_web_log_messages() == [event]


async def test_a_letter_that_was_submitted_again_is_not_sent_as_well(make_scheduler: MakeScheduler) -> None:
    gate = asyncio.Event()
    runs: list[str] = []

    async def handle(batch: Messages, ctx: HandlerContext) -> None:
        runs.extend(item.item_id for item in batch)
        if not gate.is_set():
            ctx.fail(batch[0], "no")

    scheduler = make_scheduler()
    scheduler.register_handlers({"task": handle})
    await scheduler.start()
    known, forgotten = message(item_id="known"), message(item_id="forgotten")
    await scheduler.submit_messages([known, forgotten])
    await scheduler.wait(timeout=20)
    server = await scheduler.server()
    await server.execute("DEL", scheduler.keys.lane("task", "", "").task("alice", "forgotten"))  # as after its time
    gate.set()
    assert (await scheduler.submit_messages(known))[0].outcome == "duplicate"
    await scheduler.submit_messages(forgotten, delay=0.3)

    letters = await scheduler.dead_letters()
    assert await letters.redrive(DeadFilter()) == 1
    await scheduler.wait(timeout=20)

    assert sorted(runs) == ["forgotten", "forgotten", "known", "known"]
    assert not await dead_letters(scheduler)
    assert await letters.redrive(DeadFilter()) == 0
