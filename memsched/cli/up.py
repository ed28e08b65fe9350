"""`memsched up`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from memsched.cli.serve import Listen, service_missing
from memsched.cli.shared_options import Prefix, RedisUrl
from memsched.cli.worker import Processes, check_worker_settings
from memsched.errors import SettingsError
from memsched.escaping import plain
from memsched.logs import configure_logs
from memsched.settings import PREFIX, Settings


def up(
    sample: Annotated[
        bool, typer.Option("--sample", help="Play the demo's conversation into it: something to look at.")
    ] = False,
    listen: Listen = None,
    processes: Processes = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Run all of it: servers, workers, API and dashboard, until Ctrl-C. What is unfinished goes on at the next one.

    The servers are those of the settings, by default two of its own in ./memsched-data. Only warnings are logged,
    unless MEMSCHED_LOG_LEVEL says otherwise.
    """
    options = {"listen": listen, "processes": processes, "redis_url": redis_url, "prefix": prefix}
    given = {name: value for name, value in options.items() if value is not None}
    settings = Settings.load(**given)
    if "log_level" not in settings.model_fields_set:
        given["log_level"] = "warning"
        settings = Settings.load(**given)
    check_worker_settings(settings)
    if sample and not settings.memory:
        raise SettingsError(["MEMSCHED_MEMORY is false: --sample needs memory, there is something to remember."])
    try:
        from memsched.all_in_one import AllInOne  # with the extra only
    except ImportError as error:
        raise service_missing("up", error) from None
    configure_logs(settings)
    environment = {PREFIX + name.upper(): str(value) for name, value in given.items()}

    async def main() -> None:
        await AllInOne(settings, environment, lambda line: typer.echo(plain(line)), sample=sample).run()

    asyncio.run(main())
