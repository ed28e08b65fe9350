"""Structured logs: one event per line, for people or for machines, with the secrets left out.

Every line has an ``action``, a fixed name for machines; a line about a message has its item_id, user_id,
mem_cube_id, label and trace_id; a line about an exception has its plain traceback. No line can raise: what a log is
about matters more than the log.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TextIO, cast

import structlog

from memsched.escaping import describe_error, plain
from memsched.messages import ScheduleMessageItem
from memsched.settings import Settings

_QUIET = ("redis", "asyncio")
_LONGEST_TRACEBACK = 32_000
"""Characters; a traceback ends with the error's text, which may be as large as what it complains about."""

message_at_work: ContextVar[ScheduleMessageItem | None] = ContextVar("memsched_message", default=None)
"""The (first) message of the handler call that is running here."""


class Logger:
    """A logger whose lines never raise: neither for a sink that fails (a full disk, a closed pipe), nor for what the
    program around has made of structlog, nor for a value that cannot be shown. A line that cannot be written is lost.
    """

    def __init__(self, name: str) -> None:
        self._logger = structlog.get_logger(name)

    def debug(self, event: str, **fields: Any) -> None:
        with suppress(Exception):
            self._logger.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        with suppress(Exception):
            self._logger.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        with suppress(Exception):
            self._logger.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        with suppress(Exception):
            self._logger.error(event, **fields)


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
        stream: where the lines go; default: stderr.
        context: added to every line, such as the worker's id.
    """
    level = getattr(logging, settings.log_level.upper())
    out = Sink(stream or sys.stderr)
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
        cache_logger_on_first_use=True,
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
