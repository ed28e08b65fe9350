"""The sync face of an async object, made from it: one line per method, with its parameters, types and docstring.

    class Mailbox(Blocking[AsyncMailbox]):
        send = blocking(AsyncMailbox.send)
        capacity = shared(AsyncMailbox.capacity)

The async object runs on an event loop in a thread of its own (anyio's blocking portal); who calls waits for the result.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from types import FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")


class EventLoopThread:
    """An event loop in a thread of its own, started at the first call."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._stack = contextlib.ExitStack()

    @property
    def running(self) -> bool:
        return self._portal is not None

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function on the loop, and wait for its result."""
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal(name="memsched"))
        return self._portal.call(function)

    def close(self) -> None:
        """End the thread. The next call starts another one."""
        self._portal = None
        with contextlib.suppress(CancelledError):
            self._stack.close()


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

    call.__signature__ = inspect.signature(method).replace(return_annotation=Iterator)  # type: ignore[attr-defined]
    return call


def direct(method: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[Blocking[A], P], T]:
    """A method that does not await anything, as it is: it runs in the caller's thread."""

    @functools.wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self._async, *args, **kwargs)

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
