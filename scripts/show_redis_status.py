"""The state of the queue in a terminal: what waits, runs, and is orphaned, delayed and dead, and who works on it.

    python scripts/show_redis_status.py                 every 2 seconds until Ctrl-C, with what has changed
    python scripts/show_redis_status.py --once          once
    python scripts/show_redis_status.py --once --json   for a program

It needs nothing but the server, and costs it next to nothing. `memsched status` shows the same.
"""

from __future__ import annotations

import argparse
import asyncio

from memsched.cli.exit_codes import exit_with
from memsched.cli.status_display import DEFAULT_INTERVAL_SECONDS, show_status
from memsched.cli.tool_settings import tool_settings
from memsched.console.terminal import forgive_characters


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=DEFAULT_INTERVAL_SECONDS,
        metavar="S",
        help="seconds between two looks, default %(default)g",
    )
    parser.add_argument("--prefix", metavar="P", help="first part of every key (MEMSCHED_PREFIX)")
    parser.add_argument("--once", action="store_true", help="look once")
    parser.add_argument("--json", action="store_true", help="one JSON document per look")
    parser.add_argument("--redis-url", metavar="URL", help="where the queue is (MEMSCHED_REDIS_URL)")
    given = parser.parse_args()
    settings = tool_settings(redis_url=given.redis_url, prefix=given.prefix)
    interval = None if given.once else given.interval
    asyncio.run(show_status(settings, interval=interval, as_json=given.json))
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be from 0.1 to 86400")
    return seconds


if __name__ == "__main__":
    forgive_characters()
    exit_with(main)
