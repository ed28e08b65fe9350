"""The themes of one cube at any moment of its talk, computed again and again as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from memsched.policy.themes import WINDOW, CubeThemes, SharedWords, Told
from memsched.policy.value import PAST

K = TypeVar("K")
V = TypeVar("V")

_WINDOWS_KEPT = 3
_THEMES_KEPT = 8


class ThemeCache:
    """A cache of the themes at several moments: it makes the next call cheaper, and never its result another.

    Args:
        told: the cube's memories in the order in which they were said. It may grow.
    """

    def __init__(self, told: Sequence[Told]) -> None:
        self.told = told
        self._shared: dict[int, SharedWords] = {}
        self._themes: dict[tuple[int, tuple[tuple[int, str], ...], int], CubeThemes] = {}

    def at(self, uses: Sequence[tuple[int, str]], known: int, now: int = 0) -> CubeThemes:
        """The themes when ``known`` memories had been said.

        Args:
            uses: of answers, oldest first: ms since the epoch, and the memory that was credited best.
            now: ms since the epoch; heat is told as of the latest of all times.
        """
        told = self.told[max(0, known - WINDOW) : known]
        counted = tuple(uses[-PAST:])
        latest = max([now, *(at for at, _ in counted), *(each.at for each in told[-1:])])
        key = known, counted, latest
        found = self._themes.pop(key, None) or CubeThemes(told, counted, latest, self._shared_words(known))
        _keep(self._themes, key, found, _THEMES_KEPT)
        return found

    def forget(self) -> None:
        """To be called when ``told`` did not only grow."""
        self._shared.clear()
        self._themes.clear()

    def _shared_words(self, known: int) -> SharedWords:
        found, before = self._shared.pop(known, None), self._shared.get(known - 1)
        if found is None and before is not None and known > WINDOW:
            found = before.moved_on(self.told[known - 1])
        elif found is None:
            found = SharedWords.of(tuple(self.told[max(0, known - WINDOW) : known]))
        _keep(self._shared, known, found, _WINDOWS_KEPT)
        return found


def _keep(kept: dict[K, V], key: K, value: V, most: int) -> None:
    """As the one used last; the one that was not used for longest goes."""
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
