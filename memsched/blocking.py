"""The sync face of an async object, made from it: one line per method, with its parameters, types and docstring.

    class Mailbox(Blocking[AsyncMailbox]):
        send = blocking(AsyncMailbox.send)
        capacity = shared(AsyncMailbox.capacity)

The async object runs on an event loop in a thread of its own; who calls waits for the result. What holds for threads,
forks, event loops and Ctrl-C is said at ``EventLoopThread``.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from types import FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from memsched.errors import CalledFromOwnLoop, SchedulerStopped, WorkerFailed
from memsched.logs import exception_field, get_logger

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")
log = get_logger(__name__)

_CANCELLED = "A task cancelled the others on the event loop, or broke it, and this call with it; call start() again."
_END_SECONDS = 5.0
"""For which the thread may take to unwind what it still runs. It is a daemon: it keeps no process."""


class EventLoopThread:
    """An event loop in a thread of its own, started at the first call.

    Threads: any number may call at once, the first call included; there is one loop.
    Forks: the loop stays in the process that started it; a child starts one of its own at its first call.
    Event loops: a call within a running one works, and holds that loop up until its result is there. A call from this
    very loop (an async handler that uses the sync face) could never end, and raises CalledFromOwnLoop.
    Ctrl-C: the call that is waited for is cancelled on the loop.
    ``close``: calls that others still wait for end with SchedulerStopped.
    ``sys.exit`` in a task, and ``loop.stop``: the loop goes on. A task that cancels all others: WorkerFailed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: threading.Event | None = None
        self._calls: set[Future[Any]] = set()
        _all_threads.add(self)

    @property
    def running(self) -> bool:
        return self._loop is not None

    def call(self, function: Callable[[], Awaitable[T]], timeout: float | None = None) -> T:
        """Run a coroutine function on the loop, and wait for its result. Raises TimeoutError after so many seconds."""
        if threading.current_thread() is self._thread:
            raise CalledFromOwnLoop
        future, thread = self._begin(function)
        try:
            return future.result(timeout)
        except CancelledError:
            if self._thread is thread:
                raise WorkerFailed(_CANCELLED) from None
            raise SchedulerStopped from None
        except BaseException:
            future.cancel()  # Ctrl-C: nobody waits for it any more
            raise

    async def acall(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function on the loop, for code on another one, which goes on meanwhile; on this one itself,
        run it here.
        """
        if threading.current_thread() is self._thread:
            return await function()
        future, _ = self._begin(function)
        return await asyncio.wrap_future(future)

    def direct(self, function: Callable[[], T]) -> T:
        """Call a function that awaits nothing: on the loop if there is one, whose data it may change, else here."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function()

        async def on_the_loop() -> T:
            return function()

        return self.call(on_the_loop)

    def close(self) -> None:
        """End the thread. The next call starts another one."""
        with self._lock:
            thread, loop, ended = self._thread, self._loop, self._ended
            self._thread = self._loop = self._ended = None
            if thread is None or loop is None or ended is None:
                return
            with suppress(RuntimeError):  # a handler broke the loop, and its thread has ended
                loop.call_soon_threadsafe(_end, loop, ended)
        if threading.current_thread() is thread:
            return
        thread.join(_END_SECONDS)
        if thread.is_alive():
            log.warning("a handler does not let its event loop end; it is left behind", action="loop.abandoned")

    def forget(self) -> None:
        """In a child after a fork: the thread is the parent's, whatever state it was in."""
        _parents_things.append((self._thread, self._loop, self._ended, self._calls))
        self._lock = threading.Lock()
        self._thread = self._loop = self._ended = None
        self._calls = set()

    def _begin(self, function: Callable[[], Awaitable[T]]) -> tuple[Future[T], threading.Thread]:
        async def run() -> T:
            return await function()

        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._start()
            assert self._loop is not None
            assert self._thread is not None
            loop, thread = self._loop, self._thread
            future = asyncio.run_coroutine_threadsafe(run(), loop)
            calls = self._calls
            calls.add(future)
            future.add_done_callback(calls.discard)
            return future, thread

    def _start(self) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, threading.Event]] = Future()
        calls: set[Future[Any]] = set()
        thread = threading.Thread(target=_run_loop, args=(started, calls), name="memsched", daemon=True)
        thread.start()
        self._loop, self._ended = started.result()
        self._thread, self._calls = thread, calls


