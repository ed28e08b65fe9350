"""Structured logs: one event per line, for people or for machines, with the secrets left out.

Every line has an ``action``, a fixed name for machines; a line about a message has its item_id, user_id,
mem_cube_id, label and trace_id; a line about an exception has its plain traceback.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

from memsched.messages import ScheduleMessageItem
from memsched.settings import Settings

_QUIET = ("redis", "asyncio")

message_at_work: ContextVar[ScheduleMessageItem | None] = ContextVar("memsched_message", default=None)
"""The (first) message of the handler call that is running here."""


def log_fields(message: ScheduleMessageItem) -> dict[str, str | None]:
    """What every log line about a message carries."""
    return {
        "item_id": message.item_id,
        "user_id": message.user_id,
        "mem_cube_id": message.mem_cube_id,
        "label": message.label,
        "trace_id": message.trace_id,
    }


def exception_field(error: BaseException | None) -> dict[str, str]:
    """The plain traceback of an error, for a line about it; nothing for None.

    Every line of memsched takes it in place of structlog's ``exc_info``: what that becomes is up to the program that
    memsched runs in, and structlog's defaults write down the local variables of every frame, which hold what users
    said, and any secret that is at hand.
    """
    return {} if error is None else {"exception": "".join(traceback.format_exception(error)).rstrip()}


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
    out = stream or sys.stderr
    renderer: Any
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_message_at_work,
            lambda _logger, _name, event: {**context, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # plain, without local variables
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),  # a line in one piece: processes share a file
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=out)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
