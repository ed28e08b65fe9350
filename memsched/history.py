"""The history of a memory: all its versions, when each was said, corrected, used and moved, and why.

Put together from what is stored of it: the memories themselves, the cube's last moves and answers, and its events as
far back as they reach (MEMSCHED_CUBE_EVENTS_MAXLEN).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from memsched.errors import UnknownMemory
from memsched.memory.access.permissions import CubeRef
from memsched.memory.access.release import Release
from memsched.memory.model import Memory, from_ms, short_line, to_ms
from memsched.messages import WORKING_MEMORY_TYPE, ScheduleLogForWebItem, UtcTime
from memsched.tiers.hot_state import HotState
from memsched.tiers.moves import ARCHIVED, Move
from memsched.tiers.set_changes import KINDS

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices

What = Literal["said", "said again", "corrected", "may be revised", "holds after all", "used", "moved"]
MOST_VERSIONS = 100


class HistoryEntry(BaseModel):
    """Something that happened to one version of a memory.

    Attributes:
        at: when: by the talk's time; what only the event log tells (uses, the working set), by the clock.
        memory_id: of the version.
        text: what it says, where it was said.
        reason: why, in words.
        other: the id of what corrects or may revise it, or of what it was taken from.
        from_tier, to_tier: of a move, as ``Move`` has them.
    """

    model_config = ConfigDict(frozen=True)

    at: UtcTime
    memory_id: str
    what: What
    text: str = ""
    reason: str = ""
    other: str = ""
    from_tier: str = ""
    to_tier: str = ""

    def __repr__(self) -> str:
        tiers = f" {self.from_tier} to {self.to_tier}" if self.to_tier else ""
        said = " ".join(
            [*([repr(short_line(self.text))] if self.text else []), *([self.reason] if self.reason else [])]
        )
        return f"<{self.at:%Y-%m-%d %H:%M} {self.what}{tiers}: {said} ({self.memory_id[:8]})>"


async def history_of(
    services: MemoryServices,
    release: Release,
    ref: CubeRef,
    reader: str,
    memory_id: str,
    events: Iterable[ScheduleLogForWebItem],
) -> list[HistoryEntry]:
    """All that is known of a memory, oldest first. Raises UnknownMemory.

    What the permission hook withholds is not told of, nor why it was corrected, or corrects.

    Args:
        events: of the event log.
    """
    versions = await versions_of(services, ref, memory_id)
    links = [name for each in versions.values() for name in (*each.may_be_revised_by, *each.derived_from)]
    others = versions | await services.store.get(ref, [each for each in links if each not in versions])
    state = await services.states.snapshot(ref, list(versions))
    kept = {each.memory_id: each for each in release.memories(reader, "explain", ref, others.values())}
    if memory_id not in kept:
        raise UnknownMemory(memory_id)
    plain = {name for name, each in kept.items() if each.indexed_text == others[name].indexed_text}
    found = [
        entry
        for name in versions
        if name in kept
        for entry in (
            *_said(kept[name], plain, kept),
            *_used(kept[name], state, events),
            *_moved(kept[name], state, events),
        )
    ]
    return sorted(found, key=lambda each: (each.at, _ORDER[each.what], each.memory_id))


_ORDER: Mapping[What, int] = {
    "said": 0,
    "said again": 1,
    "moved": 2,
    "used": 3,
    "may be revised": 4,
    "corrected": 5,
    "holds after all": 6,
}


async def versions_of(services: MemoryServices, ref: CubeRef, memory_id: str) -> dict[str, Memory]:
    """A memory, what it corrects or corrected and what corrects it, and so on, by id; {} if it is not there."""
    found: dict[str, Memory] = {}
    new = [memory_id]
    while new and len(found) < MOST_VERSIONS:
        there = await services.store.get(ref, new)
        found |= there
        named = (
            name
            for each in there.values()
            for name in (*each.replaces, each.superseded_by, *each.correctors, *each.undone, *each.undone_for)
            if name
        )
        new = [name for name in dict.fromkeys(named) if name not in found]
    return found


def _said(memory: Memory, plain: set[str], others: Mapping[str, Memory]) -> Iterator[HistoryEntry]:
    """What the memory itself tells."""

    def entry(what: What, at: datetime, why: str = "", other: str = "", **more: Any) -> HistoryEntry:
        may_say = not other or {other, memory.memory_id} <= plain
        other = other if other in others else ""
        reason = why if may_say else ""
        return HistoryEntry(at=at, memory_id=memory.memory_id, what=what, reason=reason, other=other, **more)

    source = next((name for name in memory.derived_from if name in others), "")
    yield entry("said", memory.at, "taken from what was said" if source else "", source, text=memory.indexed_text)
    for ms in memory.said_again.values():
        yield entry("said again", from_ms(ms))
    for name, why in memory.may_be_revised_by.items():
        if name in others:
            yield entry("may be revised", others[name].at, why, name)
    if memory.superseded_by:
        newer = others.get(memory.superseded_by)
        at = memory.valid_until or (newer.at if newer else memory.updated_at)
        yield entry("corrected", at, memory.superseded_because, memory.superseded_by)
    for name, (because, corrected, undone) in memory.undone.items():
        yield entry("corrected", from_ms(corrected), because, name)
        yield entry("holds after all", from_ms(undone), "somebody said so", name)
    told = {undone for _, _, undone in memory.undone.values()}
    if memory.confirmed_at is not None and to_ms(memory.confirmed_at) not in told:
        yield entry("holds after all", memory.confirmed_at, "somebody said so")


def _used(memory: Memory, state: HotState, events: Iterable[ScheduleLogForWebItem]) -> Iterator[HistoryEntry]:
    """Each use that is still known; if there were more, how many in all."""
    told = 0
    for event in events:
        if event.label == "answer" and isinstance(event.metadata, list):
            uses = sum(isinstance(each, dict) and each.get("memory_id") == memory.memory_id for each in event.metadata)
            if uses:
                told += 1
                yield HistoryEntry(
                    at=event.timestamp, memory_id=memory.memory_id, what="used", reason="an answer repeated it"
                )
    use = state.uses.get(memory.memory_id)
    if use is not None and use.count > told:
        reason = f"answers repeated it {use.count} times in all, this was the last"
        yield HistoryEntry(at=from_ms(use.last), memory_id=memory.memory_id, what="used", reason=reason)


def _moved(memory: Memory, state: HotState, events: Iterable[ScheduleLogForWebItem]) -> Iterator[HistoryEntry]:
    """Between tiers, and in and out of the working set."""

    def entry(at: datetime, from_tier: str, to_tier: str, reason: str) -> HistoryEntry:
        where = {"from_tier": from_tier, "to_tier": to_tier, "reason": reason}
        return HistoryEntry(at=at, memory_id=memory.memory_id, what="moved", **where)

    moves = {(each.at, each.from_tier, each.to_tier): each for each in _moves_in(events)}
    moves |= {(each.at, each.from_tier, each.to_tier): each for each in state.moves or ()}
    own = [each for each in moves.values() if (each.subject, each.subject_id) == ("memory", memory.memory_id)]
    for move in own:
        yield entry(move.at, move.from_tier, move.to_tier, move.reason)
    if memory.restored_at is not None and not any(each.from_tier == ARCHIVED for each in own):
        yield entry(memory.restored_at, ARCHIVED, memory.memory_type, "it was needed again, or somebody asked for it")
    if memory.status == "archived" and not any(each.to_tier == ARCHIVED for each in own):
        reason = memory.archived_because or "merged into one that says the same"
        yield entry(memory.updated_at, memory.memory_type, ARCHIVED, reason)
    for event in events:
        for change in _set_changes(event.metadata):
            if change.get("memory_id") == memory.memory_id:
                before, after = (str(change.get(name, WORKING_MEMORY_TYPE)) for name in ("from", "to"))
                yield entry(event.timestamp, before, after, str(change.get("reason", "")))


def _moves_in(events: Iterable[ScheduleLogForWebItem]) -> Iterator[Move]:
    for event in events:
        if isinstance(event.metadata, dict) and event.metadata.get("subject") == "memory":
            try:
                yield Move.model_validate(event.metadata)
            except ValidationError:  # of a later version, or a handler's own event
                continue


def _set_changes(metadata: Any) -> Iterator[dict[str, Any]]:
    """What came into a working set or a block and left it, of an event that tells so: of the set's own, or of a
    move."""
    if not isinstance(metadata, dict):
        return
    within = metadata.get("working_set")
    for where in (metadata, within if isinstance(within, dict) else {}):
        for name in KINDS:
            changes = where.get(name)
            yield from (each for each in changes if isinstance(each, dict)) if isinstance(changes, list) else ()