def _run_loop(started: Future[tuple[asyncio.AbstractEventLoop, threading.Event]], calls: set[Future[Any]]) -> None:
    ended = threading.Event()
    with asyncio.Runner() as runner:
        try:
            loop = runner.get_loop()
        except BaseException as error:
            started.set_exception(error)
            raise
        asyncio.set_event_loop(loop)
        loop.call_soon(started.set_result, (loop, ended))
        try:
            _go_on(loop, ended.is_set)
            unwinding = loop.create_task(_unwind())
            unwinding.add_done_callback(lambda _: loop.stop())
            _go_on(loop, unwinding.done)
        finally:
            for future in list(calls):  # the loop is broken
                future.cancel()


def _end(loop: asyncio.AbstractEventLoop, ended: threading.Event) -> None:
    ended.set()
    loop.stop()


def _go_on(loop: asyncio.AbstractEventLoop, done: Callable[[], bool]) -> None:
    """Run the loop until something is done, whatever its tasks do.

    ``sys.exit`` in a task ends ``run_forever`` and not only the task, and so does ``loop.stop()``: everybody's calls
    would end with it. Who awaits that task gets the exception all the same.
    """
    while not done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            log.error("a task would have ended the event loop", action="loop.kept", **exception_field(error))


async def _unwind() -> None:
    """Cancel all other tasks, and wait for them."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)


_all_threads: weakref.WeakSet[EventLoopThread] = weakref.WeakSet()
_parents_things: list[Any] = []
"""Kept: the child of a fork must close nothing that it shares with its parent."""


def _after_fork() -> None:
    for thread in list(_all_threads):
        thread.forget()


os.register_at_fork(after_in_child=_after_fork)


class Blocking(Generic[A]):
    """Base class of a sync face: the async object, and the thread whose loop runs it."""

    def __init__(self, asynchronous: A, thread: EventLoopThread) -> None:
        self._async = asynchronous
        self._thread = thread

    def __init_subclass__(cls) -> None:
        """Name the methods after this class, for tracebacks and ``help``: they were made for no class yet."""
        super().__init_subclass__()
        for name, method in vars(cls).items():
            if isinstance(method, FunctionType) and hasattr(method, "__wrapped__"):
                method.__qualname__, method.__module__ = f"{cls.__qualname__}.{name}", cls.__module__


def blocking(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking[A], P], T]:
    """The async method, for code that cannot await: it returns when the result is there."""

    @functools.wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.call(functools.partial(method, self._async, *args, **kwargs))

    return call


def iterating(
    method: Callable[Concatenate[A, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[Blocking[A], P], Iterator[T]]:
    """The async generator as one for ``for``: each piece is asked for when the loop wants it."""

    @functools.wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        pieces = method(self._async, *args, **kwargs)
        try:
            while True:
                try:
                    piece = self._thread.call(pieces.__anext__)
                except StopAsyncIteration:
                    return
                yield piece
        finally:
            self._thread.call(pieces.aclose)

    # For get_type_hints and help: what an annotation names is looked up in the module of the async method.
    hints = method.__annotations__ | {"return": Iterator}
    call.__annotations__ = hints
    call.__signature__ = inspect.signature(method).replace(return_annotation=Iterator)  # type: ignore[attr-defined]
    return call


def direct(method: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[Blocking[A], P], T]:
    """A method that awaits nothing: it runs on the loop, whose data it may change, or here if there is none."""

    @functools.wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.direct(functools.partial(method, self._async, *args, **kwargs))

    return call


class Delegated(Generic[T]):
    """An attribute that stands in a part of the object, and is read and set there.

    Args:
        place: where, from the object: ``retriever.method``.
        doc: what it means, for ``help`` and editors.
    """

    def __init__(self, place: str, doc: str | None = None) -> None:
        self.place = place
        self.__doc__ = doc
        *self._parts, self._name = place.split(".")

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any]) -> Self | T:
        return self if instance is None else getattr(self._holder(instance), self._name)

    def __set__(self, instance: object, value: T) -> None:
        setattr(self._holder(instance), self._name, value)

    def _holder(self, instance: object) -> Any:
        return functools.reduce(getattr, self._parts, instance)


def shared(attribute: Delegated[T]) -> Delegated[T]:
    """The attribute of the async object, in its sync face."""
    return Delegated(f"_async.{attribute.place}", attribute.__doc__)
