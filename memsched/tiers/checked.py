"""Strategies and transition rules of other packages, checked: a mistake of their authors costs nobody a message.

Each kind of mistake is logged once in a process: it is made again with every message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real

from memsched.logs import exception_field, get_logger
from memsched.policy.ranking import StandardPolicy
from memsched.policy.strategy import Candidate, Chosen, CubeMemory, CubeState, WorkingSetPolicy
from memsched.policy.transitions import (
    Archiving,
    StandardTransitions,
    Standing,
    ThemeHistory,
    ThemeMove,
    TransitionRules,
)
from memsched.tiers.cube_cache import RESTORABLE

log = get_logger(__name__)


class _Mistakes:
    def __init__(self, part: object) -> None:
        self._part = type(part).__name__
        self._told: set[str] = set()

    def tell(self, what: str, **fields: object) -> None:
        if what not in self._told:
            self._told.add(what)
            log.error(
                "an extension made a mistake; tell its author",
                action="extension.mistake",
                part=self._part,
                mistake=what,
                **fields,
            )


class CheckedPolicy:
    """Asks a strategy, and takes of its answer what may be in a working set; if it has none, ``standard``'s instead."""

    def __init__(self, policy: WorkingSetPolicy) -> None:
        self._policy = policy
        self._mistakes = _Mistakes(policy)

    def choose(
        self,
        state: CubeState,
        candidates: Sequence[Candidate],
        size: int,
        near: Callable[[str], CubeMemory | None],
    ) -> list[Chosen]:
        """At most ``size`` memories, each once.

        Args:
            near: the memory of an id, if it may be in the set.
        """
        try:
            return self._checked(list(self._policy.choose(state, candidates, size)), near)[:size]
        except Exception as error:  # noqa: BLE001 -- whatever the code of others raises
            self._mistakes.tell("it did not choose; the standard strategy does instead", **exception_field(error))
            return StandardPolicy().choose(state, candidates, size)

    def _checked(self, chosen: Sequence[Chosen], near: Callable[[str], CubeMemory | None]) -> list[Chosen]:
        kept: dict[str, Chosen] = {}
        for each in chosen:
            memory = near(each.memory.memory_id)
            if memory is None:
                self._mistakes.tell("it chose what may not be in the set: archived, corrected, pinned, or of no cube")
            elif memory.memory_id in kept:
                self._mistakes.tell("it chose a memory twice")
            elif all(_is_number(each) for each in (each.score, *each.parts.values())):
                kept[memory.memory_id] = replace(each, memory=memory, source=str(each.source))
            else:
                self._mistakes.tell("it gave a memory a score that is no number")
                kept[memory.memory_id] = Chosen(memory, 0.0, {}, str(each.source))
        return list(kept.values())


class CheckedRules:
    """Asks transition rules; where they have no answer, themes move as ``standard`` says and memories not at all."""

    def __init__(self, rules: TransitionRules) -> None:
        self._rules = rules
        self._mistakes = _Mistakes(rules)

    def theme_moves(self, history: ThemeHistory) -> Sequence[ThemeMove]:
        try:
            moves = list(self._rules.theme_moves(history))
            if not all(isinstance(each, ThemeMove) for each in moves):
                raise TypeError("theme_moves returned something else than moves of a theme")
            return moves
        except Exception as error:  # noqa: BLE001 -- whatever the code of others raises
            self._mistakes.tell("it did not say when a theme moves; the standard rules do", **exception_field(error))
            return StandardTransitions().theme_moves(history)

    def archived(self, standings: Sequence[Standing], now: int) -> Mapping[str, Archiving]:
        try:
            found = dict(self._rules.archived(standings, now))
            if not all(isinstance(each, Archiving) for each in found.values()):
                raise TypeError("archived returned something else than what shall be archived")
        except Exception as error:  # noqa: BLE001 -- whatever the code of others raises
            self._mistakes.tell("it did not say what is archived; all stays as it is", **exception_field(error))
            away = [each for each in standings if each.archived]
            return {each.memory.memory_id: Archiving(each.archived, "as before") for each in away}
        for memory_id, each in found.items():
            if each.because not in RESTORABLE:
                self._mistakes.tell("what it archives is neither cold nor too much; it counts as cold")
                found[memory_id] = replace(each, because="cold")
        return found

    def outlook(self, standing: Standing, now: int) -> str:
        try:
            return str(self._rules.outlook(standing, now))
        except Exception as error:  # noqa: BLE001 -- whatever the code of others raises
            self._mistakes.tell("it did not say what would move a memory", **exception_field(error))
            return ""

    def are_never_done(self) -> None:
        """Say that they decide otherwise each time they are asked."""
        self._mistakes.tell("asked again about the same it decides otherwise; it must be a function of its arguments")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
