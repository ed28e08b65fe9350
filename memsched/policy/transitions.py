"""The transition rules: when a theme is activated and when it is given up, and which memories are archived.

Pure: values in, decisions out. Time is that of the cube's latest message, so a replay of months ends as the months did.
Whether a theme is activated has a history (hysteresis: it enters at one bound and leaves at a lower one), but a history
that is no state: the rules are shown how hot the theme was at the end of each day, and decide from the first day on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, cast

from memsched.extensions import extension
from memsched.memory.model import from_ms, to_ms
from memsched.policy.ranking import RESERVED
from memsched.policy.strategy import CubeMemory

DAY_MS = 86_400_000
_ROOM = 100
"""One in so many places is made free beyond what must be, so that a full cube is not looked through at each message."""


class ThemeLook(NamedTuple):
    """A theme at the end of a day, or now.

    Attributes:
        at: ms since the epoch.
        told: how many of its memories had been told.
        heat: of the theme, in memories.
        share: of the hottest theme's heat then.
        latest: when something of it was told or used last, ms since the epoch.
    """

    at: int
    told: int
    heat: float
    share: float
    latest: int


@dataclass(frozen=True, slots=True)
class ThemeHistory:
    """A theme, as it was at the end of each of the last days.

    Args:
        memory_ids: oldest first; the first is the theme's id.
        looks: oldest first, from the day on which its first memory was told; the last one is now.
    """

    memory_ids: Sequence[str]
    looks: Sequence[ThemeLook]

    @property
    def theme_id(self) -> str:
        return self.memory_ids[0]


@dataclass(frozen=True, slots=True)
class ThemeMove:
    """A theme was activated, or given up.

    Args:
        at: ms since the epoch.
        reason: in words, with the figures that decided.
    """

    at: int
    activated: bool
    reason: str
    heat: float
    share: float


@dataclass(frozen=True, slots=True)
class Standing:
    """A memory where it stands now.

    Args:
        value: how probable it is that the next answer uses it.
        needed: when it was told, used, asked for or restored last, ms since the epoch.
        theme_activated: whether it is of a theme that is.
        theme_share: its theme's share of the hottest one's heat; None without a theme.
        archived: why it is archived: ``cold`` or ``capacity``; "" if it is not.
    """

    memory: CubeMemory
    value: float
    needed: int
    pinned: bool = False
    theme_activated: bool = False
    theme_share: float | None = None
    archived: str = ""


@dataclass(frozen=True, slots=True)
class Archiving:
    """That a memory shall be archived.

    Args:
        because: ``cold`` or ``capacity``.
        reason: in words, with the figures that decided.
    """

    because: str
    reason: str


class TransitionRules(Protocol):
    """Decides when memories move. Must be a pure function of its arguments, so that replicas decide the same.

    What somebody archived by hand is not asked about. What is pinned is among the memories, since it counts, but stays
    whatever the rules say.
    """

    def theme_moves(self, history: ThemeHistory) -> Sequence[ThemeMove]:
        """When the theme was activated and given up, oldest first; the last one says what it is now."""

    def archived(self, standings: Sequence[Standing], now: int) -> Mapping[str, Archiving]:
        """Which of these memories shall be archived, by id. Those that are, and are not named, are restored.

        Args:
            now: ms since the epoch, of the cube's latest message.
        """

    def outlook(self, standing: Standing, now: int) -> str:
        """What would have the memory archived or restored, in words."""


@dataclass(frozen=True, slots=True)
class StandardTransitions:
    """The rules in use. Those of one's own may change the figures, or ``must_stay``.

    Args:
        enter: share of the hottest theme's heat from which a theme is activated.
        leave: share below which it is given up, since another has taken its place.
        least_heat: heat from which it may be activated, in memories; below ``cold_heat`` it is given up.
        least_told: memories that make a theme worth it.
        stay_days: that it stays activated at least.
        archive_after_days: in which nothing told, brought in, used or asked for it, and a memory is archived; 0: never.
        capacity: memories beside the archive; of more, the least valuable are archived.
        spared_days: after being told, used, asked for or restored, in which capacity takes any other memory first.
    """

    enter: float = 0.6
    leave: float = 0.4
    least_heat: float = 1.0
    cold_heat: float = 0.25
    least_told: int = 2
    stay_days: float = 2.0
    archive_after_days: float = 365.0
    capacity: int = 10_000
    spared_days: float = 30.0

    def theme_moves(self, history: ThemeHistory) -> list[ThemeMove]:
        """Two bounds, a least stay; and after it was given up (reset) only what is told or used then brings it back."""
        moves: list[ThemeMove] = []
        for look in history.looks:
            activated, since = (moves[-1].activated, moves[-1].at) if moves else (False, 0)
            if activated and look.at - since >= self.stay_days * DAY_MS and (why := self._gone(look)):
                moves.append(ThemeMove(look.at, False, why, look.heat, look.share))
            elif not activated and look.latest > since and self._hot(look):
                why = (
                    f"heat {look.heat:.1f}, {_percent(look.share)} of the hottest theme's (from {_percent(self.enter)})"
                )
                moves.append(ThemeMove(look.at, True, why, look.heat, look.share))
        return moves

    def _hot(self, look: ThemeLook) -> bool:
        return look.told >= self.least_told and look.heat >= self.least_heat and look.share >= self.enter

    def _gone(self, look: ThemeLook) -> str:
        if look.share < self.leave:
            return f"another theme took its place: {_percent(look.share)} of its heat (below {_percent(self.leave)})"
        if look.heat < self.cold_heat:
            return f"it cooled: heat {_down(look.heat, 2):.2f} (below {self.cold_heat:g})"
        return ""

    def must_stay(self, standing: Standing) -> str:
        """Why a memory must never be archived, in words; "" if it may be."""
        if standing.pinned:
            return "it is pinned"
        if standing.memory.vital in RESERVED:
            return f"it must never be forgotten ({standing.memory.vital})"
        return "its theme is activated" if standing.theme_activated else ""

    def archived(self, standings: Sequence[Standing], now: int) -> dict[str, Archiving]:
        """The cold ones, whatever their state is; then the least valuable, as far as there are too many.

        Nothing goes cold by a question alone: who asks about an old conversation and tells nothing finds it as it was.
        """
        found: dict[str, Archiving] = {}
        told = min(now, max((to_ms(each.memory.at) for each in standings), default=now))
        near: list[Standing] = []
        staying = 0
        for each in standings:
            if self.must_stay(each):
                staying += 1
            elif why := self._cold(each, told):
                found[each.memory.memory_id] = Archiving("cold", why)
            elif each.archived == "capacity":
                found[each.memory.memory_id] = Archiving("capacity", "as before")
            else:
                near.append(each)
        if (over := staying + len(near) - self.capacity) > 0:
            spared = now - self.spared_days * DAY_MS
            near.sort(key=lambda each: (each.needed >= spared, each.value, each.memory.at, each.memory.memory_id))
            for each in near[: over + self.capacity // _ROOM]:
                why = f"{self.capacity:,} memories are kept near, and its value {each.value:.6f} is among the lowest"
                found[each.memory.memory_id] = Archiving("capacity", why)
        return found

    def _cold(self, standing: Standing, told: int) -> str:
        days = (told - self._since(standing)) / DAY_MS
        if not self.archive_after_days or days <= self.archive_after_days:
            return ""
        return f"nothing needed it for {days:.0f} days (more than {self.archive_after_days:g})"

    def _since(self, standing: Standing) -> int:
        """Since when nothing needed it. What is brought in from elsewhere could not be needed before it was here."""
        ingested_at = standing.memory.ingested_at
        return standing.needed if ingested_at is None else max(standing.needed, to_ms(ingested_at))

    def outlook(self, standing: Standing, now: int) -> str:
        if standing.archived:
            return "It comes back when an answer uses it, or when a question holds mostly words of it."
        theme = ""
        if (share := standing.theme_share) is not None:
            bound = f"given up below {_percent(self.leave)}"
            if not standing.theme_activated:
                bound = f"activated from {_percent(self.enter)} and {self.least_told} memories on"
            theme = f" Its theme has {_percent(share)} of the hottest theme's heat, and is {bound}."
        if why := self.must_stay(standing):
            return f"It is not archived: {why}.{theme}"
        over = f"or when the cube has more than {self.capacity:,} memories and it is one of the least valuable"
        if not self.archive_after_days:
            return f"It is archived by hand, {over}.{theme}"
        until = self._since(standing) + self.archive_after_days * DAY_MS
        day = from_ms(int(until)).date().isoformat()
        why = f"{self.archive_after_days:g} days after it was told, brought in, used or asked for"
        return f"It is archived if nothing needs it until {day} ({why}) and more is told then, {over}.{theme}"


def rules_named(name: str, archive_after_days: float, capacity: int) -> TransitionRules:
    """The rules that MEMSCHED_TRANSITIONS names: memsched's own, or another package's. Raises SettingsError.

    The two figures are settings: they also hold for rules that are made of memsched's.
    """
    shipped = {"standard": StandardTransitions}
    methods = ("theme_moves", "archived", "outlook")
    found = cast("TransitionRules", extension("MEMSCHED_TRANSITIONS", "memsched.transitions", name, methods, shipped))
    if isinstance(found, StandardTransitions):
        return replace(found, archive_after_days=archive_after_days, capacity=capacity)
    return found


def _percent(share: float) -> str:
    return f"{_down(100 * share):.0f} %"


def _down(figure: float, digits: int = 0) -> float:
    """Rounded down, so that what is below a bound is also shown below it."""
    scale = 10.0**digits
    return math.floor(round(figure * scale, 6)) / scale
