"""The sync face of an async object: the same names, parameters, types and docstrings, and a thread that runs it."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
import re
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import memsched.blocking
from memsched import MOS, AsyncMemScheduler, AsyncMOS, MemScheduler
from memsched.blocking import Blocking, Delegated, EventLoopThread, blocking, direct, iterating, shared
from memsched.errors import WorkerFailed
from memsched.memory.search.retriever import Retriever
from memsched.message_queue import AsyncMessageQueue, MessageQueue
from memsched.queue.dead_letters import DeadLetters, SyncDeadLetters
from memsched.sync_scheduler import SyncRetriever


class Tank:
    level = 1


class AsyncPump:
    def __init__(self) -> None:
        self.tank = Tank()
        self.closed = 0

    level = Delegated[int]("tank.level", "Litres.")

    async def pump(self, litres: int, *, into: str = "tank") -> list[str]:
        """Pump so many litres.

        Args:
            into: where to.
        """
        if litres < 0:
            raise ValueError("no litres")
        return [f"{litres} {into}", threading.current_thread().name]

    async def drops(self, count: int, *, last: str | None = None) -> AsyncGenerator[str, None]:
        """Drop by drop."""
        try:
            for number in range(count):
                yield f"drop {number}"
            if last == "break":
                raise ValueError("broken")
        finally:
            self.closed += 1

    def label(self, text: str) -> str:
        """What is on it."""
        return f"{text} {threading.current_thread().name}"


class Pump(Blocking[AsyncPump]):
    level = shared(AsyncPump.level)
    pump = blocking(AsyncPump.pump)
    drops = iterating(AsyncPump.drops)
    label = direct(AsyncPump.label)


@pytest.fixture
def thread() -> Iterator[EventLoopThread]:
    thread = EventLoopThread()
    yield thread
    thread.close()


@pytest.fixture
def pump(thread: EventLoopThread) -> Pump:
    return Pump(AsyncPump(), thread)


def test_a_method_returns_what_the_async_one_does_from_a_thread_of_its_own(pump: Pump) -> None:
    said, where = pump.pump(3, into="bucket")

    assert said == "3 bucket"
    assert where != threading.current_thread().name


def test_an_exception_comes_out_as_it_is(pump: Pump) -> None:
    with pytest.raises(ValueError, match="no litres"):
        pump.pump(-1)


def test_a_method_that_awaits_nothing_runs_in_the_callers_thread_and_starts_none(
    pump: Pump, thread: EventLoopThread
) -> None:
    assert pump.label("water") == f"water {threading.current_thread().name}"
    assert not thread.running


def test_an_async_generator_is_iterated(pump: Pump) -> None:
    assert list(pump.drops(3)) == ["drop 0", "drop 1", "drop 2"]
    assert list(pump.drops(0)) == []
    with pytest.raises(ValueError, match="broken"):
        list(pump.drops(1, last="break"))
    assert pump._async.closed == 3


def test_a_generator_that_is_left_early_is_closed(pump: Pump) -> None:
    drops = pump.drops(3)

    assert next(drops) == "drop 0"
    drops.close()  # type: ignore[attr-defined]

    assert pump._async.closed == 1


def test_an_attribute_is_read_and_set_where_it_stands(pump: Pump) -> None:
    assert pump.level == 1
    pump.level = 5

    assert (pump._async.level, pump._async.tank.level) == (5, 5)
    assert Pump.level.__doc__ == "Litres."


def test_two_faces_share_a_thread_which_may_be_ended_and_started_again(pump: Pump, thread: EventLoopThread) -> None:
    other = Pump(AsyncPump(), thread)
    loops = {pump.pump(1)[1], other.pump(1)[1]}
    assert len(loops) == 1

    thread.close()
    assert not thread.running

    assert pump.pump(2)[0] == "2 tank"


async def exits() -> None:
    sys.exit(3)


async def exits_in_a_task() -> None:
    await asyncio.wait_for(exits(), 5)


async def exits_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.01)


async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()


@pytest.mark.parametrize("ends_it", [exits_in_a_task, exits_in_a_callback, stops_the_loop])
def test_what_would_end_the_loop_ends_nobody_elses_call(ends_it: Callable[[], Any], thread: EventLoopThread) -> None:
    with ThreadPoolExecutor() as pool:
        other = pool.submit(thread.call, lambda: asyncio.sleep(0.1, "other"))
        try:
            thread.call(ends_it)
        except SystemExit as error:
            assert error.code == 3

        assert other.result(5) == "other"


def test_a_call_that_others_cancel_says_so_and_the_next_one_works(thread: EventLoopThread) -> None:
    async def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with ThreadPoolExecutor() as pool:
        other = pool.submit(thread.call, lambda: asyncio.sleep(5))
        thread.call(lambda: asyncio.sleep(0.05))
        thread.call(cancel_all)

        with pytest.raises(WorkerFailed):
            other.result(5)
    assert thread.call(lambda: asyncio.sleep(0, "next")) == "next"


def test_a_task_that_exits_while_it_is_ended_keeps_nobody_waiting(thread: EventLoopThread) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            sys.exit(3)

    async def begin() -> Any:
        return asyncio.create_task(stubborn())

    task = thread.call(begin)
    thread.close()

    assert task.done()
    assert task.get_loop().is_closed()


def test_help_shows_the_name_the_parameters_and_the_docstring() -> None:
    method = MemScheduler.submit_messages
    told = pydoc.render_doc(method, renderer=pydoc.plaintext)

    assert (method.__qualname__, method.__module__) == ("MemScheduler.submit_messages", "memsched.sync_scheduler")
    assert "submit_messages(self, messages: 'Messages', *, delay: 'Seconds' = 0.0) -> 'list[SubmitResult]'" in told
    assert "Submit one message or several; when it returns, they are kept" in told


# What an operator's code needs, or what is another object without a sync face.
ONLY_ASYNC = {"server", "memory", "memory_soon", "over"}
OWN = {"stop"}


@pytest.mark.parametrize(
    ("face", "asynchronous"),
    [
        (MemScheduler, AsyncMemScheduler),
        (MOS, AsyncMOS),
        (MessageQueue, AsyncMessageQueue),
        (SyncRetriever, Retriever),
        (SyncDeadLetters, DeadLetters),
    ],
)
def test_a_sync_face_has_all_that_the_async_one_has(face: type[Any], asynchronous: type[Any]) -> None:
    public = {name for name in vars(asynchronous) if not name.startswith("_")} - ONLY_ASYNC

    assert public <= vars(face).keys()
    for name in public - OWN:
        ours, theirs = getattr(face, name), getattr(asynchronous, name)
        assert ours.__doc__ == theirs.__doc__, name
        if callable(theirs):
            kept = [inspect.signature(each).replace(return_annotation=None) for each in (ours, theirs)]
            assert kept[0] == kept[1], name
            assert not inspect.iscoroutinefunction(ours), name
    for name in public & OWN:
        assert inspect.signature(getattr(face, name)) == inspect.signature(getattr(asynchronous, name))


SCRIPT = """
from collections.abc import AsyncGenerator
from blocking_copy import Blocking, Delegated, blocking, direct, iterating, shared

