"""`memsched worker`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from memsched.cli.shared_options import Prefix, RedisUrl
from memsched.errors import SettingsError
from memsched.logs import configure_logs
from memsched.memory.embedding.factory import embedder_from
from memsched.settings import PREFIX, Settings
from memsched.worker.supervisor import run_supervisor


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


Processes = Annotated[
    int | None, typer.Option("--processes", "-n", min=1, help="Worker processes (MEMSCHED_PROCESSES).")
]


def worker(
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="MODULE:ATTRIBUTE", help="Where the handlers are (MEMSCHED_APP)."),
    ] = None,
    processes: Processes = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", min=1, help="Handler calls at once in each (MEMSCHED_CONCURRENCY)."),
    ] = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Lowest level written (MEMSCHED_LOG_LEVEL).")] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="For people or for machines (MEMSCHED_LOG_FORMAT).")
    ] = None,
) -> None:
    """Run handlers in worker processes until SIGTERM or Ctrl-C; a second one does not wait for them.

    A process that dies is replaced, and its messages go on in another one at once. Every option stands for the
    environment variable in brackets.
    """
    options = {
        "app": app,
        "processes": processes,
        "concurrency": concurrency,
        "redis_url": redis_url,
        "prefix": prefix,
        "log_level": log_level and log_level.value,
        "log_format": log_format and log_format.value,
    }
    given = {name: value for name, value in options.items() if value is not None}
    settings = Settings.load(**given)
    check_worker_settings(settings)
    configure_logs(settings, worker="supervisor")
    environment = {PREFIX + name.upper(): str(value) for name, value in given.items()}
    run_supervisor(settings, environment)


def check_worker_settings(settings: Settings) -> None:
    """What would fail in every worker process is said once, before the first one is started."""
    if not settings.app and not settings.memory:
        raise SettingsError(
            [
                "MEMSCHED_MEMORY is false and MEMSCHED_APP is not set: say where the handlers are, --app "
                "module:attribute, where the attribute is {'MY_LABEL': handle} or a MemScheduler with registered "
                "handlers."
            ]
        )
    if settings.redis_url.startswith("memory://"):
        raise SettingsError(
            [
                "MEMSCHED_REDIS_URL: memory:// exists inside one process only, worker processes would wait for "
                "nothing; use redis:// or embedded://FOLDER."
            ]
        )
    if settings.memory:
        embedder_from(settings)
