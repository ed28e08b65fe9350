"""A history that comes once more: what it says, and that it is read in time that grows no faster than it does."""

from __future__ import annotations

import time

from support.memories import memory

from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.ingest.repetition import is_said_anew, repeated
from memsched.memory.model import Memory

TEXTS = ("I have a dog, Max.", "How old is Max?")


def turn(place: int, item_id: str, **more: object) -> Memory:
    text = TEXTS[place % 2]
    sources = {f"{item_id}#{place}": ""}
    found = memory(text, memory_id=f"{item_id}-{place}", sources=sources, content_hash=content_hash("", text))
    return found.model_copy(update=more)


def test_a_thousand_turns_that_all_were_said_a_thousand_times_are_read_at_once() -> None:
    stored = [turn(n, "old", sources={f"old#{place}": "" for place in range(n, 3_000, 2)}) for n in (0, 1)]
    known = {each.content_hash: [each] for each in stored}
    said = [turn(place, "new", at=stored[0].at.replace(year=2031)) for place in range(1_000)]
    began = time.process_time()

    found = repeated(said, known, {})
    anew = [is_said_anew(said, found[each.memory_id], each) for each in said]

    assert time.process_time() - began < 3
    assert len(found) == 1_000
    assert [found[each.memory_id].of_old for each in said] == [True] * 999 + [False]
    assert not any(anew)
