"""One worker process: loads the handlers, runs a worker until it is told to stop.

Started by the supervisor as ``python -m memsched.process``; settings come from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import importlib.machinery
import importlib.util
import os
import select
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.console.terminal import open_closed_streams
from memsched.errors import (
    HandlerNotLoaded,
    MemschedError,
    SchedulerNotStarted,
    ServerTooOld,
    SettingsError,
    WorkerFailed,
)
from memsched.escaping import describe_error
from memsched.handlers.lazy_services import LazyServices
from memsched.handlers.registration import register_memory_handlers
from memsched.logs import configure_logs, drain_logs, exception_field, get_logger, write_line
from memsched.policy.strategy import WorkingSetPolicy
from memsched.policy.transitions import TransitionRules
from memsched.settings import Settings
from memsched.worker.handlers import Orchestrator
from memsched.worker.supervisor import READY
from memsched.worker.worker import Worker, become_a_worker_process, new_worker_id

log = get_logger(__name__)

_NOT_THE_APPLICATION = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_PR_SET_PDEATHSIG = 1
_WILL_NOT_GET_BETTER = (SettingsError, HandlerNotLoaded, SchedulerNotStarted, ServerTooOld)
EXIT_FAILED = 1
EXIT_WRONG_USE = 2
_ONE_REQUEST_SECONDS = 0.5
"""The kernel tells of a parent's death once for each of its threads: such signals are one request, not two."""


def load_app(settings: Settings) -> Orchestrator:
    """The handlers that MEMSCHED_APP (``module:attribute``) names.

    The attribute is a dictionary as for ``register_handlers``, or a scheduler with handlers registered. Modules are
    looked for in the working directory too. Without one (which is enough where memsched's own handlers
    run), the orchestrator has no handlers. Raises HandlerNotLoaded, with what to do.
    """
    orchestrator = Orchestrator(settings)
    if not settings.app and settings.memory:
        return orchestrator
    app = _named(settings)
    if isinstance(app, Mapping):
        orchestrator.register(app)
    elif isinstance(found := getattr(app, "orchestrator", None), Orchestrator):
        orchestrator.register(found.handlers)
        orchestrator.tasks_priorities.update(found.tasks_priorities)
        orchestrator.tasks_min_idle_ms.update(found.tasks_min_idle_ms)
        orchestrator.middleware += found.middleware
    else:
        raise HandlerNotLoaded(
            f"MEMSCHED_APP={settings.app} is a {type(app).__name__}, not a dictionary of handlers or a scheduler."
        )
    if not orchestrator.handlers and not settings.memory:
        raise HandlerNotLoaded(f"MEMSCHED_APP={settings.app} has no handlers.")
    return orchestrator


def load_policy(settings: Settings) -> WorkingSetPolicy | None:
    """The ``working_set_policy`` of the scheduler that MEMSCHED_APP names; None: memsched's own."""
    return getattr(_named(settings), "working_set_policy", None) if settings.app else None


def load_rules(settings: Settings) -> TransitionRules | None:
    """The ``transition_rules`` of that scheduler; None: what the settings say."""
    return getattr(_named(settings), "transition_rules", None) if settings.app else None


def _named(settings: Settings) -> Any:
    """What MEMSCHED_APP names. Raises HandlerNotLoaded."""
    module_name, _, attribute = settings.app.partition(":")
    if not module_name or not attribute:
        raise HandlerNotLoaded(
            f"MEMSCHED_APP is {settings.app!r}; set it to module:attribute, where the attribute is "
            "{'MY_LABEL': handle} or a MemScheduler with registered handlers."
        )
    try:
        app: Any = _imported(module_name)
        for part in attribute.split("."):
            app = getattr(app, part)
    except (Exception, SystemExit) as error:  # whatever the application's code raises
        raise HandlerNotLoaded(f"MEMSCHED_APP={settings.app}: {_where_and_what(error)}.") from error
    return app


def _imported(module_name: str) -> Any:
    """The application's module: that of the working directory, where there is one of this name.

    What it imports is looked for there last: a redis.py beside it is not what the rest of this process gets. Nor does
    one of a name that Python has take the place of Python's.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was deleted
        return importlib.import_module(module_name)
    if folder not in sys.path:
        sys.path.append(folder)
    first = module_name.partition(".")[0]
    if first not in sys.modules and first not in sys.stdlib_module_names:
        spec = importlib.machinery.PathFinder.find_spec(first, [folder])
        if spec is not None and spec.loader is not None:
            module = sys.modules[first] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[first]
                raise
    return importlib.import_module(module_name)


def _where_and_what(error: BaseException) -> str:
    """File, line and error, in one line: the last line of the application's own code that was on its way."""
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [frame for frame in frames if not frame.filename.startswith(("<", *_NOT_THE_APPLICATION))]
    own = [frame for frame in own if "site-packages" not in frame.filename]
    if own:
        return f"{own[-1].filename}, line {own[-1].lineno}: {what}"
    return text if isinstance(error, (ImportError, AttributeError)) else what


