"""Selection: which memories of a cube are stable enough to go into weights, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from memsched.memory.model import Memory
from memsched.parameters.record import Scope
from memsched.tiers.hot_state import Use

KIND = "kind"
"""Metadata of a memory: what it is for whoever writes with it."""
KINDS = frozenset({"template", "procedure", "style", "faq"})
FACT = "fact"
"""Facts that are trained in are learnt slowly, and make a model invent others: they go in only when asked for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a memory must have been through: all of it by the messages' own times."""

    min_age: timedelta = timedelta(days=30)
    min_uses: int = 10
    min_days: int = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Args:
        facts: facts as well; never in a shared scope, and only the cube's owner's own.
        owner: of the cube.
        consents: the users who consented.
    """

    owner: str
    consents: Collection[str]
    scope: Scope = "own"
    facts: bool = False
    rules: Rules = Rules()


@dataclass(slots=True)
class Selection:
    """Args:
    chosen: oldest first.
    left_out: how many were not chosen, by reason.
    """

    chosen: list[Memory] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def select(memories: Sequence[Memory], uses: Mapping[str, Use], wanted: Wanted) -> Selection:
    """Choose among all memories of one cube. The latest of them says what time it is."""
    found = Selection()
    latest = max((each.told for each in memories), default=None)
    for each in sorted(memories, key=lambda each: (each.order, each.memory_id)):
        use = uses.get(each.memory_id, Use(0, 0))
        assert latest is not None
        if because := why_not(each, use, latest - each.at, wanted):
            found.left_out[because] += 1
        else:
            found.chosen.append(each)
    return found


def why_not(memory: Memory, use: Use, age: timedelta, wanted: Wanted) -> str:
    """The first reason why a memory stays out; "" if it goes in."""
    kind = kind_of(memory)
    if kind not in KINDS and not (kind == FACT and wanted.facts):
        return "another kind"
    if kind == FACT and (wanted.scope != "own" or owner_of(memory) != wanted.owner):
        return "a fact of another scope"
    if not is_stable(memory):
        return "corrected, put away or not valid for ever"
    if not may_enter(memory, wanted):
        return "no consent"
    if age < wanted.rules.min_age:
        return "too young"
    if use.count < wanted.rules.min_uses or use.days < wanted.rules.min_days:
        return "too seldom used"
    return ""


def kind_of(memory: Memory) -> str:
    """What its metadata says; else what it is itself."""
    given = memory.metadata.get(KIND)
    return given if isinstance(given, str) else memory.kind


def owner_of(memory: Memory) -> str:
    """Who said it, by their id: the cube's owner where nobody wrote down anyone else."""
    return memory.added_by or memory.user_id


def is_stable(memory: Memory) -> bool:
    """Whether nothing ever corrected it or may have, nobody put it away, and it has no end."""
    revised = memory.superseded_by or memory.correctors or memory.may_be_revised_by or memory.confirmed_at
    return not revised and memory.status == "activated" and memory.valid_until is None


def may_enter(memory: Memory, wanted: Wanted) -> bool:
    """Whether who said it lets it into weights: the cube's owner does for themself, everybody else by their consent."""
    owner = owner_of(memory)
    return owner in wanted.consents or (wanted.scope == "own" and owner == wanted.owner)
