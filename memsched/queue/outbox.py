"""The transactional outbox: follow-ups of one call that are too many for one script, or belong to other slots.

They are staged in the slot of their parent's lane, page by page, in a list that counts for nothing. The script that
acknowledges the parent makes the list a part of the outbox, at a cost that does not depend on its length: all
follow-ups are submitted, or none. From there any worker sends them on to their own lanes (memsched/worker/outbox.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from memsched.broker.keys import Lane
from memsched.broker.scripting import Command, as_int, as_text, as_texts, script
from memsched.queue.follow_ups import FollowUp

_SENT_ON = script("sent_on")
_MOST_PER_PAGE = 100
_CHARACTERS_PER_PAGE = 256 * 1024
TOTAL = ""
"""The field of an outbox that holds how many follow-ups wait in it; the others are its batches."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The follow-ups of one call, in pages."""

    name: str
    pages: Sequence[str]
    count: int

    @classmethod
    def of(cls, follow_ups: Iterable[FollowUp]) -> Batch:
        pages: list[str] = []
        rows: list[Sequence[Any]] = []
        characters = count = 0
        for follow_up in follow_ups:
            rows.append(follow_up.to_row())
            count += 1
            characters += sum(map(len, follow_up.fields))
            if len(rows) >= _MOST_PER_PAGE or characters >= _CHARACTERS_PER_PAGE:
                pages.append(json.dumps(rows, ensure_ascii=False))
                rows, characters = [], 0
        if rows:
            pages.append(json.dumps(rows, ensure_ascii=False))
        return cls(uuid4().hex, pages, count)


@dataclass(frozen=True, slots=True)
class Page:
    """The first page of a batch in an outbox, and how many pages there are."""

    follow_ups: Sequence[FollowUp]
    pages: int


def batches(lane: Lane) -> Command[list[str]]:
    """The names of the batches in a lane's outbox."""
    return Command(("HKEYS", lane.outbox), lambda reply: [name for name in as_texts(reply) if name != TOTAL])


def first_page(lane: Lane, name: str) -> list[Command[Any]]:
    """Two commands; ``page_of`` understands their replies. In this order: a page that another worker takes out in
    between makes the number too high, and ``sent_on`` refuse; the other way round it would take out one never read.
    """
    key = lane.batch(name)
    return [Command(("LLEN", key), as_int), Command(("LINDEX", key, 0), lambda reply: reply)]


def page_of(pages: int, row: Any) -> Page:
    return Page([FollowUp.from_row(each) for each in json.loads(as_text(row))] if row else [], pages)


def sent_on(lane: Lane, name: str, page: Page) -> Command[int]:
    """The first page was submitted to where it belongs."""
    return _SENT_ON.command([lane.outbox, lane.batch(name)], [name, page.pages, len(page.follow_ups)], as_int)
