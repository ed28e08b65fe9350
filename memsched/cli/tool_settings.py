"""The settings of the commands and scripts that look into the queue or change it."""

from __future__ import annotations

from typing import Any

from memsched.errors import SettingsError
from memsched.logs import configure_logs
from memsched.settings import Settings


def tool_settings(**given: Any) -> Settings:
    """The settings of a command that looks into the queue or changes it; options that were not given are None.

    Its log lines go to stderr, so that stdout is what was asked for and nothing else.
    """
    settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
    if settings.redis_url.startswith("memory://"):
        raise SettingsError(
            [
                "MEMSCHED_REDIS_URL: memory:// exists inside one process only, this command would see an empty "
                "queue of its own; name the server that your workers use."
            ]
        )
    configure_logs(settings)
    return settings
