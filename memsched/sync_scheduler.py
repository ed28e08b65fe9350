"""``MemScheduler``: ``AsyncMemScheduler`` for code without an event loop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from memsched.at_exit import StopAtExit
from memsched.blocking import Blocking, EventLoopThread, blocking, direct, iterating, shared
from memsched.console.tables import print_events
from memsched.durations import Seconds, seconds_or_none
from memsched.errors import SchedulerNotStarted
from memsched.logs import get_logger
from memsched.memory.search.retriever import Retriever
from memsched.messages import ScheduleMessageItem
from memsched.original_names import AwaitableText, OriginalNames
from memsched.queue.dead_letters import SyncDeadLetters
from memsched.settings import Settings

if TYPE_CHECKING:
    pass


from memsched.message_queue import MessageQueue
from memsched.scheduler import AsyncMemScheduler

log = get_logger(__name__)

_STOP_MARGIN_SECONDS = 20.0
"""What ``stop`` may take beyond its grace time: handlers unwind, a server that does not answer is given up."""


class SyncRetriever(Blocking[Retriever]):
    """Search in the cubes that a user may read, without ``await``."""

    search = blocking(Retriever.search)


class MemScheduler(OriginalNames, Blocking[AsyncMemScheduler]):
    """``AsyncMemScheduler`` for code without an event loop: the same methods, run on a loop in a thread of its own.

    Async handlers run on that loop, sync handlers in threads.

    - Threads: any number may use it at once. ``stop`` ends what others still wait for with SchedulerStopped. A sync
      handler of its own may use it too; an async one gets CalledFromOwnLoop, and submits with its context.
    - Forks: a child (gunicorn's workers with preload, multiprocessing) opens connections of its own at its first call.
      Handlers run where ``start`` was called: a child that shall run them calls it itself. A memory:// queue
      stays in the parent; calls in the child raise LeftInParent.
    - Event loops: within a running one it works, and holds that loop up until the call returns. AsyncMemScheduler
      does not.
    - Ctrl-C ends the call that waits. In ``stop`` it cuts the grace time short, and everything is handed back.
    - The end of the main thread is a stop, with the grace time of MEMSCHED_GRACE_SECONDS: by an exception, by sys.exit,
      or because the script is over. Keep it in ``wait`` or ``join`` as long as handlers shall run. What only submits
      may be used by other threads until they have ended.
    """

    def __init__(self, settings: Settings | None = None, **given: Any) -> None:
        super().__init__(AsyncMemScheduler(settings, **given), EventLoopThread())
        self._exit = StopAtExit(self.stop)
        self.settings = self._async.settings
        self.orchestrator = self._async.orchestrator
        self.memos_message_queue = MessageQueue(self)
        self.retriever = SyncRetriever(self._async.retriever, self._thread)

    current_mem_cube = shared(AsyncMemScheduler.current_mem_cube)
    search_method = shared(AsyncMemScheduler.search_method)
    working_set_policy = shared(AsyncMemScheduler.working_set_policy)
    transition_rules = shared(AsyncMemScheduler.transition_rules)

    register_handlers = direct(AsyncMemScheduler.register_handlers)
    add_middleware = direct(AsyncMemScheduler.add_middleware)

    @property
    def running(self) -> bool:
        """Whether handlers run here: from ``start`` to ``stop``, in the process that started, while its loop runs.

        Not any more either when a part of the worker has failed (``action=worker.failed`` says what); ``start`` again
        makes another one, and submitting goes on all the same.
        """
        return self._async.running

    submit_messages = blocking(AsyncMemScheduler.submit_messages)
    get_task_status = blocking(AsyncMemScheduler.get_task_status)
    find_tasks = blocking(AsyncMemScheduler.find_tasks)
    tasks_of = blocking(AsyncMemScheduler.tasks_of)
    unfinished = blocking(AsyncMemScheduler.unfinished)
    cancel_task = blocking(AsyncMemScheduler.cancel_task)
    wait = blocking(AsyncMemScheduler.wait)

    working_set = blocking(AsyncMemScheduler.working_set)
    prompt = blocking(AsyncMemScheduler.prompt)
    preload = blocking(AsyncMemScheduler.preload)
    predict = blocking(AsyncMemScheduler.predict)
    activation = blocking(AsyncMemScheduler.activation)
    activation_status = blocking(AsyncMemScheduler.activation_status)
    warm = blocking(AsyncMemScheduler.warm)
    themes = blocking(AsyncMemScheduler.themes)
    explain = blocking(AsyncMemScheduler.explain)
    history = blocking(AsyncMemScheduler.history)
    pin = blocking(AsyncMemScheduler.pin)
    unpin = blocking(AsyncMemScheduler.unpin)
    archive = blocking(AsyncMemScheduler.archive)
    restore = blocking(AsyncMemScheduler.restore)

    read_status = blocking(AsyncMemScheduler.read_status)
    scaling = blocking(AsyncMemScheduler.scaling)
    statistics = blocking(AsyncMemScheduler.statistics)
    get_tasks_status = blocking(AsyncMemScheduler.get_tasks_status)
    print_tasks_status = blocking(AsyncMemScheduler.print_tasks_status)

    def dead_letters(self) -> SyncDeadLetters:
        """What was given up: to list, redrive or purge."""
        return SyncDeadLetters(self._thread.call(self._async.dead_letters), self._thread)

    follow_events = iterating(AsyncMemScheduler.follow_events)
    cube_events = blocking(AsyncMemScheduler.cube_events)
    follow_cube_events = iterating(AsyncMemScheduler.follow_cube_events)
    get_web_log_messages = blocking(AsyncMemScheduler.get_web_log_messages)
    pause = blocking(AsyncMemScheduler.pause)
    resume = blocking(AsyncMemScheduler.resume)
    clear = blocking(AsyncMemScheduler.clear)

    def start(self) -> None:
        """Begin to run handlers in this process: those registered, and memsched's own for the other labels.

        Raises SchedulerNotStarted if there is none (MEMSCHED_MEMORY=false, and none registered).
        """
        if not threading.main_thread().is_alive():
            raise SchedulerNotStarted("The main thread has ended, and with it this process's time to run handlers.")
        self._exit.arm(early=True)
        self._thread.call(self._async.start)

    def stop(self, grace_seconds: Seconds | None = None) -> None:
        """Let running handlers end, hand the rest back, close all connections. Who is in ``wait`` gets
        SchedulerStopped. It may be started again.
        """
        given = seconds_or_none("grace_seconds", grace_seconds)
        self._exit.disarm()
        if not self._thread.running:
            return
        grace = self.settings.grace_seconds if given is None else given
        try:
            self._thread.call(lambda: self._async.stop(grace), grace + _STOP_MARGIN_SECONDS)
        except TimeoutError:
            log.error(
                "a handler blocks the event loop; what is unfinished is claimed after its min idle",
                action="stop.timed_out",
            )
        except KeyboardInterrupt:
            self._thread.call(lambda: self._async.stop(0.0), _STOP_MARGIN_SECONDS)
            raise
        finally:
            self._thread.close()

    def __enter__(self) -> Self:
        if self.orchestrator.handlers:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- the original's names for its Redis queue ----------------------------------------------------------------

    def initialize_redis(self) -> None:
        """Connect, rather than at the first call. Raises ServerUnreachable."""
        self._thread.call(self._async.server)

    def redis_start_listening(self, handler: Any = None) -> None:
        """See ``start``.

        Args:
            handler: as the original takes it, and leaves it aside: handlers are registered by label.
        """
        self.start()

    def redis_add_message_stream(self, message: Mapping[str, Any]) -> AwaitableText:
        """Submit what ``message_item.to_dict()`` returned; returns its item id, which may be awaited as well: in
        versions of the original this was a coroutine.
        """
        (result,) = self.submit_messages(ScheduleMessageItem.from_dict(message))
        return AwaitableText(result.item_id)

    def redis_stop_listening(self) -> None:
        """See ``stop``."""
        self.stop()

    def redis_close(self) -> None:
        """See ``stop``."""
        self.stop()


def show_web_logs(scheduler: MemScheduler, limit: int = 100) -> None:
    """Print the newest memory events of a scheduler as a table."""
    print_events(scheduler.get_web_log_messages(limit))
