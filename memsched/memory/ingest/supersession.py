"""Supersession: which memory has taken whose place, written into the store, and taken back.

A superseded memory stays. It ranks lower (search/hybrid.py), knows by which one, why and since when, and can be brought
back. Of all memories that supersede one, the earliest of them does, in whatever order they arrived. A statement and the
turns that it was taken from share their fate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.derived import is_merged
from memsched.memory.ingest.revision import Revision
from memsched.memory.ingest.short_answers import revision
from memsched.memory.model import Memory, Undone, to_ms
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore

MOST_LINKS = 8
Link = TypeVar("Link")
"""Of one memory to later ones, and to earlier ones: the newest stay."""
_LONGEST_CHAIN = 8
_EVERYWHERE = Conditions(include_archived=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a later memory does to an earlier one, by their ids."""

    older: str
    newer: str
    revision: Revision


@dataclass(frozen=True, slots=True)
class Restored:
    """A memory that holds again, and the id of the one that had superseded it."""

    memory: Memory
    by: str


class Supersession:
    """Marks and links, and the undoing of them. All of it is safe to repeat."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def settle(
        self, ref: CubeRef, claims: Sequence[Claim], new: Sequence[Memory] = (), again: Sequence[Memory] = ()
    ) -> list[tuple[Memory, Memory]]:
        """Do what is claimed. Returns (older, newer) of what is superseded by that, also if it was so already.

        Args:
            new: statements that were taken from turns. Those of superseded turns are superseded from the start.
            again: memories that were said again: what may have revised them before does no more.
        """
        changes = _Changes(self._store, ref)
        await changes.load(each for claim in claims for each in (claim.older, claim.newer))
        done = await self._share_birth(changes, new)
        for each in again:
            await _outlive(changes, each.memory_id)
        known = [
            (older, newer, claim.revision)
            for claim in claims
            if (older := changes.get(claim.older)) and (newer := changes.get(claim.newer))
        ]
        for old, new_one, claimed in sorted(known, key=lambda each: (each[0].last_order, each[1].last_order)):
            older, newer = changes[old.memory_id], changes[new_one.memory_id]
            if is_refused(older, newer) or newer.last_order < older.last_order:
                continue
            if newer.superseded_by == older.memory_id:
                await _bring_back(changes, newer)
            _unlink(changes, newer.memory_id, older.memory_id)
            if claimed.verdict == "may_revise":
                await _link(changes, older, newer, claimed.because)
            elif claimed.verdict == "supersedes" and await _is_first(changes, older, newer):
                await _put_aside(changes, older, newer, claimed.because)
                done.append((older.memory_id, newer.memory_id))
            elif claimed.verdict == "supersedes":
                await _note(changes, older, newer)
        return await self._finish(changes, done)

    async def supersede(
        self, ref: CubeRef, older: Sequence[Memory], newer: Memory, because: str
    ) -> list[tuple[Memory, Memory]]:
        """Supersede memories because somebody says so, whatever superseded them before."""
        changes = _Changes(self._store, ref)
        await changes.load([newer.memory_id, *(each.memory_id for each in older)])
        done = []
        for each in older:
            old, new = changes.get(each.memory_id), changes.get(newer.memory_id)
            if old is not None and new is not None and not is_refused(old, new):
                await _put_aside(changes, old, new, because)
                done.append((old.memory_id, new.memory_id))
        return await self._finish(changes, done)

    async def unlink(self, ref: CubeRef, claims: Sequence[Claim]) -> None:
        """Take links back."""
        changes = _Changes(self._store, ref)
        await changes.load(each for claim in claims for each in (claim.older, claim.newer))
        for claim in claims:
            _unlink(changes, claim.older, claim.newer)
            if older := changes.get(claim.older):
                changes.set(claim.older, correctors=[name for name in older.correctors if name != claim.newer])
        await changes.write()

    async def restore(self, ref: CubeRef, memory_id: str) -> list[Restored]:
        """Say of a superseded memory, and of what shares its fate, that it holds after all.

        Whatever was said until now does not supersede it again.
        """
        changes = _Changes(self._store, ref)
        await changes.load([memory_id])
        memory = changes.get(memory_id)
        if memory is None or memory.superseded_by is None:
            return []
        newest = await self._store.newest(ref, 1, _EVERYWHERE)
        contenders = [*memory.correctors, *memory.may_be_revised_by, memory.superseded_by]
        await changes.load(contenders)
        known = [each for name in contenders if (each := changes.get(name))]
        until = max(each.told for each in (memory, *newest, *known))
        by = await self._with_what_shares_its_fate(changes, memory.superseded_by)
        family = [memory, *await self._kin(changes, memory)]
        restored = []
        for each in family:
            if each.superseded_by in by or each is memory:
                restored.append(Restored(each, str(each.superseded_by)))
                _note_undone(changes, each, until)
                await _bring_back(changes, each)
                for other in list(each.may_be_revised_by):
                    await changes.load([other])
                    _unlink(changes, each.memory_id, other)
                changes.set(each.memory_id, confirmed_at=until, correctors=[])
        await changes.write()
        return [Restored(changes[each.memory.memory_id], each.by) for each in restored]

    async def release(self, ref: CubeRef, going: Sequence[Memory]) -> None:
        """Memories are about to be deleted: what they superseded holds again, unless something else corrects it
        as well, or what superseded them does; and no link leads to them any more.
        """
        done = []
        gone = {each.memory_id for each in going}
        changes = _Changes(self._store, ref)
        for each in going:
            others = {*each.replaces, *each.may_revise, *each.may_be_revised_by, *filter(None, [each.superseded_by])}
            others |= {*each.undone, *each.undone_for}
            await changes.load(others - gone)
            for other in (each.superseded_by, *each.may_revise, *each.may_be_revised_by):
                if other is not None and (known := changes.get(other)):
                    changes.set(
                        other,
                        replaces=[name for name in known.replaces if name != each.memory_id],
                        may_revise=_without(known.may_revise, each.memory_id),
                        may_be_revised_by=_without(known.may_be_revised_by, each.memory_id),
                    )
            for other in (*each.undone, *each.undone_for):
                if known := changes.get(other):
                    undone_for = [name for name in known.undone_for if name != each.memory_id]
                    changes.set(other, undone=_without(known.undone, each.memory_id), undone_for=undone_for)
            newer = changes.get(each.superseded_by or "")
            for name in each.replaces:
                older = changes.get(name)
                if older is None or older.superseded_by != each.memory_id or is_merged(older):
                    continue
                await _bring_back(changes, older)
                by, because = await _next_corrector(changes, changes[name], gone, newer)
                if by is not None:
                    await _put_aside(changes, changes[name], by, because)
                    done.append((name, by.memory_id))
        await self._finish(changes, done)

    # -- fate ----------------------------------------------------------------------------------------------------

    async def _finish(self, changes: _Changes, done: list[tuple[str, str]]) -> list[tuple[Memory, Memory]]:
        """Have what shares the fate of what was put aside share it, and write all of it."""
        left, told = deque(done), dict.fromkeys(done)
        while left:
            older, newer = map(changes.__getitem__, left.popleft())
            if older.derived_from:
                also = await self._turns_with(changes, older, newer)
            else:
                also = await self._statements_with(changes, older, newer)
            for pair in also:
                if pair not in told:
                    told[pair] = None
                    left.append(pair)
        await changes.write()
        return [(changes[older], changes[newer]) for older, newer in told]

    async def _share_birth(self, changes: _Changes, new: Sequence[Memory]) -> list[tuple[str, str]]:
        done = []
        await changes.load(name for each in new for name in (each.memory_id, *each.derived_from))
        for each in new:
            fact, turns = changes.get(each.memory_id), [t for name in each.derived_from if (t := changes.get(name))]
            if fact is None or not turns or not all(turn.superseded_by for turn in turns):
                continue
            last = max(turns, key=lambda turn: turn.order)
            await changes.load([str(last.superseded_by)])
            by = changes.get(str(last.superseded_by))
            if by is None or is_refused(fact, by) or fact.superseded_by not in (None, by.memory_id):
                continue
            await _put_aside(changes, fact, by, last.superseded_because)
            done.append((fact.memory_id, by.memory_id))
        return done

    async def _turns_with(self, changes: _Changes, fact: Memory, newer: Memory) -> list[tuple[str, str]]:
        """The turns that a superseded statement was taken from: superseded, if they say no more than it does."""
        await changes.load([*fact.derived_from, *newer.derived_from])
        by = next((turn for name in newer.derived_from if (turn := changes.get(name))), newer)
        done = []
        for turn in [each for name in fact.derived_from if (each := changes.get(name))]:
            if turn.memory_id == by.memory_id or not turn.last_order < by.last_order or is_refused(turn, by):
                continue
            if turn.superseded_by is None and not says_no_more(turn, fact):
                await _link(changes, turn, by, fact.superseded_because)
            elif turn.superseded_by in (None, by.memory_id):
                await _put_aside(changes, turn, by, fact.superseded_because)
                done.append((turn.memory_id, by.memory_id))
        return done

    async def _statements_with(self, changes: _Changes, turn: Memory, newer: Memory) -> list[tuple[str, str]]:
        """What was taken from a superseded turn, and from none that still holds."""
        done = []
        for fact in await changes.derived_from([turn.memory_id]):
            await changes.load(fact.derived_from)
            holds = any(each.superseded_by is None for name in fact.derived_from if (each := changes.get(name)))
            if holds or fact.superseded_by not in (None, newer.memory_id) or is_refused(fact, newer):
                continue
            if fact.memory_id != newer.memory_id:
                await _put_aside(changes, fact, newer, turn.superseded_because)
                done.append((fact.memory_id, newer.memory_id))
        return done

    async def _kin(self, changes: _Changes, memory: Memory) -> list[Memory]:
        """The turns that a statement was taken from, and the other statements that were taken from these."""
        turns = memory.derived_from or [memory.memory_id]
        await changes.load(turns)
        facts = await changes.derived_from(turns)
        known = [each for name in turns if (each := changes.get(name))]
        return [each for each in (*known, *facts) if each.memory_id != memory.memory_id]

    async def _with_what_shares_its_fate(self, changes: _Changes, memory_id: str) -> set[str]:
        await changes.load([memory_id])
        memory = changes.get(memory_id)
        kin = [] if memory is None else await self._kin(changes, memory)
        return {memory_id, *(each.memory_id for each in kin)}


def says_no_more(turn: Memory, fact: Memory) -> bool:
    """Whether each word of a turn that means something is in a statement that was taken from it."""
    return set(stems(turn.searched_text)) <= set(stems(fact.searched_text))


class _Changes:
    """Memories as they will be, and what is to be written of them."""

    def __init__(self, store: MemoryStore, ref: CubeRef) -> None:
        self._store = store
        self._ref = ref
        self._known: dict[str, Memory | None] = {}
        self._fields: dict[str, dict[str, Any]] = {}

    async def load(self, memory_ids: Iterable[str]) -> None:
        unknown = [each for each in dict.fromkeys(memory_ids) if each not in self._known]
        if unknown:
            self._known |= dict.fromkeys(unknown)
            self._known |= await self._store.get(self._ref, unknown)

    async def derived_from(self, turns: Sequence[str]) -> list[Memory]:
        found = await self._store.derived_from(self._ref, turns)
        for each in found:
            self._known.setdefault(each.memory_id, each)
        return [self[each.memory_id] for each in sorted(found, key=lambda each: (each.order, each.memory_id))]

    def get(self, memory_id: str) -> Memory | None:
        return self._known.get(memory_id)

    def __getitem__(self, memory_id: str) -> Memory:
        memory = self._known[memory_id]
        if memory is None:
            raise KeyError(memory_id)
        return memory

    def set(self, memory_id: str, **fields: Any) -> None:
        memory = self._known.get(memory_id)
        if memory is None:
            return
        changed = {name: value for name, value in fields.items() if getattr(memory, name) != value}
        if changed:
            self._known[memory_id] = memory.model_copy(update=changed)
            self._fields.setdefault(memory_id, {}).update(changed)

    async def write(self) -> None:
        """All of it in one call, where it is no more than a call may hold."""
        now = to_ms(datetime.now(UTC))
        payloads = {
            memory_id: {
                **{name: to_ms(value) if isinstance(value, datetime) else value for name, value in fields.items()},
                "updated_at": now,
            }
            for memory_id, fields in self._fields.items()
        }
        self._fields = {}
        if payloads:
            await self._store.patch(self._ref, payloads)


async def _put_aside(changes: _Changes, older: Memory, newer: Memory, because: str) -> None:
    if older.superseded_by not in (None, newer.memory_id):
        await _bring_back(changes, older)
    _unlink(changes, older.memory_id, newer.memory_id)
    changes.set(
        older.memory_id,
        superseded_by=newer.memory_id,
        superseded_because=because,
        valid_until=newer.at if newer.at >= older.told else max(older.told, newer.told),
    )
    await _note(changes, older, newer)
    by = changes[newer.memory_id]
    changes.set(by.memory_id, replaces=sorted({*by.replaces, older.memory_id}))
    version = older.version
    for _ in range(_LONGEST_CHAIN):  # what was said before may come last: then the newer one has a successor already
        version = max(changes[by.memory_id].version, version + 1)
        changes.set(by.memory_id, version=version)
        await changes.load(filter(None, [by.superseded_by]))
        successor = changes.get(by.superseded_by or "")
        if successor is None or successor.version > version:
            return
        by = successor


def _note_undone(changes: _Changes, older: Memory, until: datetime) -> None:
    """That somebody undoes its correction: its history tells both."""
    by = changes.get(str(older.superseded_by))
    if by is None:
        return
    past: Undone = (older.superseded_because, to_ms(older.valid_until or by.at), to_ms(until))
    changes.set(older.memory_id, undone=_last({**_without(older.undone, by.memory_id), by.memory_id: past}))
    others = dict.fromkeys(name for name in by.undone_for if name != older.memory_id)
    changes.set(by.memory_id, undone_for=list(_last({**others, older.memory_id: None})))


async def _bring_back(changes: _Changes, older: Memory) -> None:
    await changes.load(filter(None, [older.superseded_by]))
    if by := changes.get(older.superseded_by or ""):
        changes.set(by.memory_id, replaces=[each for each in by.replaces if each != older.memory_id])
    changes.set(older.memory_id, superseded_by=None, superseded_because="", valid_until=None)


async def _note(changes: _Changes, older: Memory, newer: Memory) -> None:
    """That this one corrects it, too."""
    correctors = await _newest(changes, dict.fromkeys([*changes[older.memory_id].correctors, newer.memory_id], ""))
    changes.set(older.memory_id, correctors=sorted(correctors))


async def _next_corrector(
    changes: _Changes, older: Memory, gone: Set[str], newer: Memory | None
) -> tuple[Memory | None, str]:
    """What corrects a memory when its first corrector is gone, and why: the earliest of the others.

    Args:
        newer: what superseded that one, which may correct it as well.
    """
    names = [name for name in older.correctors if name not in gone]
    await changes.load(names)
    known = {each.memory_id: revision(each, older) for name in names if (each := changes.get(name))}
    if newer is not None and (found := revision(newer, older)).verdict == "supersedes":
        known[newer.memory_id] = found
    others = [changes[name] for name in known if changes[name].last_order > older.last_order]
    others = [each for each in others if not is_refused(older, each)]
    first = min(others, key=lambda each: _since_when(each, older), default=None)
    return first, (first and known[first.memory_id].because) or "this corrects it as well"


def _since_when(newer: Memory, older: Memory) -> tuple[int, int, int]:
    """When it was said first after another one."""
    return newer.order if newer.order > older.last_order else newer.last_order


async def _outlive(changes: _Changes, memory_id: str) -> None:
    """Part it from what may have revised it before it was said again."""
    await changes.load([memory_id])
    memory = changes.get(memory_id)
    if memory is None:
        return
    await changes.load(memory.may_be_revised_by)
    for name in memory.may_be_revised_by:
        if (other := changes.get(name)) and other.last_order < memory.last_order:
            _unlink(changes, memory_id, name)


async def _is_first(changes: _Changes, older: Memory, newer: Memory) -> bool:
    """Whether of what supersedes a memory this is the earliest, or is so already."""
    if older.superseded_by in (None, newer.memory_id):
        return True
    await changes.load([str(older.superseded_by)])
    other = changes.get(str(older.superseded_by))
    if other is None:
        return True
    return _since_when(newer, older) < _since_when(other, older) and revision(other, older).verdict == "supersedes"


def is_refused(older: Memory, newer: Memory) -> bool:
    """Whether somebody has said since that the older one holds after all."""
    return older.confirmed_at is not None and newer.told <= older.confirmed_at


async def _link(changes: _Changes, older: Memory, newer: Memory, because: str) -> None:
    revisers = await _newest(changes, {**changes[older.memory_id].may_be_revised_by, newer.memory_id: because})
    revised = await _newest(changes, {**changes[newer.memory_id].may_revise, older.memory_id: because})
    if newer.memory_id in revisers and older.memory_id in revised:
        for name in changes[older.memory_id].may_be_revised_by.keys() - revisers.keys():
            _unlink(changes, older.memory_id, name)
        for name in changes[newer.memory_id].may_revise.keys() - revised.keys():
            _unlink(changes, name, newer.memory_id)
        changes.set(older.memory_id, may_be_revised_by=revisers)
        changes.set(newer.memory_id, may_revise=revised)


async def _newest(changes: _Changes, links: dict[str, str]) -> dict[str, str]:
    """As many of them as may be, by id."""
    names = sorted(links)
    if len(names) > MOST_LINKS:
        await changes.load(names)
        there = [each for name in names if (each := changes.get(name))]
        there.sort(key=lambda each: (each.order, each.memory_id), reverse=True)
        names = sorted(each.memory_id for each in there[:MOST_LINKS])
    return {name: links[name] for name in names}


def _unlink(changes: _Changes, older: str, newer: str) -> None:
    if known := changes.get(older):
        changes.set(older, may_be_revised_by=_without(known.may_be_revised_by, newer))
    if known := changes.get(newer):
        changes.set(newer, may_revise=_without(known.may_revise, older))


def _last(links: dict[str, Link]) -> dict[str, Link]:
    """As many of them as may be, those that came last."""
    return dict(list(links.items())[-MOST_LINKS:])


def _without(links: dict[str, Link], memory_id: str) -> dict[str, Link]:
    return {name: because for name, because in links.items() if name != memory_id}