async def run_worker(
    settings: Settings,
    orchestrator: Orchestrator,
    worker_id: str,
    policy: WorkingSetPolicy | None = None,
    rules: TransitionRules | None = None,
    tell_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run a worker until SIGTERM or SIGINT; at the second signal, hand everything back at once."""
    loop = asyncio.get_running_loop()
    stop_asked, hurry_asked = asyncio.Event(), asyncio.Event()
    asked_at = 0.0

    def on_signal() -> None:
        nonlocal asked_at
        if not stop_asked.is_set():
            stop_asked.set()
            asked_at = loop.time()
        elif loop.time() - asked_at > _ONE_REQUEST_SECONDS:
            hurry_asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    fork = _Fork()
    os.register_at_fork(before=fork.before, after_in_parent=fork.after, after_in_child=fork.after_in_child)
    server = await Server.connect(settings)
    keys = Keys(settings.prefix, settings.partitions)

    async def get_server() -> Server:
        return server

    memory = LazyServices(settings, keys, get_server)
    memory.policy, memory.rules = policy, rules
    if settings.memory:
        register_memory_handlers(orchestrator, memory)
    worker = Worker(server, keys, settings, orchestrator, worker_id, replaceable=True)
    try:
        worker.on_failure = stop_asked.set
        await worker.start()
        tell_ready()
        # What is loaded now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        await stop_asked.wait()
        stopping = asyncio.create_task(worker.stop())
        hurry = asyncio.create_task(hurry_asked.wait())
        await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
        if hurry.done() and not stopping.done():
            worker.hurry()
        await stopping
        hurry.cancel()
        if worker.failure is not None:
            raise WorkerFailed(describe_error(worker.failure))
    finally:
        await worker.stop(0.0)  # whatever ended this, a cancellation too: what it holds is handed back
        await memory.aclose()
        await server.aclose()


def run_loop(main: Callable[[], Any]) -> None:
    """Run a coroutine function on the fastest event loop that is installed."""
    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def die_with(parent: int) -> None:
    """On Linux: be told to stop when the parent is killed, so that no process goes on alone.

    Args:
        parent: its process id, as it says: it may have been killed before this process could ask who it is.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(f"memsched: process {parent}, which started this one, is gone")


class _StartReport:
    """What a worker process tells its supervisor about its start: one text, through the pipe it was given.

    The pipe then stays open, in this process alone: its end tells that this is no worker any more.
    """

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe
        self._told = False
        if pipe is not None:
            os.set_inheritable(pipe, False)
            os.register_at_fork(after_in_child=self._close)

    def tell_ready(self) -> None:
        self._tell(READY)

    def tell_why_not(self, reason: str) -> None:
        """It will not get better by another start."""
        if not self._tell(reason):
            _say(reason)

    def _tell(self, text: str) -> bool:
        """Whether there was a supervisor to be told."""
        if self._pipe is None or self._told:
            return False
        self._told = True
        with suppress(OSError):  # it is gone, and the kernel has told us to stop
            os.write(self._pipe, text.encode(errors="replace")[: select.PIPE_BUF])
        return True

    def _close(self) -> None:
        if self._pipe is not None:
            with suppress(OSError):  # a handler closed it
                os.close(self._pipe)
            self._pipe = None


class _Fork(threading.local):
    """A process that a handler forks (a pool of multiprocessing) is no worker: SIGTERM ends it, and tells nobody else.

    Without this it would ignore the signal, and write it into the pipe that it shares with its worker. One that comes
    while it is still being made waits until it knows that it is no worker.
    """

    _mask: set[int | signal.Signals]

    def before(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))

    def after(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def after_in_child(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.after()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m memsched.process", description=__doc__)
    parser.add_argument("--worker-id", default="", help="unique per start of a process; made up if not given")
    parser.add_argument("--supervisor", type=int, metavar="PID", help="stop when this one, which started it, is gone")
    parser.add_argument("--report-to", type=int, metavar="FD", help="a pipe: 'ready', or why it can never start")
    given = parser.parse_args()
    worker_id = given.worker_id or new_worker_id()
    if given.supervisor is not None:
        die_with(given.supervisor)
    report = _StartReport(given.report_to)
    code = 0
    open_closed_streams()
    try:
        settings = Settings.load()
        configure_logs(settings, worker=worker_id)
        become_a_worker_process()
        orchestrator, policy, rules = load_app(settings), load_policy(settings), load_rules(settings)
        run_loop(lambda: run_worker(settings, orchestrator, worker_id, policy, rules, report.tell_ready))
    except _WILL_NOT_GET_BETTER as error:
        report.tell_why_not(str(error))
        code = EXIT_WRONG_USE
    except MemschedError as error:
        _say(str(error))
        code = EXIT_FAILED
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- below, threads may keep the process
        log.error("the worker process failed", action="worker.failed", worker_id=worker_id, **exception_field(error))
        code = EXIT_FAILED
    if any(thread.name.startswith("memsched-handler") for thread in threading.enumerate()):
        # A sync handler that outlived the grace time cannot be stopped, and its message was handed back: it must not
        # keep the process, and must not go on beside the next owner.
        drain_logs()
        os._exit(code)
    sys.exit(code)


def _say(text: str) -> None:
    write_line(f"memsched: {text}")


if __name__ == "__main__":
    main()
