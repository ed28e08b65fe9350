"""Placement: moves memories and themes between tiers, as the transition rules say, or as somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from memsched.errors import MemoryPinned, MemorySuperseded, TooManyPins, UnknownMemory
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_journal import ForgetJournal
from memsched.memory.ingest.retelling import names_of
from memsched.memory.ingest.supersession import Restored, Supersession
from memsched.memory.model import Memory, from_ms, to_ms
from memsched.memory.store.store import MemoryStore
from memsched.memory.tombstones import Tombstones
from memsched.messages import ACTIVATION_MEMORY_TYPE, LONG_TERM_MEMORY_TYPE, MAX_ID_CHARACTERS
from memsched.policy.strategy import CubeMemory
from memsched.policy.talk import ANSWERS_KEPT, Answered
from memsched.policy.transitions import DAY_MS, Archiving, Standing, ThemeHistory, ThemeMove, TransitionRules
from memsched.policy.value import CREDITED
from memsched.tiers.checked import CheckedRules
from memsched.tiers.cube_cache import RESTORABLE, CubeCache, CubeCaches, archived_because
from memsched.tiers.hot_state import HotState, HotStates, Use
from memsched.tiers.moves import (
    ARCHIVED,
    LATEST_KEPT,
    MOVES_DECIDED,
    MOVES_KEPT,
    PINNED,
    PLAIN_TEXT,
    ActivatedTheme,
    Move,
    Placement,
    latest_moves,
    most_pins,
)
from memsched.tiers.set_changes import set_changes
from memsched.tiers.upkeep import now_of
from memsched.tiers.working_set import WorkingSets, themes_of

_DIGITS = 9
_RECUT = "the talk is cut into themes anew, so that its memories and its past are others than before"


class Placements:
    """Where the memories of all cubes stand. Whether a user may move them is checked by the caller.

    A message's moves are written down first, in one compare-and-set with the rest of the hot state, and then done to
    the store: who dies in between finds them, and does them again. So one message decides at most ``MOVES_DECIDED``.

    Args:
        working_set_size: of which half may be pinned.
    """

    def __init__(
        self,
        states: HotStates,
        cubes: CubeCaches,
        store: MemoryStore,
        working_sets: WorkingSets,
        rules: TransitionRules,
        asked: ForgetJournal,
        tombstones: Tombstones,
        *,
        working_set_size: int,
    ) -> None:
        self._states = states
        self._cubes = cubes
        self._store = store
        self._supersession = Supersession(store)
        self._working_sets = working_sets
        self._rules = CheckedRules(rules)
        self._asked = asked
        self._tombstones = tombstones
        self._most_pins = most_pins(working_set_size)

    # -- by the rules --------------------------------------------------------------------------------------------

    async def decide(
        self, ref: CubeRef, marks: Mapping[str, str], needed: Mapping[str, int], rounds: int = 0
    ) -> tuple[list[Move], bool]:
        """Let the rules decide, and do it. Returns the moves of these messages, and whether there may be more to make.

        Args:
            marks: by message id, the mark of its effect.
            needed: by id of an archived memory, when it was needed; it is restored.
            rounds: how many decisions these messages go on from. Each memory moves once at most, unless the rules say
                otherwise each time they are asked: after as many rounds as that takes it is enough.
        """
        cause = list(marks)[-1]

        async def compute(state: HotState, _: set[str]) -> HotState:
            cube = await self._cubes.current(ref)
            uses = await self._states.uses(ref, [each.memory_id for each in cube.memories])
            decision = _Decision(cube, state, self._rules, cause)
            moves = [*decision.of_themes(), *decision.of_memories(uses, needed)]
            kept = latest_moves(await self._states.moves(ref), moves[:MOVES_DECIDED])
            changes = state.placement.changes + bool(moves)
            placement = decision.placement().model_copy(update={"changes": changes})
            return state.model_copy(update={"placement": placement, "moves": kept})

        await self._states.change(ref, list(marks.values()), compute)
        made = [move for move in await self._states.moves(ref) if move.cause in marks]
        told, _ = await self._perform(ref, made, restored=needed)
        if len(told) < MOVES_KEPT:  # of more the next decision leaves the last ones, if there is nothing else to move
            return told, False
        if rounds > 1 + len(await self._cubes.current(ref)) // MOVES_DECIDED:
            self._rules.are_never_done()
            return told, False
        return told, True

    async def _perform(
        self, ref: CubeRef, moves: Sequence[Move], restored: Mapping[str, int]
    ) -> tuple[list[Move], set[str]]:
        """Do to the store, and then to the working set, what was written down.

        Returns the moves, the last one with what they changed in the set, and the ids of what was restored again.
        That is what somebody pinned after it was written down. Whoever pins looks at the store after the pin is
        written, and here the pins are looked at after the store is: so one of the two sees the other.
        """
        now = to_ms(datetime.now(UTC))  # when it was written, not when it happened
        changes: dict[str, dict[str, Any]] = {}
        fields: dict[str, Any]
        for move in moves:
            if move.subject == "memory" and move.to_tier == ARCHIVED:
                fields = {"status": "archived", "archived_because": move.because, "updated_at": now}
                changes[move.subject_id] = fields
            elif move.subject == "memory" and move.from_tier == ARCHIVED:
                fields = {"status": "activated", "archived_because": "", "updated_at": now}
                if move.subject_id in restored:
                    fields["restored_at"] = min(restored[move.subject_id], now)
                changes[move.subject_id] = fields
        if not changes:
            return list(moves), set()
        await self._store.patch(ref, changes)
        before, state = await self._recompute(ref)
        pins = (await self._cubes.current(ref)).pinned(state.placement.pins)
        pinned = {each for each in pins if each in changes and changes[each]["status"] == "archived"}
        for memory_id in sorted(pinned):
            await self.restore(ref, memory_id)
        changed = set_changes(before, state) or moves[-1].working_set
        return [*moves[:-1], moves[-1].model_copy(update={"working_set": changed})], pinned

    async def _recompute(self, ref: CubeRef) -> tuple[HotState, HotState]:
        async def compute(state: HotState, _: set[str]) -> HotState:
            return await self._working_sets.recompute(ref, state)

        return await self._states.change(ref, [], compute)

    # -- by hand -------------------------------------------------------------------------------------------------

    async def pin(self, ref: CubeRef, memory_id: str) -> Move | None:
        """Keep a memory in the working set, and out of the archive. Returns the move; None if it was pinned already.

        Raises UnknownMemory, MemorySuperseded and TooManyPins.
        """
        memory = await self._memory(ref, memory_id)
        if memory.superseded_by is not None:
            raise MemorySuperseded(memory_id, memory.superseded_by)
        cube = await self._cubes.current(ref)

        def pinned(pins: list[str]) -> list[str]:
            if memory_id in cube.pinned(pins):
                return pins
            there = [each for each in pins if cube.pinned([each])]  # one of a memory that is no more counts for nothing
            if len(there) >= self._most_pins:
                raise TooManyPins(self._most_pins)
            return [*there, memory_id]

        move = await self._change_pins(ref, memory, pinned, PINNED)
        if move is not None and move.from_tier == ARCHIVED:
            (move,), _ = await self._perform(ref, [move], restored={memory_id: to_ms(move.at)})
        elif (await self._memory(ref, memory_id)).status == "archived":  # meanwhile, or an earlier call died
            await self.restore(ref, memory_id)
        return move

    async def unpin(self, ref: CubeRef, memory_id: str) -> Move | None:
        """Let a memory come and go as others do. Returns the move; None if it was not pinned."""
        memory = await self._memory(ref, memory_id)
        cube = await self._cubes.current(ref)

        def unpinned(pins: list[str]) -> list[str]:  # also under the name of what it corrects
            return [each for each in pins if memory_id not in (each, *cube.pinned([each]))]

        return await self._change_pins(ref, memory, unpinned, "")

    async def archive(self, ref: CubeRef, memory_id: str) -> Move | None:
        """Put a memory away until it is restored. Returns the move; None if somebody had archived it already.

        Told again in its history it stays away, also with other tags. Raises UnknownMemory and MemoryPinned.
        """
        memory = await self._memory(ref, memory_id)
        there = archived_because(memory) not in ("asked", "merged")
        move = await self._move_by_hand(ref, memory, ARCHIVED) if there else None
        await self._tombstones.lay(ref, sorted(names_of(memory)))
        return move

    async def restore(self, ref: CubeRef, memory_id: str) -> Move | None:
        """Bring a memory back from the archive. Returns the move; None if it was not there. Raises UnknownMemory.

        Whoever asked to forget it asks no more.
        """
        memory = await self._memory(ref, memory_id)
        if memory.status == "activated":
            return None
        await self._asked.undo(ref, [memory.text])
        await self._tombstones.lift(ref, sorted(names_of(memory)))
        return await self._move_by_hand(ref, memory, memory.memory_type)

    async def reinstate(self, ref: CubeRef, memory_id: str) -> list[Restored]:
        """Undo the correction of a memory: it holds after all. Returns what holds again with it; [] if it did."""
        restored = await self._supersession.restore(ref, memory_id)
        if restored:
            await self._recompute(ref)
        return restored

    async def bring(self, ref: CubeRef, pins: Sequence[str], log: Sequence[Mapping[str, Any]]) -> None:
        """Pins and log of a dump, beside what is here: as many pins as may be, and of all events the latest."""
        now = to_ms(datetime.now(UTC))
        events: dict[str, Answered] = {}
        for each in log:
            with suppress(ValidationError):  # a stranger's: what is no event is left out
                event = Answered.model_validate({name: each.get(name) for name in ("event_id", "at", "credited")})
                if event.credited and 0 < event.at <= now and len(event.event_id) <= 2 * MAX_ID_CHARACTERS:
                    events[event.event_id] = event.model_copy(update={"credited": event.credited[:CREDITED]})

        async def compute(state: HotState, _: set[str]) -> HotState:
            cube = await self._cubes.current(ref)
            wanted = cube.pinned([*state.placement.pins, *pins])
            stay = [each for each in wanted if (memory := cube.memory(each)) and not memory.archived]
            placement = state.placement.model_copy(update={"pins": stay[: self._most_pins]})
            known = {event.event_id: event for event in state.log}
            kept = sorted({**events, **known}.values(), key=lambda event: event.order)[-ANSWERS_KEPT:]
            return await self._working_sets.recompute(
                ref, state.model_copy(update={"placement": placement, "log": kept})
            )

        if pins or events:
            await self._states.change(ref, [], compute)

    async def _memory(self, ref: CubeRef, memory_id: str) -> Memory:
        found = (await self._cubes.current(ref)).ordinal(memory_id)
        memory = (await self._store.get(ref, [memory_id])).get(memory_id) if found is not None else None
        if memory is None:
            raise UnknownMemory(memory_id)
        return memory

    async def _change_pins(
        self, ref: CubeRef, memory: Memory, change: Callable[[list[str]], list[str]], tier: str
    ) -> Move | None:
        made: Move | None = None

        async def compute(state: HotState, _: set[str]) -> HotState:
            nonlocal made
            pins = change(state.placement.pins)
            if pins == state.placement.pins:
                made = None
                return state
            cube = await self._cubes.current(ref)
            away = ARCHIVED if tier and memory.status == "archived" else memory.memory_type
            made = _by_hand(cube, state, memory, away if tier else PINNED, tier or away)
            placement = state.placement.model_copy(update={"pins": pins})
            kept = latest_moves(await self._states.moves(ref), [made])
            after = state.model_copy(update={"placement": placement, "moves": kept})
            return await self._working_sets.recompute(ref, after)

        before, after = await self._states.change(ref, [], compute)
        return made and made.model_copy(update={"working_set": set_changes(before, after)})

    async def _move_by_hand(self, ref: CubeRef, memory: Memory, tier: str) -> Move:
        cube, state = await self._cubes.current(ref), await self._states.load(ref)
        move = _by_hand(cube, state, memory, memory.memory_type if tier == ARCHIVED else ARCHIVED, tier)

        async def compute(state: HotState, _: set[str]) -> HotState:
            if tier == ARCHIVED and memory.memory_id in cube.pinned(state.placement.pins):
                raise MemoryPinned(memory.memory_id)
            return state.model_copy(update={"moves": latest_moves(await self._states.moves(ref), [move])})

        await self._states.change(ref, [], compute)
        (told,), pinned = await self._perform(ref, [move], restored={memory.memory_id: to_ms(move.at)})
        if pinned:
            raise MemoryPinned(memory.memory_id)
        return told


class _Decision:
    """What the rules say of one cube at one moment, and how it differs from what was."""

    def __init__(self, cube: CubeCache, state: HotState, rules: TransitionRules, cause: str) -> None:
        self._cube = cube
        self._state = state
        self._rules = rules
        self._cause = cause
        self._now = now_of(cube, state)
        self._themes = cube.themes(state.log, now=self._now)
        self._moves = {each.theme_id: list(rules.theme_moves(each)) for each in self._themes.histories}
        self._activated = {
            theme_id: moves[-1].at for theme_id, moves in self._moves.items() if moves and moves[-1].activated
        }
        self._went_on = {holder: each for each in state.placement.activated if (holder := self._is_now(each))}
        """By id of a theme of now, the activated one that it goes on with."""
        self._told_now: dict[str, int] = {}

    def placement(self) -> Placement:
        activated = [
            ActivatedTheme(
                theme_id=each.theme_id,
                since=self._activated[each.theme_id],
                latest=list(each.memory_ids[-LATEST_KEPT:]),
            )
            for each in sorted(self._themes.histories, key=lambda each: each.theme_id)
            if each.theme_id in self._activated
        ]
        before = self._state.placement
        told = {}
        for each in activated:
            if each.theme_id in self._told_now:
                told[each.theme_id] = each.theme_id, self._told_now[each.theme_id]
            elif (old := self._went_on.get(each.theme_id)) is not None:
                told[each.theme_id] = self._told_of(old)
        return before.model_copy(update={"at": self._now, "activated": activated, "told": told})

    def _told_of(self, theme: ActivatedTheme) -> tuple[str, int]:
        return self._state.placement.told.get(theme.theme_id, (theme.theme_id, theme.since))

    def of_themes(self) -> list[Move]:
        """The moves of themes since moves were decided last, oldest first."""
        found: list[tuple[str, ThemeMove, bool]] = []
        was = self._state.placement
        for history in self._themes.histories:
            theme_id, moves = history.theme_id, self._moves[history.theme_id]
            old = self._went_on.get(theme_id)
            activated, same_past = old is not None, old is None or _tell_of(moves, self._told_of(old)[1])
            for move in moves:
                if move.at > was.at and move.activated != activated:
                    activated = move.activated
                    found.append((theme_id, move, same_past))
            if activated != (theme_id in self._activated):
                found.append((theme_id, self._as_cut_now(history), False))
        went_on = {each.theme_id for each in self._went_on.values()}
        for each in was.activated:
            if each.theme_id not in went_on and not self._is_now(each):
                found.append((each.theme_id, ThemeMove(self._now, False, "it is a theme no longer", 0.0, 0.0), False))
        found.sort(key=lambda each: (each[1].at, each[1].activated, each[0]))
        self._told_now = {theme_id: move.at for theme_id, move, _ in found if move.activated}
        return [self._theme_move(*each) for each in found]

    def _is_now(self, theme: ActivatedTheme) -> str:
        """The theme of now that holds most of what an earlier one held; "" for none. New memories cut the talk anew."""
        held = [(len({*theme.latest} & {*each.memory_ids}), each.theme_id) for each in self._themes.histories]
        most, theme_id = max(held, default=(0, ""))
        return theme_id if most else ""

    def _as_cut_now(self, history: ThemeHistory) -> ThemeMove:
        """The move of a theme whose memories are others than when moves were decided last, so that its past is too."""
        if moves := self._moves[history.theme_id]:
            return replace(moves[-1], at=self._now)
        look = history.looks[-1]
        return ThemeMove(self._now, False, "with its memories of now it never was hot enough", look.heat, look.share)

    def _theme_move(self, theme_id: str, move: ThemeMove, same_past: bool) -> Move:
        old = self._went_on.get(theme_id)
        formerly = "" if old is None else self._told_of(old)[0]
        return Move(
            at=from_ms(move.at),
            subject="theme",
            subject_id=theme_id,
            from_tier=PLAIN_TEXT if move.activated else ACTIVATION_MEMORY_TYPE,
            to_tier=ACTIVATION_MEMORY_TYPE if move.activated else PLAIN_TEXT,
            label=self._themes.label_of(theme_id),
            reason=move.reason if same_past else f"{move.reason}; {_RECUT}",
            parts={"heat": move.heat, "share": move.share},
            because="" if same_past else "recut",
            formerly="" if formerly == theme_id else formerly,
            cause=self._cause,
        )

    def of_memories(self, uses: Mapping[str, Use], needed: Mapping[str, int]) -> list[Move]:
        """What is to be archived and what restored, in the order in which it was said."""
        pins = set(self._cube.pinned(self._state.placement.pins))
        standings = [
            replace(each, archived="") if each.memory.memory_id in needed else each
            for each in standings_of(
                self._cube, self._state, self._active_members(), self._theme_shares(), uses, needed
            )
        ]
        shall = self._rules.archived(standings, self._now)
        found = []
        for each in standings:
            archiving = shall.get(each.memory.memory_id) if each.memory.memory_id not in pins else None
            if (archiving is None) == bool(each.memory.archived):
                found.append(self._memory_move(each, archiving, needed))
        return found

    def _active_members(self) -> set[str]:
        histories = self._themes.histories
        return {each for history in histories if history.theme_id in self._activated for each in history.memory_ids}

    def _theme_shares(self) -> dict[str, float]:
        histories = self._themes.histories
        return {memory_id: history.looks[-1].share for history in histories for memory_id in history.memory_ids}

    def _memory_move(self, standing: Standing, archiving: Archiving | None, needed: Mapping[str, int]) -> Move:
        memory = standing.memory
        if archiving is not None:
            reason, because = archiving.reason, archiving.because
        elif memory.memory_id in needed:
            reason, because = "an answer used it, or a question meant it", "needed"
        elif standing.pinned:
            reason, because = "it is pinned", "pinned"
        else:
            reason, because = "nothing has it archived any more", "kept"
        return Move(
            at=from_ms(self._now),
            subject="memory",
            subject_id=memory.memory_id,
            from_tier=memory.memory_type if archiving else ARCHIVED,
            to_tier=ARCHIVED if archiving else memory.memory_type,
            reason=reason,
            parts={"value": round(standing.value, _DIGITS)},
            because=because,
            cause=self._cause,
        )


def _tell_of(moves: Sequence[ThemeMove], at: int) -> bool:
    """Whether a theme's moves have the activation that people were told of, to the day: then the least stay holds."""
    return any(each.activated and each.at // DAY_MS == at // DAY_MS for each in moves)


def standings_of(
    cube: CubeCache,
    state: HotState,
    activated: set[str],
    shares: Mapping[str, float],
    uses: Mapping[str, Use],
    needed: Mapping[str, int],
) -> list[Standing]:
    """Where each memory stands that the rules may move, oldest first.

    Args:
        activated: ids of the members of activated themes.
        shares: by memory id, the share of the hottest theme's heat that its theme has.
        needed: by id of an archived memory, when it was needed. What is in the archive counts as asked for by this
            alone: that it happens to be among a question's hits does not bring it back.
    """
    pins = set(cube.pinned(state.placement.pins))
    values = cube.valuation.values(cube.columns(), cube.used(state.log), cube.available(), cube.generation)
    asked = {memory_id: event.at for event in state.log for memory_id in event.credited}

    def last_needed(each: CubeMemory) -> int:
        times = [to_ms(each.at), to_ms(each.restored_at) if each.restored_at else 0]
        if (use := uses.get(each.memory_id)) is not None:
            times.append(use.last)
        times.append((needed if each.archived else asked).get(each.memory_id, 0))
        return max(times)

    return [
        Standing(
            each,
            float(values.value[ordinal]),
            last_needed(each),
            pinned=each.memory_id in pins,
            theme_activated=each.memory_id in activated,
            theme_share=shares.get(each.memory_id),
            archived=each.archived,
        )
        for ordinal, each in enumerate(cube.memories)
        if each.archived in ("", *RESTORABLE) or (each.archived == "asked" and each.memory_id in pins)
    ]


def activated_memories(cube: CubeCache, state: HotState, rules: TransitionRules) -> list[str]:
    """The ids of the memories that are activated: those of activated themes, hottest first, each oldest first."""
    themes = [theme for theme in themes_of(cube, state, rules) if theme.state == "activated"]
    return [memory_id for theme in themes for memory_id in theme.memory_ids]


def _by_hand(cube: CubeCache, state: HotState, memory: Memory, from_tier: str, to_tier: str) -> Move:
    return Move(
        at=from_ms(now_of(cube, state)),
        subject="memory",
        subject_id=memory.memory_id,
        from_tier=from_tier,
        to_tier=to_tier or LONG_TERM_MEMORY_TYPE,
        reason="somebody asked for it",
        because="asked",
    )
