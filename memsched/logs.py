"""Structured logs: one event per line, for people or for machines, with the secrets left out.

Every line has an ``action``, a fixed name for machines; a line about a message has its item_id, user_id,
mem_cube_id, label and trace_id; a line about an exception has its plain traceback. No line can raise: what a log is
about matters more than the log.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TextIO, cast
from weakref import WeakSet

import structlog

from memsched.escaping import describe_error, plain
from memsched.messages import ScheduleMessageItem
from memsched.settings import Settings

_QUIET = ("redis", "asyncio")
_LONGEST_TRACEBACK = 32_000
"""Characters; a traceback ends with the error's text, which may be as large as what it complains about."""
_MOST_BYTES = 4 * 1024 * 1024
"""Of lines that wait for somebody to take them."""
_PATIENCE_SECONDS = 0.1
"""Whoever writes a line sees it written, unless that takes longer: then nobody waits until all lines are taken."""
_AT_THE_END_SECONDS = 1.0

_least = logging.NOTSET
"""Of lines in a program that did not set up structlog."""

message_at_work: ContextVar[ScheduleMessageItem | None] = ContextVar("memsched_message", default=None)
"""The (first) message of the handler call that is running here."""


class Logger:
    """A logger whose lines never raise: neither for a sink that fails (a full disk, a closed pipe), nor for what the
    program around has made of structlog, nor for a value that cannot be shown. A line that cannot be written is lost.
    """

    def __init__(self, name: str) -> None:
        self._logger = structlog.get_logger(name)

    def debug(self, event: str, **fields: Any) -> None:
        if _is_written(logging.DEBUG):
            with suppress(Exception):
                self._logger.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        if _is_written(logging.INFO):
            with suppress(Exception):
                self._logger.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        if _is_written(logging.WARNING):
            with suppress(Exception):
                self._logger.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        with suppress(Exception):
            self._logger.error(event, **fields)


def _is_written(level: int) -> bool:
    return level >= _least or structlog.is_configured()


def write_from(level: str) -> None:
    """Write no lines below this level, unless the program has set up structlog, which says then what is written."""
    global _least
    _least = getattr(logging, level.upper())


def get_logger(name: str) -> Logger:
    """The logger of a module."""
    return Logger(name)


_ABOUT_A_MESSAGE = ("item_id", "user_id", "mem_cube_id", "label", "trace_id")


def log_fields(message: ScheduleMessageItem) -> dict[str, str | None]:
    """What every log line about a message carries."""
    return {name: getattr(message, name, None) for name in _ABOUT_A_MESSAGE}


def exception_field(error: BaseException | None) -> dict[str, str]:
    """The plain traceback of an error, for a line about it; nothing for None.

    Every line of memsched takes it in place of structlog's ``exc_info``: what that becomes is up to the program that
    memsched runs in, and structlog's defaults write down the local variables of every frame, which hold what users
    said, and any secret that is at hand.
    """
    if error is None:
        return {}
    try:
        text = "".join(traceback.format_exception(error)).rstrip()
    except BaseException:  # noqa: BLE001 -- an exception that cannot even be shown (see describe_error)
        text = describe_error(error)
    half = _LONGEST_TRACEBACK // 2
    return {"exception": text if len(text) <= _LONGEST_TRACEBACK else f"{text[:half]}\n...\n{text[-half:]}"}


def add_message_at_work(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: lines that a handler writes say which message they are about."""
    message = message_at_work.get()
    return event if message is None else {**log_fields(message), **event}


def configure_logs(settings: Settings, stream: TextIO | None = None, **context: Any) -> None:
    """Set up structlog for a process that memsched owns (a worker, a script); a library's user sets up their own.

    Args:
        stream: where the lines go; default: stderr, and when nobody takes what is written there, nothing stops.
        context: added to every line, such as the worker's id.
    """
    level = getattr(logging, settings.log_level.upper())
    out = QueuedSink(sys.stderr) if stream is None and sys.stderr is sys.__stderr__ else Sink(stream or sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_message_at_work,
            lambda _logger, _name, event: {**context, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # plain, without local variables
            *([escape_texts] if settings.log_format == "console" else []),
            _Renderer(settings.log_format, colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),  # a line in one piece: processes share a file
        cache_logger_on_first_use=False,  # a second call of this function, in the same process, counts as well
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=out)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def escape_texts(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: no id, content or error can paint the terminal, or look like a line of its own."""
    return {
        name: plain(value, lines=name == "exception") if isinstance(value, str) else value
        for name, value in event.items()
    }


class _Renderer:
    """The last processor: a line for people or machines; with the plain types of its values, if one cannot be shown."""

    def __init__(self, log_format: str, *, colors: bool) -> None:
        self._render: Any
        if log_format == "json":
            self._render = structlog.processors.JSONRenderer(ensure_ascii=False)
        else:
            traceback_as_it_is = structlog.dev.plain_traceback
            self._render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=traceback_as_it_is)

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> Any:
        kept = dict(event)
        try:
            return self._render(logger, name, event)
        except Exception:  # noqa: BLE001 -- whatever one of the values does when it is asked
            return self._render(logger, name, _showable(kept))


