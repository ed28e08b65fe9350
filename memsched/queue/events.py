"""The event logs of memories, capped streams: what happened to them, for people to look at.

Each event stands in two: in the one of all, and in its cube's, out of which no other cube's events push it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text, as_texts
from memsched.errors import InvalidMessage
from memsched.messages import ScheduleLogForWebItem
from memsched.settings import Settings

Cube = tuple[str, str]
"""Whose cube, and the owner's name of it."""
_SECONDS_PER_DAY = 86_400


def event_commands(keys: Keys, settings: Settings, cube: Cube, fields: Sequence[str]) -> list[Command[Any]]:
    """Append an event to both logs.

    Args:
        fields: the event in wire form.
    """

    def append(stream: str, maxlen: int) -> Command[Any]:
        return Command(("XADD", stream, "MAXLEN", "~", maxlen, "*", *fields), lambda reply: reply)

    own = keys.cube(*cube).events
    seconds = math.ceil(settings.cube_events_days * _SECONDS_PER_DAY)
    return [
        append(keys.events, settings.events_maxlen),
        append(own, settings.cube_events_maxlen),
        Command(("EXPIRE", own, seconds), lambda reply: reply),
    ]


async def append_event(server: Server, keys: Keys, settings: Settings, cube: Cube, item: ScheduleLogForWebItem) -> None:
    """Append an event to both logs. Raises ServerUnreachable or ServerRefused."""
    for reply in await server.persistently(lambda: server.run(event_commands(keys, settings, cube, item.to_wire()))):
        answered(reply)


def newest_events(stream: str, limit: int, about: Sequence[str] = ()) -> Command[list[ScheduleLogForWebItem]]:
    """The newest events of a log, oldest first.

    Args:
        stream: ``Keys.events``, or ``CubeKeys.events``.
        about: only of those, the ones that have one of these texts in their details.
    """

    def parse(reply: Any) -> list[ScheduleLogForWebItem]:
        return [each for _, each in _read(reversed(reply or []), about)]

    return Command(("XREVRANGE", stream, "+", "-", "COUNT", limit), parse)


def events_after(stream: str, place: str, limit: int) -> Command[tuple[str, list[tuple[str, ScheduleLogForWebItem]]]]:
    """The oldest events behind a place in the log, each with its own; and the place behind all that was looked at.

    Args:
        stream: as ``newest_events`` has it.
        place: ``<ms>-<number>``. Where the log does not reach back so far any more, it goes on with the oldest one.
    """

    def parse(reply: Any) -> tuple[str, list[tuple[str, ScheduleLogForWebItem]]]:
        return as_text(reply[-1][0]) if reply else place, list(_read(reply or [], ()))

    return Command(("XRANGE", stream, f"({place}", "+", "COUNT", limit), parse)


def newest_place(stream: str) -> Command[str]:
    """The place behind the newest event."""

    def parse(reply: Any) -> str:
        return as_text(reply[0][0]) if reply else "0-0"

    return Command(("XREVRANGE", stream, "+", "-", "COUNT", 1), parse)


def _read(rows: Iterable[Any], about: Sequence[str]) -> Iterator[tuple[str, ScheduleLogForWebItem]]:
    for place, fields in rows:
        texts = as_texts(fields)
        if about and not any(each in text for text in texts for each in about):
            continue
        with suppress(InvalidMessage):  # a stranger's, or of a form that is not known here: the others are shown
            yield as_text(place), ScheduleLogForWebItem.from_wire(dict(zip(texts[::2], texts[1::2], strict=True)))
