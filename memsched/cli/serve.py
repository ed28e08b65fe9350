"""`memsched serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from memsched.cli.shared_options import Prefix, RedisUrl
from memsched.errors import CannotStart, SettingsError
from memsched.logs import configure_logs
from memsched.settings import Settings

Listen = Annotated[str | None, typer.Option("--listen", "-l", metavar="HOST:PORT", help="Where (MEMSCHED_LISTEN).")]


def serve(
    listen: Listen = None,
    worker: Annotated[
        bool, typer.Option("--worker", "-w", help="Run the handlers in this process too: no other worker is needed.")
    ] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Answer over HTTP until SIGTERM or Ctrl-C; what is being answered then is answered."""
    options = {"listen": listen, "redis_url": redis_url, "prefix": prefix}
    settings = Settings.load(**{name: value for name, value in options.items() if value is not None})
    if settings.redis_url.startswith("memory://") and not worker:
        raise SettingsError(["MEMSCHED_REDIS_URL: memory:// exists inside one process only; say --worker too."])
    try:
        from memsched.service.process import run_service  # with the extra only
    except ImportError as error:
        raise service_missing("serve", error) from None
    configure_logs(settings)
    run_service(settings, worker=worker)


def service_missing(command: str, error: ImportError) -> CannotStart:
    """What to say where a command's module could not be imported."""
    return CannotStart(f"memsched {command} needs {error.name or error}: pip install 'memsched[service]'.")
