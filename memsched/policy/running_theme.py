"""The running theme, a fifth mode beside those of ``value``; and after which request it alone says what is near."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from memsched.policy.talk import Answered, TalkEvent, exchanges
from memsched.policy.theme_cache import ThemeCache
from memsched.policy.value import Floats, LinearMode, Mode, Moment, Ordinals

RUNNING_THEME = "running theme"
_TOLD_OF = 8
"""Questions, beside vague ones, of which one at least must have had an answer."""


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


def vague_requests(
    talk: Sequence[TalkEvent], log: Sequence[Answered], is_clear: Callable[[TalkEvent, Set[str]], bool]
) -> list[TalkEvent]:
    """The requests without an answer that do not say which memories they mean, oldest first.

    What their words happen to find says nothing of what they are about, however many come in a row. Who tells no
    answers to clear questions has no such requests: for them this would never end.

    Args:
        log: also of the exchanges before the talk.
        is_clear: whether a question says what it means (``CubeThemes.is_clear``), after these requests.
    """
    found: dict[str, TalkEvent] = {}
    pairs = sorted(exchanges(talk), key=lambda pair: pair[0].order)
    before = [entry for entry in log if pairs and entry.order < pairs[0][0].order]
    tells = [entry.was_answered for entry in before if entry.was_answered or entry.credited]
    for asked, answer in pairs:
        may_be = answer is None and (not tells or any(tells[-_TOLD_OF:]))
        if may_be and not is_clear(asked, found.keys()):
            found[asked.event_id] = asked
        else:
            tells.append(answer is not None)
    return list(found.values())
