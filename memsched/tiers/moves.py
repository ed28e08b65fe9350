"""What is kept of a cube's placement: what is activated and pinned, and the last moves between tiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from memsched.messages import UtcTime

MOVES_KEPT = 50
MOVES_DECIDED = 500
"""That one message decides at most. Each decision looks at the whole cube."""
LATEST_KEPT = 8
PLAIN_TEXT = "PlainText"
"""Where a theme is that is not activated: its memories are plain text in the store."""
ARCHIVED = "Archived"
PINNED = "Pinned"


class ActivatedTheme(BaseModel):
    """A theme that is activated.

    Attributes:
        since: ms since the epoch.
        latest: ids of its latest memories, by which it is known again when the talk is cut in another way.
    """

    model_config = ConfigDict(frozen=True)

    theme_id: str
    since: int
    latest: list[str]


class Placement(BaseModel):
    """Where things stand, beyond what follows from memories and log.

    Attributes:
        at: up to which moment of message time moves were decided, ms since the epoch; 0: never yet.
        activated: the themes that are, by id.
        pins: ids of pinned memories, in the order in which they were pinned.
        changes: how often something moved by the rules.
        told: by id of an activated theme, under which id, and of which time, people were told that it is.
    """

    model_config = ConfigDict(frozen=True)

    at: int = 0
    changes: int = 0
    activated: list[ActivatedTheme] = Field(default_factory=list)
    told: dict[str, tuple[str, int]] = Field(default_factory=dict)
    pins: list[str] = Field(default_factory=list)


class Move(BaseModel):
    """A memory or a theme went from one tier to another.

    Attributes:
        at: message time.
        subject_id: the memory's id, or the theme's.
        from_tier, to_tier: of a theme ``PlainText`` and ``ActivationMemory`` (activated); of a memory
            ``LongTermMemory``, ``UserMemory``, ``Archived`` and ``Pinned``.
        label: what people may call the theme; "" of a memory.
        reason: in words, with the figures that decided; none of a memory's own words.
        parts: the figures.
        because: of what was archived, and of what is restored: ``cold``, ``capacity``, ``asked``, ``needed``.
            Of a theme ``recut``: its memories are others than before, since what was told since cuts the talk anew.
        formerly: the id under which people were told of the theme, if it is another now.
        cause: the id of the message that decided it; "" if somebody did it by hand.
        working_set: what came into it and what left it by this (``set_changes``), told once and not kept.
    """

    model_config = ConfigDict(frozen=True)

    at: UtcTime
    subject: Literal["memory", "theme"]
    subject_id: str
    from_tier: str
    to_tier: str
    label: str = ""
    reason: str
    parts: dict[str, float] = Field(default_factory=dict)
    because: str = ""
    formerly: str = ""
    cause: str = ""
    working_set: dict[str, list[dict[str, Any]]] = Field(default_factory=dict, exclude=True)

    @property
    def why(self) -> str:
        """The reason, with what the theme is called."""
        return f"{self.label}: {self.reason}" if self.label else self.reason


class Upkeep(BaseModel):
    """That a cube's placement is to be looked at.

    Attributes:
        day: of message time, in days since the epoch.
        over: how far the cube is over its capacity, in steps; 0: it is not.
        needed: by id of an archived memory, when it was needed, ms since the epoch.
        changes: of the placement by now: the same excess after something has moved is another one.
    """

    model_config = ConfigDict(frozen=True)

    day: int
    changes: int = 0
    over: int = 0
    needed: dict[str, int] = Field(default_factory=dict)


def latest_moves(before: Sequence[Move], made: Sequence[Move]) -> list[Move]:
    """What is kept of a cube's moves: the last ones, and in any case those made now, which are still to be done."""
    return [*before, *made][-max(MOVES_KEPT, len(made)) :]


def most_pins(working_set_size: int) -> int:
    """Half of a working set: the rest still follows the talk. Of more, those that were pinned first have places."""
    return max(1, working_set_size // 2)
