"""The event log of memories, a capped stream: what happened to them, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_texts
from memsched.errors import InvalidMessage
from memsched.messages import ScheduleLogForWebItem


def append_event(keys: Keys, fields: Sequence[str], *, maxlen: int) -> Command[Any]:
    """Append an event.

    Args:
        fields: the event in wire form.
        maxlen: how many of the newest events are kept, about (MEMSCHED_EVENTS_MAXLEN).
    """
    return Command(("XADD", keys.events, "MAXLEN", "~", maxlen, "*", *fields), lambda reply: reply)


def newest_events(keys: Keys, limit: int, about: Sequence[str] = ()) -> Command[list[ScheduleLogForWebItem]]:
    """The newest events, oldest first.

    Args:
        about: only of those, the ones that have one of these texts in their details.
    """

    def parse(reply: Any) -> list[ScheduleLogForWebItem]:
        items = []
        for _, fields in reversed(reply or []):
            texts = as_texts(fields)
            if about and not any(each in text for text in texts for each in about):
                continue
            with suppress(InvalidMessage):  # a stranger's, or of a form that is not known here: the others are shown
                items.append(ScheduleLogForWebItem.from_wire(dict(zip(texts[::2], texts[1::2], strict=True))))
        return items

    return Command(("XREVRANGE", keys.events, "+", "-", "COUNT", limit), parse)
