"""Worker processes that kill themselves in the middle of a memory handler, and a process that forks them quickly.

A step is a call that reaches Redis, the vector store or the context from within a handler, and the handler's end. A
worker whose TEST_CRASH_AT is "add 3" kills itself before its third step in that handler, unless the file
TEST_CRASH_MARK is there, which it makes first: it does so once, and whoever goes on after it is not killed again. With
TEST_SIGNAL it does that to itself instead: stopped, it becomes a zombie that goes on with this step when it is let.

``python -m support.crash_points`` imports what takes a second, and then forks a worker for every line that it reads (a
JSON object of environment variables), and says its process id.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

from support.processes import clean_environment, end

CRASH_AT = "TEST_CRASH_AT"
MARK = "TEST_CRASH_MARK"
STEPS = "TEST_STEPS"
SIGNAL = "TEST_SIGNAL"
_inside: ContextVar[str] = ContextVar("_inside", default="")
_counts: Counter[str] = Counter()


def step(what: str) -> None:
    """A moment at which a process may die."""
    if not (label := _inside.get()):
        return
    _counts[label] += 1
    here = f"{label} {_counts[label]}"
    if path := os.environ.get(STEPS):
        with open(path, "a") as file:
            file.write(f"{here}: {what}\n")
    mark = os.environ.get(MARK, "")
    if mark and here == os.environ[CRASH_AT] and not os.path.exists(mark):
        Path(mark).write_text(f"{label}: {what}")
        os.kill(os.getpid(), int(os.environ.get(SIGNAL, signal.SIGKILL)))


def watch_steps() -> None:
    """Have every step of the memory handlers counted in this process."""
    from memsched.broker.client import Server
    from memsched.handlers import registration
    from memsched.memory.store.store import MemoryStore
    from memsched.worker.context import HandlerContext

    def before(owner: Any, name: str) -> None:
        method = getattr(owner, name)

        async def counted(self: Any, *args: Any, **more: Any) -> Any:
            step(f"{owner.__name__}.{name}")
            return await method(self, *args, **more)

        setattr(owner, name, counted)

    before(MemoryStore, "_call")
    before(Server, "persistently")
    before(HandlerContext, "checkpoint")
    handle = registration.handle

    async def watched(function: Any, shared: Any, need: Any, messages: list[Any], ctx: Any) -> None:
        _inside.set(messages[0].label)
        await handle(function, shared, need, messages, ctx)
        step("end")

    registration.handle = watched


class Nursery:
    """Starts workers within milliseconds, by forking a process that has loaded everything."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "workers.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.crash_points"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=clean_environment(),
            text=True,
            cwd=folder,
        )

    def worker(self, **environment: str) -> int:
        """The process id of a new worker, which takes its settings from here."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(environment) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """Its workers are told by the kernel."""
        end(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


def gone(pid: int) -> bool:
    """Whether a process is there no more; the nursery does not keep the dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def nursery() -> None:
    """Fork a worker for each line; see the module."""
    import ctypes
    import gc
    import pkgutil

    import openai.resources.chat.completions  # noqa: F401
    import qdrant_client  # noqa: F401
    import redis.asyncio  # noqa: F401
    import uvloop  # noqa: F401

    from memsched import handlers, llm, memory, process
    from memsched.lexicon import stem

    for package in (handlers, llm, memory):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    stem("loads the stemmer")
    gc.collect()
    gc.freeze()  # or each child looks at all of it again, and has the kernel copy it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    watch_steps()
    for line in sys.stdin:
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(json.loads(line))
        sys.argv = ["worker"]
        os.dup2(2, 1)
        try:
            process.main()
        finally:
            os._exit(1)


if __name__ == "__main__":
    import_module("support.crash_points").nursery()  # the module that others import: __main__ is not it
