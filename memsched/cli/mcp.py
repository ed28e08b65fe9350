"""`memsched mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from memsched.cli.shared_options import Prefix, RedisUrl
from memsched.errors import CannotStart, SettingsError
from memsched.logs import configure_logs
from memsched.settings import Settings


def mcp(
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="ID", help="For whom, without MEMSCHED_MCP_TOKEN.")
    ] = None,
    worker: Annotated[
        bool, typer.Option("--worker", "-w", help="Run the handlers in this process too: no other worker is needed.")
    ] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Give an agent its memory, as tools of the Model Context Protocol on stdin and stdout. Log lines go to stderr."""
    options = {"redis_url": redis_url, "prefix": prefix}
    settings = Settings.load(**{name: value for name, value in options.items() if value is not None})
    if settings.redis_url.startswith("memory://") and not worker:
        raise SettingsError(["MEMSCHED_REDIS_URL: memory:// exists inside one process only; say --worker too."])
    try:
        from memsched.integrations.mcp_server import run_on_stdio  # with the extra only
    except ImportError as error:
        missing = error.name or str(error)
        raise CannotStart(f"memsched mcp needs {missing}: pip install 'memsched[mcp]'.") from None
    configure_logs(settings)
    run_on_stdio(settings, user, worker=worker)
