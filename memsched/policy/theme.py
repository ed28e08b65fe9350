"""A theme as callers see it, apart from what finds it: the faces name it, and must not wait for numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ThemeState = Literal["activated", "plaintext", "archived"]


@dataclass(frozen=True, slots=True)
class Theme:
    """A cluster of memories of a cube about one thing.

    Args:
        theme_id: its oldest memory's id.
        label: what people may call it: its first terms.
        terms: the words that tell it from the rest, best first.
        heat: how much of it was told and used of late, in memories.
        state: ``activated`` while it is hot, ``archived`` when all of its memories are, else ``plaintext``.
        memory_ids: oldest first.
        then: by theme id, how often that theme was told of next.
    """

    theme_id: str
    label: str
    terms: list[str]
    heat: float
    state: ThemeState
    memory_ids: list[str]
    then: dict[str, int] = field(default_factory=dict)
