"""The status, once or again and again: `memsched status` and scripts/show_redis_status.py."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.exit_codes import complain
from memsched.console.output import as_text, console
from memsched.console.tables import status_view
from memsched.errors import ServerUnreachable
from memsched.escaping import plain
from memsched.queue.status import Status, read_status
from memsched.settings import Settings

DEFAULT_INTERVAL_SECONDS = 2.0


class Display(Protocol):
    """Where the looks go."""

    def show(self, look: Status, previous: Status | None, seconds: float | None) -> None: ...
    def trouble(self, error: ServerUnreachable) -> None: ...


async def show_status(settings: Settings, *, interval: float | None, as_json: bool) -> None:
    """Print the status; with an interval in seconds, again and again until the process is told to stop.

    Raises ServerUnreachable when there is no server at the start. One that goes away later is waited for.
    """
    server = await Server.connect(settings)
    keys = Keys(settings.prefix, settings.partitions)
    display: Display = JsonLines() if as_json else Pages()
    try:
        if interval is None:
            look = await server.persistently(lambda: read_status(server, keys, settings))
            display.show(look, None, None)
        elif not as_json and sys.stdout.isatty():
            with screen(interval) as display:
                await _watch(server, keys, settings, interval, display)
        else:
            await _watch(server, keys, settings, interval, display)
    finally:
        await server.aclose()


async def _watch(server: Server, keys: Keys, settings: Settings, interval: float, display: Display) -> None:
    previous: Status | None = None
    previous_at = 0.0
    while True:
        at = time.monotonic()
        try:
            look = await server.persistently(lambda: read_status(server, keys, settings), seconds=interval)
        except ServerUnreachable as error:
            display.trouble(error)
        else:
            display.show(look, previous, at - previous_at)
            previous, previous_at = look, at
        await asyncio.sleep(max(0.0, at + interval - time.monotonic()))


class JsonLines:
    """One JSON document per look, each on its line."""

    def show(self, look: Status, _previous: Status | None, _seconds: float | None) -> None:
        print(json.dumps(look.as_dict()), flush=True)  # noqa: T201

    def trouble(self, error: ServerUnreachable) -> None:
        complain(plain(str(error)))


class Pages:
    """One look under the other, for a pipe or a file."""

    def show(self, look: Status, previous: Status | None, seconds: float | None) -> None:
        if seconds is not None:
            console().print(f"\n{_time_of_day()}")
        console().print(status_view(look, previous, seconds))

    def trouble(self, error: ServerUnreachable) -> None:
        complain(plain(str(error)))


@contextmanager
def screen(interval: float) -> Iterator[Display]:
    """The last look, on a screen of its own; it stays in view at the end."""
    shown: RenderableType = ""

    class Screen:
        def show(self, look: Status, previous: Status | None, seconds: float | None) -> None:
            nonlocal shown
            head = as_text(f"{_time_of_day()}, every {interval:g} s; Ctrl-C ends", "dim")
            shown = Group(head, "", status_view(look, previous, seconds))
            live.update(shown, refresh=True)

        def trouble(self, error: ServerUnreachable) -> None:
            told = as_text(f"{_time_of_day()} {error}", "bold red")
            live.update(Group(told, "", shown), refresh=True)

    out = console()
    try:
        with Live(console=out, auto_refresh=False, screen=True) as live:
            yield Screen()
    finally:
        out.print(shown)


def _time_of_day() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
