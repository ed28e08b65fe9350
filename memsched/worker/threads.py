"""The thread pool in which sync handlers run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from memsched.worker.forks import ForkGuard

_Work: TypeAlias = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class HandlerThreads:
    """A pool of daemon threads. They keep no process from ending, however long a handler runs.

    Nor does it refuse work once the main thread has ended, as the pools of concurrent.futures do: the messages would
    fail for it.

    Args:
        most: threads at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run it in a thread. Not to be called by two threads at once, nor after ``close``."""
        future: Future[Any] = Future()
        self._work.put((future, function, args))
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            name = f"memsched-handler_{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """End the threads, each after what it runs now. What no thread has begun is cancelled."""
        while True:
            try:
                work = self._work.get_nowait()
            except Empty:
                break
            if work is not None:
                work[0].cancel()
        self._work.put(None)

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except Empty:
                self._idle.release()
                work = self._work.get()
            if work is None:
                self._work.put(None)  # for the next thread
                return
            _run(*work)
            del work  # what the handler was given is not kept until the next call


def _run(future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        with ForkGuard():
            result = function(*args)
    except BaseException as error:  # noqa: BLE001 -- whatever a handler raises is its outcome
        future.set_exception(error)
    else:
        future.set_result(result)