def _showable(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float | None) else f"<{type(value).__name__}>"
        for name, value in event.items()
    }


class Sink:
    """A stream for log lines that never raises: a handler that logs must not fail because a disk is full."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else open(os.devnull, "w")  # noqa: SIM115 -- for the process's life

    def write(self, text: str) -> int:
        with suppress(Exception):
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # half a surrogate pair, or a terminal that knows few characters
                encoding = getattr(self._stream, "encoding", None) or "utf-8"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except Exception:  # noqa: BLE001 -- a stream that is closed
            return False


class QueuedSink(Sink):
    """Log lines to a pipe or a terminal that may stand still (a log collector that hangs, Ctrl-S): a bounded queue and
    a thread of its own, so that whoever logs goes on. What does not fit into the queue is dropped, and counted.

    It writes past the stream's buffer: a thread that hangs with the buffer's lock would break the interpreter's end.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream)
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._accepted = self._written = self._dropped = 0
        self._stands_still = self._is_fork = False
        self._thread: threading.Thread | None = None
        _queued.add(self)

    def write(self, text: str) -> int:
        with suppress(Exception):
            line = text.encode(getattr(self._stream, "encoding", None) or "utf-8", "backslashreplace")
            if self._is_fork:
                self._write(line)
            else:
                self._queue(line)
        return len(text)

    def drain(self, seconds: float) -> None:
        """Wait until all lines are written, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines, seconds)

    def forked(self) -> None:
        """In a process that was forked: the lines that wait are the parent's, and the thread is not here. A child
        writes by itself, for it may end without a word to any thread."""
        self._changed = threading.Condition()
        self._lines.clear()
        self._is_fork = True

    def _queue(self, line: bytes) -> None:
        with self._changed:
            if self._waiting_bytes + len(line) > _MOST_BYTES:
                self._dropped += 1
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="memsched-logs", daemon=True)
                self._thread.start()
            self._lines.append(line)
            self._waiting_bytes += len(line)
            self._accepted += 1
            number = self._accepted
            self._changed.notify_all()
            if not self._stands_still and threading.current_thread() is not self._thread:
                written = self._changed.wait_for(lambda: self._written >= number, _PATIENCE_SECONDS)
                self._stands_still = not written

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines[0]
            with suppress(Exception):
                self._write(line)
            with self._changed:
                self._lines.popleft()
                self._waiting_bytes -= len(line)
                self._written += 1
                if not self._lines:
                    self._stands_still = False
                dropped = self._dropped if self._waiting_bytes < _MOST_BYTES // 2 else 0
                self._dropped -= dropped
                self._changed.notify_all()
            if dropped:
                log.warning("log lines were dropped, for nobody took them", action="log.dropped", count=dropped)

    def _write(self, line: bytes) -> None:
        rest, descriptor = memoryview(line), self._stream.fileno()
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # somebody who shares the pipe has made it so
                select.select((), (descriptor,), ())


_queued: WeakSet[QueuedSink] = WeakSet()
log = get_logger(__name__)


def drain_logs() -> None:
    """Wait until all lines are written, a moment at most: for the end of a process."""
    for sink in list(_queued):
        sink.drain(_AT_THE_END_SECONDS)


def write_line(text: str) -> None:
    """A line on stderr, after all log lines, for a process whose end nobody may hold up."""
    (next(iter(_queued), None) or Sink(sys.stderr)).write(f"{text}\n")


def _forked() -> None:
    for sink in list(_queued):
        sink.forked()


# Before the hooks of all others who import this, so after them at the end: what they log is written too.
atexit.register(drain_logs)
os.register_at_fork(after_in_child=_forked)
