"""The running theme, a fifth mode beside those of ``value``; and after which request it alone says what is near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from memsched.policy.talk import TalkEvent, exchanges
from memsched.policy.theme_cache import ThemeCache
from memsched.policy.value import Floats, LinearMode, Mode, Moment, Ordinals

RUNNING_THEME = "running theme"


@dataclass(frozen=True, slots=True)
class RunningTheme:
    """What belongs to the theme that is going on is used next.

    Args:
        themes: the cube's themes.
    """

    themes: ThemeCache = field(repr=False)
    name: str = RUNNING_THEME
    prior: float = 0.3

    def scores(self, moment: Moment, rows: Ordinals, features: Floats) -> Floats:
        """See ``Mode``. Features play no part."""
        uses = [(event.at, self.themes.told[event.credited[0]].memory_id) for event in moment.past]
        themes = self.themes.at(uses, moment.known)
        older = moment.known - len(themes.told)
        found: Floats = np.where(rows < older, themes.oldest_score, themes.scores[np.maximum(rows - older, 0)])
        return found


def with_running_theme(modes: Sequence[LinearMode], themes: ThemeCache) -> list[Mode]:
    """The modes with this one beside them, which takes its share from all of them."""
    running = RunningTheme(themes)
    return [*(replace(mode, prior=(1 - running.prior) * mode.prior) for mode in modes), running]


def vague_request(talk: Sequence[TalkEvent], is_clear: Callable[[TalkEvent], bool]) -> TalkEvent | None:
    """The request that nobody answered yet, if it is vague: it does not say which memories it means.

    Only the last question may be one. Who never tells the answers, and leaves the question before it unanswered too,
    has no such requests: for them this would never end.

    Args:
        is_clear: whether a question says what it means (``CubeThemes.is_clear``).
    """
    ordered = exchanges(talk)
    if not ordered:
        return None
    (last, answer), before = ordered[-1], ordered[:-1]
    if answer is not None or (before and before[-1][1] is None) or is_clear(last):
        return None
    return last
