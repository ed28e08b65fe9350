"""What a request touches on its way: for whom, in which cubes, which memories. The audit writes it down.

It is noted where every way leads through, so that no route can forget it: cubes where they are resolved (``Cubes``),
memories where they leave (``Release``, and what is near without one).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

MOST_IDS = 100


@dataclass(slots=True)
class Trail:
    """What was touched so far; of ids the first MOST_IDS, each once."""

    user_id: str = ""
    cubes: dict[str, None] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)


_TRAIL: ContextVar[Trail | None] = ContextVar("memsched_trail", default=None)


@contextmanager
def trail() -> Iterator[Trail]:
    """Collects what is touched within, also by tasks that are started there."""
    before, made = _TRAIL.get(), Trail()
    _TRAIL.set(made)
    try:
        yield made
    finally:
        _TRAIL.set(before)


def touched_cube(user_id: str, name: str) -> None:
    """A user asks for what they call so, whether they may or not."""
    if (found := _TRAIL.get()) is not None:
        found.user_id = found.user_id or user_id
        if len(found.cubes) < MOST_IDS:
            found.cubes[name] = None


def touched(memory_ids: Iterable[str]) -> None:
    """These memories leave, or are about to be changed."""
    if (found := _TRAIL.get()) is not None:
        for each in memory_ids:
            if len(found.ids) >= MOST_IDS:
                return
            found.ids[each] = None
