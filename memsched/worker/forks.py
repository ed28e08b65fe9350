"""Forks in handlers: a child that a handler forked must not come back out of it, into the worker's own code."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Generator
from contextlib import suppress
from types import TracebackType, coroutine
from typing import Any

_WORD = b"memsched: a process that a handler forked came out of the handler; it ends here (see os._exit)\n"


class ForkGuard:
    """Around a handler: ends a child of this process that leaves it, by a return, an error or sys.exit.

    It has copies of the worker's connections, loop and queue, and would run the parent's messages on them.
    """

    __slots__ = ("_process",)

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        _end_if_forked_from(self._process, error)


@coroutine
def guarded(work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await ``work`` under a guard at each of its steps: a child that awaits something would run the loop's next."""
    process = os.getpid()
    value, error = None, None
    while True:
        try:
            step = work.send(value) if error is None else work.throw(error)
        except StopIteration as end:
            _end_if_forked_from(process, None)
            return end.value
        except BaseException as raised:
            _end_if_forked_from(process, raised)
            raise
        _end_if_forked_from(process, None)
        value, error = None, None
        try:
            value = yield step
        except BaseException as thrown:  # noqa: BLE001 -- it is thrown where the work waits
            error = thrown


def _end_if_forked_from(process: int, error: BaseException | None) -> None:
    if os.getpid() == process:
        return
    with suppress(OSError):
        os.write(2, _WORD)
    code = error.code if isinstance(error, SystemExit) else error
    os._exit(code if isinstance(code, int) else int(code is not None))
