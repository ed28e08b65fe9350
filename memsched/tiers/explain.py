"""Explains what stands where in a cube: the same functions that decide it, with everything that went into them."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime

import numpy as np

from memsched.errors import UnknownMemory
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import from_ms
from memsched.messages import WORKING_MEMORY_TYPE
from memsched.policy.running_theme import RUNNING_THEME, with_running_theme
from memsched.policy.strategy import CubeMemory, WorkingSetPolicy
from memsched.policy.transitions import TransitionRules
from memsched.policy.value import FEATURES, MODES, LinearMode, Moment, Values
from memsched.tiers.checked import CheckedPolicy, CheckedRules
from memsched.tiers.cube_cache import RESTORABLE, CubeCache, CubeCaches
from memsched.tiers.explanation import Explanation, FeaturePart, MemoryExplained, ThemeExplained
from memsched.tiers.hot_state import HotState, HotStates
from memsched.tiers.moves import ARCHIVED, most_pins
from memsched.tiers.outlook import said_of, set_outlook
from memsched.tiers.placement import activated_memories, standings_of
from memsched.tiers.upkeep import now_of
from memsched.tiers.working_set import look_at, request_of, themes_of

_MOMENTS = 60
"""At which it is told how hot the themes were: enough for a chart."""


class Explainer:
    """Explains cubes and memories. Whether a user may see them is checked by the caller."""

    def __init__(
        self,
        states: HotStates,
        cubes: CubeCaches,
        rules: TransitionRules,
        policy: WorkingSetPolicy,
        working_set_size: int,
    ) -> None:
        self._states = states
        self._cubes = cubes
        self._rules = CheckedRules(rules)
        self._policy = CheckedPolicy(policy)
        self._size = working_set_size

    async def explain(self, ref: CubeRef, memory_id: str | None = None, reader: str = "") -> Explanation:
        """Raises UnknownMemory.

        Args:
            reader: who asks: of what is predicted they are told what is for them.
        """
        state = await self._states.snapshot(ref, [] if memory_id is None else [memory_id])
        # What is cached of the cube goes on with every message: from here on nothing is waited for.
        return self._explained(await self._cubes.current(ref), state, memory_id, reader)

    def _explained(self, cube: CubeCache, state: HotState, memory_id: str | None, reader: str) -> Explanation:
        if memory_id is not None and cube.ordinal(memory_id) is None:
            raise UnknownMemory(memory_id)
        values = cube.valuation.values(cube.columns(), cube.used(state.log), cube.available(), cube.generation)
        if request_of(cube, state):
            values = values.under(RUNNING_THEME)
        moves = state.moves or []
        moments, themes = self._themes(cube, state)
        activated = activated_memories(cube, state, self._rules)
        near = {each.memory_id for each in state.near(reader)}
        memory = None if memory_id is None else self._memory(cube, state, values, themes, activated, near, memory_id)
        shown = {each.memory_id for each in state.working_set}
        block = [each.memory_id for each in state.block]
        shown.update(cube.pinned(state.placement.pins), block, state.block_before)
        shown.update(each.subject_id for each in moves if each.subject == "memory")
        return Explanation(
            at=from_ms(now_of(cube, state)) if len(cube) else None,
            shares=values.shares,
            sizes={
                "working": len(state.working_set),
                "activated": len(activated),
                "near": cube.near_count(),
                "archived": len(cube.archived()),
                "pinned": len(cube.pinned(state.placement.pins)),
            },
            capacities={"working": self._size, "pinned": most_pins(self._size)},
            themes=themes,
            pins=cube.pinned(state.placement.pins),
            moves=moves,
            working_set=state.working_set,
            texts={each: found.indexed_text for each in sorted(shown) if (found := cube.memory(each)) is not None},
            memory=memory,
            block=block,
            block_before=state.block_before,
            moments=moments,
        )

    def _themes(self, cube: CubeCache, state: HotState) -> tuple[list[datetime], list[ThemeExplained]]:
        """The themes, with their heat at these moments."""
        found = cube.themes(state.log, now=now_of(cube, state))
        moments, heats = found.curves(_MOMENTS)
        histories = {each.theme_id: each for each in found.histories}
        explained = []
        for theme in themes_of(cube, state, self._rules):
            history = histories[theme.theme_id]
            moves = self._rules.theme_moves(history)
            explained.append(
                ThemeExplained(
                    theme_id=theme.theme_id,
                    label=theme.label,
                    state=theme.state,
                    heat=theme.heat,
                    share=history.looks[-1].share,
                    since=from_ms(moves[-1].at) if moves else None,
                    reason=moves[-1].reason if moves else "",
                    memory_ids=theme.memory_ids,
                    heats=heats[theme.theme_id],
                )
            )
        return [from_ms(at) for at in moments], explained

    def _memory(
        self,
        cube: CubeCache,
        state: HotState,
        values: Values,
        themes: list[ThemeExplained],
        activated: list[str],
        near: Set[str],
        memory_id: str,
    ) -> MemoryExplained:
        ordinal = cube.ordinal(memory_id)
        assert ordinal is not None
        memory = cube.memories[ordinal]
        use = state.uses.get(memory_id)
        theme = next((each for each in themes if memory_id in each.memory_ids), None)
        may = cube.available()
        ranked = values.best(len(cube), may).tolist()
        place = ranked.index(ordinal) + 1 if may[ordinal] else None
        subjects = {("memory", memory_id), ("theme", theme.theme_id if theme else "")}
        pins = cube.pinned(state.placement.pins)
        pinned = memory_id in pins
        (parts,) = values.parts([ordinal])
        outlook = self._of_the_set(cube, state, memory, place, len(ranked), pinned, memory_id in near)
        if memory_id in pins[most_pins(self._size) :]:
            outlook = (
                f"It is pinned, and so stays out of the archive. But of {len(pins)} pinned ones only the first "
                f"{most_pins(self._size)} have places in the working set; by its value it may have another."
            )
        if not pinned and memory.archived in ("", *RESTORABLE):
            shares = dict.fromkeys(theme.memory_ids, theme.share) if theme else {}
            standing = next(
                each
                for each in standings_of(cube, state, set(activated), shares, state.uses, {})
                if each.memory.memory_id == memory_id
            )
            outlook = f"{outlook} {self._rules.outlook(standing, now_of(cube, state))}"
        return MemoryExplained(
            memory_id=memory_id,
            text=memory.indexed_text,
            tier=ARCHIVED if memory.archived else WORKING_MEMORY_TYPE if memory_id in near else memory.memory_type,
            archived_because=memory.archived,
            activated=memory_id in activated,
            pinned=pinned,
            place=place,
            value=float(values.value[ordinal]),
            by_mode=parts,
            features=features_of(cube, state, ordinal),
            uses=use.count if use else 0,
            last_used=from_ms(use.last) if use else None,
            credited=[from_ms(event.at) for event in state.log if memory_id in event.credited],
            theme=theme,
            moves=[each for each in state.moves or () if (each.subject, each.subject_id) in subjects],
            outlook=outlook.strip(),
        )

    def _of_the_set(
        self,
        cube: CubeCache,
        state: HotState,
        memory: CubeMemory,
        place: int | None,
        among: int,
        pinned: bool,
        near: bool,
    ) -> str:
        """What would have it enter or leave the working set, in words."""
        if pinned:
            return "It is pinned: it stays in the working set and out of the archive until it is unpinned."
        if memory.archived == "asked":
            return "Somebody archived it: only `restore` brings it back."
        if memory.archived:
            return "It is merged into one that says the same." if memory.archived == "merged" else ""
        if place is None:
            return "It was corrected, or something newer says the same: it is not near any more."
        look = look_at(cube, state, self._size, self._rules, also=lambda each: each.memory_id == memory.memory_id)
        outlook = set_outlook(self._policy, look, state, self._size, memory.memory_id)
        return f"By value it is number {place} of {among}. {said_of(outlook, memory, state, near)}"


def features_of(cube: CubeCache, state: HotState, ordinal: int) -> list[FeaturePart]:
    """The features of one memory, and what each gives to its score under each mode that goes by them."""
    moment = Moment(cube.columns(), cube.used(state.log), len(cube))
    (row,) = moment.features(np.array([ordinal])).tolist()
    modes = [mode for mode in with_running_theme(MODES, cube.theme_cache) if isinstance(mode, LinearMode)]
    return [
        FeaturePart(
            name=name,
            value=round(value, 6),
            by_mode={mode.name: round(value * mode.weights[at], 6) for mode in modes},
        )
        for at, (name, value) in enumerate(zip(FEATURES, row, strict=True))
    ]
