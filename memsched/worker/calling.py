"""How a handler is called: on the loop or in a thread, where its context goes, and what its result must not be.

Whatever cannot be run rightly is refused when it is registered, or fails when it is run. Nothing counts as done that
never ran.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from threading import Thread
from types import (
    AsyncGeneratorType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

_CONTEXT_NAMES = ("ctx", "context")
_ITERATED = (GeneratorType, AsyncGeneratorType, map, filter, zip)
"""What does nothing until somebody asks it for its items."""
_CALLED = (functools.partial, FunctionType, MethodType)
_VIEWS: tuple[type[Any], ...] = (type({}.keys()), type({}.values()), type({}.items()), MappingProxyType)
_CONTAINERS: tuple[type[Any], ...] = (dict, list, tuple, set, frozenset, deque, *_VIEWS)
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_NEVER_ENTERED: tuple[type[Any], ...] = (type, ModuleType, *_CALLED[1:], asyncio.Future, Future, AbstractEventLoop)
_MACHINERY = ("asyncio", "uvloop", "threading", "concurrent", "contextvars", "logging")
_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: of a class that was written in Python, or by an extension."""
_MOST_LOOKED_AT = 10_000
_ADVICE = "run it in the handler: await, asyncio.gather, list"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Calling:
    """How one handler function is called.

    Args:
        on_loop: whether it is async.
        wants_context: whether it gets its context.
        context_name: by which name, when it does not get it as its second argument.
    """

    on_loop: bool
    wants_context: bool = False
    context_name: str | None = None

    def __call__(self, function: Callable[..., Any], messages: list[Any], context: Any) -> Any:
        if not self.wants_context:
            return function(messages)
        if self.context_name is None:
            return function(messages, context)
        return function(messages, **{self.context_name: context})


def calling_of(function: Any) -> Calling:
    """Raises ValueError with the reason why it can be no handler."""
    target = _refuse_what_is_no_function(function)
    on_loop = any(map(inspect.iscoroutinefunction, (function, target)))
    try:
        signature = inspect.signature(function, follow_wrapped=False)
        if _takes_anything(signature) and hasattr(function, "__wrapped__"):
            signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return Calling(on_loop)
    parameters = list(signature.parameters.values())
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    if not positional and not _takes_anything(signature):
        raise ValueError("takes no messages; write it as handle(messages) or handle(messages, ctx)")
    if positional and positional[0].name in ("self", "cls"):
        raise ValueError(f"is a method without its object; give object.{getattr(target, '__name__', 'method')}")
    context = _context_among(positional[1:2], parameters[1:] if positional else parameters)
    unfilled = [
        parameter.name
        for parameter in parameters
        if parameter is not context
        and parameter not in positional[:1]
        and parameter.default is inspect.Parameter.empty
        and parameter.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
    ]
    if unfilled:
        raise ValueError(f"needs {', '.join(unfilled)}, which nobody gives it; a handler gets messages, and a context")
    if context is None or positional[1:2] == [context]:
        return Calling(on_loop, context is not None)
    return Calling(on_loop, True, context.name)


def _refuse_what_is_no_function(function: Any) -> Any:
    """What is run in the end, under partials and decorators that say so."""
    if inspect.iscoroutine(function):
        function.close()
        raise ValueError("was called already; give the function itself, without ()")
    if inspect.isawaitable(function) or isinstance(function, _ITERATED):
        raise ValueError("was called already; give the function itself, without ()")
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    if isinstance(target, type):
        raise ValueError("is a class; give an object of it that can be called, or a function")
    if not callable(target):
        raise ValueError("cannot be called")
    target = inspect.unwrap(target)
    if not (inspect.isroutine(target) or inspect.iscoroutinefunction(target)):
        target = inspect.unwrap(type(target).__call__)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise ValueError("is a generator, of which nothing would be run; return instead of yield")
    return target


def _takes_anything(signature: inspect.Signature) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in signature.parameters.values())


def _context_among(second: list[inspect.Parameter], rest: list[inspect.Parameter]) -> inspect.Parameter | None:
    """The parameter that is named or annotated as a context, or else the second, if it has no default of its own.

    A default means that it is something else: ``def handle(messages, number=number)`` in a loop.
    """
    named = (*_POSITIONAL[1:], inspect.Parameter.KEYWORD_ONLY)
    for parameter in rest:
        can_be_given = parameter.kind in named or parameter in second
        if can_be_given and (parameter.name in _CONTEXT_NAMES or "HandlerContext" in str(parameter.annotation)):
            return parameter
    return second[0] if second and second[0].default is inspect.Parameter.empty else None


async def run_to_the_end(result: Any) -> None:
    """What a handler returned may be work that was not done yet: wait for it. Raises TypeError if nobody can."""
    while result is not None:
        if isinstance(result, Future):
            result = asyncio.wrap_future(result)
        if inspect.isawaitable(result):
            result = await result
            continue
        if _is_lazy(result) or _is_not_started(result) or isinstance(result, _CALLED):
            raise TypeError(f"the handler returned a {type(result).__name__}, of which nothing was run")
        if type(result) in _PLAIN:
            return
        waiting = list(_unfinished(result))
        for one in waiting:
            if inspect.iscoroutine(one):
                one.close()
        if waiting:
            one = type(waiting[0]).__name__
            raise TypeError(f"the handler returned a {one} in a {type(result).__name__}; {_ADVICE}")
        return


def _is_lazy(result: Any) -> bool:
    """Whether nothing was run of it. Other iterators (a file, a cursor) stand for what was done already."""
    kind = type(result)
    return isinstance(result, _ITERATED) or (kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__"))


def _unfinished(result: Any) -> Iterator[Any]:
    """What is still to be done of what a container holds, at any depth. Of very much, the beginning counts.

    In an object of another class (a dataclass, a response that knows its client) only a coroutine that was never
    started is surely a mistake: what else waits there may be somebody's work. No code of such an object is run.
    """
    found = deque([(result, True)])
    seen: set[int] = set()
    for _ in range(_MOST_LOOKED_AT):
        if not found:
            return
        one, contained = found.popleft()
        if type(one) in _PLAIN or id(one) in seen:
            continue
        seen.add(id(one))
        if inspect.iscoroutine(one):
            if contained or inspect.getcoroutinestate(one) == inspect.CORO_CREATED:
                yield one
        elif contained and one is not result and (_is_lazy(one) or _is_awaited(one) or _is_not_started(one)):
            yield one
        elif isinstance(one, _CONTAINERS):
            found.extend((held, contained) for held in islice(gc.get_referents(one), _MOST_LOOKED_AT))
        elif _is_instance(one):
            found.extend((held, False) for held in gc.get_referents(one))


def _is_instance(one: Any) -> bool:
    """Whether it is an object with attributes, and none that knows all that waits in this process."""
    kind = type(one)
    if isinstance(one, _NEVER_ENTERED) or kind.__module__.partition(".")[0] in _MACHINERY:
        return False
    return bool(kind.__flags__ & _HEAP_TYPE) or kind is SimpleNamespace


def _is_not_started(one: Any) -> bool:
    return isinstance(one, Thread) and one.ident is None


def _is_awaited(one: Any) -> bool:
    if isinstance(one, asyncio.Future | Future) and one.done():
        return one.cancelled() or one.exception() is not None  # nobody has looked at it
    return inspect.isawaitable(one) or isinstance(one, Future)
