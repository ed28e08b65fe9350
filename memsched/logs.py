"""How log lines look: one event per line, for people or for machines, with the secrets left out.

Every line has an ``action``, a fixed name for machines; a line about a message has its item_id, user_id,
mem_cube_id, label and trace_id.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from memsched.settings import Settings

_QUIET = ("redis", "asyncio")


def configure_logs(settings: Settings, stream: TextIO | None = None, **context: Any) -> None:
    """Set up structlog for a process that memsched owns (a worker, a script); a library's user sets up their own.

    context: added to every line, such as the worker's id.
    """
    level = getattr(logging, settings.log_level.upper())
    out = stream or sys.stderr
    renderer: Any
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
        exceptions: list[Any] = [structlog.processors.format_exc_info]
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
        exceptions = []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _name, event: {**context, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=out)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