class AsyncPump:
    level = Delegated[int]("tank.level")
    async def pump(self, litres: int, *, into: str = "tank") -> list[str]: return []
    async def drops(self, count: int) -> AsyncGenerator[str, None]: yield ""
    def label(self, text: str) -> bytes: return b""

class Pump(Blocking[AsyncPump]):
    level = shared(AsyncPump.level)
    pump = blocking(AsyncPump.pump)
    drops = iterating(AsyncPump.drops)
    label = direct(AsyncPump.label)

def use(pump: Pump) -> None:
    reveal_type(pump.pump)
    reveal_type(pump.drops)
    reveal_type(pump.label)
    reveal_type(pump.level)
    pump.pump(1, onto="x")
    pump.pump("1")
    pump.level = "high"
"""


def test_mypy_sees_parameters_names_defaults_and_results(tmp_path: Path) -> None:
    """Of a copy, by itself: all of memsched would take it a minute."""
    (tmp_path / "blocking_copy.py").write_text(Path(memsched.blocking.__file__).read_text("utf-8"), encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    options = ("--strict", "--follow-imports=skip", "--cache-dir", "cache")
    mypy = [sys.executable, "-m", "mypy", *options, "script.py", "blocking_copy.py"]
    told = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.splitlines()

    revealed = re.findall(r'Revealed type is "(.*)"', "\n".join(told))
    assert [re.sub(r"(builtins|typing|collections\.abc)\.", "", each) for each in revealed] == [
        "def (litres: int, *, into: str =) -> list[str]",
        "def (count: int) -> Iterator[str]",
        "def (text: str) -> bytes",
        "int",
    ]
    errors = [line.rpartition("[")[2].rstrip("]") for line in told if line.startswith("script.py") and "error:" in line]
    assert errors == ["call-arg", "arg-type", "assignment"]


@pytest.mark.parametrize("face", [MemScheduler, MOS, MessageQueue, SyncRetriever, SyncDeadLetters])
def test_the_annotations_of_a_sync_face_resolve(face: type[Any]) -> None:
    for name, method in vars(face).items():
        if callable(method) and not name.startswith("_"):
            assert "return" in get_type_hints(method), name
    assert get_type_hints(MOS.chat_stream)["query"] is str
