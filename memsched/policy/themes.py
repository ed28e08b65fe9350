"""Themes: what a cube's memories are about, which theme is hot, and the order of memories under it.

Pure functions of the memories, of what answers used and of a moment: neither a clock, nor the order in which things
arrived, nor what was computed before has a part in it. The constants were fitted on fourteen stories in four languages
(docs/themes.md has the figures).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memsched.lexicon import is_without_spaces, stem, stems
from memsched.policy.theme import Theme, ThemeState
from memsched.policy.topic_words import content_terms, stop_words, topic_words
from memsched.policy.transitions import DAY_MS, ThemeHistory, ThemeLook, TransitionRules

Floats = NDArray[np.float64]
Ordinals = NDArray[np.int64]

WINDOW = 100
"""Memories that are looked at, the latest. What is older stands so far behind that no theme brings it back."""
_WORTHY = 0.5
_CLUSTERED = 40
"""Memories that may have a theme: the latest of those worth it. With 25, or 60, the figures are the same."""
_HOUR_MS = 3_600_000
_DAYS_BACK = 60
"""Days of which a theme's history tells. What was hot before has cooled to a four hundredth since."""

_AROUND = 20
"""Memories before and after one that say what is usual."""
_USUAL, _LENGTH, _NUMBER, _LINKED, _CREDITED = 0.7, 2.6, 0.6, 1.0, 1.2
_LEAST_LENGTH_DEVIATION, _LEAST_LINK_DEVIATION = 0.2, 0.05
_HAS_NUMBER = re.compile(r"\d|[一二两三四五六七八九十百千万]")

_TOLD_NEAR = 0.5
_WORD_HALF_LIFE_DAYS, _TIME_HALF_LIFE_DAYS = 30.0, 4.0
_TIME_LINK = 0.4
_JOINED_ABOVE = 0.08
_SINGLE_THREADED = 200_000
"""Multiplications that OpenBLAS does in one thread."""

_HEAT_HALF_LIFE_DAYS = 7.0
_ACTIVATED_SHARE = 0.5
_BEHIND, _FLOOR = 8.0, 0.05

_CLEAR_WORDS, _CLEAR_SHARE = 0.5, 0.25
_TERMS, _LABEL_TERMS = 6, 3


@dataclass(frozen=True, slots=True)
class Told:
    """What themes are told of a memory.

    Args:
        at: ms since the epoch.
    """

    memory_id: str
    text: str
    at: int


class CubeThemes:
    """The themes of a cube at one moment.

    Args:
        told: the memories in the order in which they were said; the latest ``WINDOW`` count.
        uses: (ms since the epoch, the memory that was credited best) of answers, in any order.
        now: ms since the epoch, the time of the latest message and not of the clock.
    """

    def __init__(self, told: Sequence[Told], uses: Iterable[tuple[int, str]], now: int) -> None:
        self.told = tuple(told[-WINDOW:])
        self._place = {each.memory_id: place for place, each in enumerate(self.told)}
        known = [(at, self._place[memory_id]) for at, memory_id in sorted(uses) if memory_id in self._place]
        self._uses, self._now = known, now
        self.worth, self._groups = _worth_and_groups(self.told, frozenset(place for _, place in known))
        ages = (now - np.array([each.at for each in self.told], dtype=float)) / DAY_MS
        warmth = self.worth * _faded(ages, _HEAT_HALF_LIFE_DAYS)
        for at, place in known:
            warmth[place] += _faded((now - at) / DAY_MS, _HEAT_HALF_LIFE_DAYS)
        self._heats = [float(warmth[group].sum()) for group in self._groups]
        self._shares = np.zeros(len(self.told))
        for group, heat in zip(self._groups, self._heats, strict=True):
            self._shares[group] = heat / max(self._heats)
        behind = self.worth.sum() - np.cumsum(self.worth)
        self.scores: Floats = np.log(self.worth) - behind / _BEHIND + np.log(_FLOOR + self._shares)
        self.oldest_score = math.log(0.5) - float(self.worth.sum()) / _BEHIND + math.log(_FLOOR)

    def score(self, memory_id: str) -> float:
        """How much a memory belongs to what is going on (S5): worth, age counted in worth, its theme's heat."""
        place = self._place.get(memory_id)
        return self.oldest_score if place is None else float(self.scores[place])

    def share(self, memory_id: str) -> float:
        """The heat of a memory's theme, 1 for the hottest theme's; 0 without a theme."""
        place = self._place.get(memory_id)
        return 0.0 if place is None else float(self._shares[place])

    def label_of(self, memory_id: str) -> str:
        """The label of a memory's theme; "" without one."""
        return self._labels.get(memory_id, "")

    def is_clear(self, question: str) -> bool:
        """Whether a question says which memories of a warm theme it means. If not, it is taken for a vague request.

        No statistic of words tells a vague request from a question, since both share words with what was told. So this
        errs on the safe side: the memory that best matches must hold half of the question's weight, and not be of a
        theme that is cold.
        """
        asked = {stem(word) for word in content_terms(question)}
        texts = [set(stems(each.text)) for each in self.told]
        counts = Counter(word for text in texts for word in text if word in asked)
        weights = {word: math.log(1 + (len(texts) - counts[word] + 0.5) / (counts[word] + 0.5)) for word in asked}
        held = [sum(weights[word] for word in asked & text) for text in texts]
        if not weights or not held:
            return False
        best = max(range(len(held)), key=lambda place: (round(held[place], 9), place))
        is_cold = 0 < self._shares[best] < _CLEAR_SHARE
        return bool(held[best] >= _CLEAR_WORDS * sum(weights.values()) and not is_cold)

    @cached_property
    def themes(self) -> list[Theme]:
        """Hottest first; ``activated`` at this moment, whatever was before: ``standing`` has the states that last."""
        ids = [self.told[group[0]].memory_id for group in self._groups]
        theme_at = {place: theme for theme, group in zip(ids, self._groups, strict=True) for place in group}
        order = [theme_at[place] for place in sorted(theme_at)]
        follows = Counter((first, then) for first, then in pairwise(order) if first != then)
        common = Counter(key for each in self.told for key in _read(each.text).keys)
        found = []
        for theme_id, group, heat in zip(ids, self._groups, self._heats, strict=True):
            terms = _terms([self.told[place].text for place in group], common, len(self.told))
            hot = heat >= _ACTIVATED_SHARE * max(self._heats) and len(group) > 1
            found.append(
                Theme(
                    theme_id,
                    ", ".join(terms[:_LABEL_TERMS]),
                    terms,
                    round(heat, 6),
                    "activated" if hot else "plaintext",
                    [self.told[place].memory_id for place in group],
                    {then: count for (first, then), count in sorted(follows.items()) if first == theme_id},
                )
            )
        return sorted(found, key=lambda theme: (-theme.heat, theme.theme_id))

    @cached_property
    def histories(self) -> list[ThemeHistory]:
        """How hot the themes were at the end of each of the last days, and are now; in the order of their ids' ages.

        The themes are those of now: what became of a theme that has dissolved since is nobody's history.
        """
        if not self._groups:
            return []
        told = np.array([each.at for each in self.told])
        first = max(int(told[self._groups[0][0]]), self._now - _DAYS_BACK * DAY_MS) // DAY_MS
        ends = np.append(np.arange(first + 1, self._now // DAY_MS + 1) * DAY_MS - 1, self._now)
        ages = ends[:, None] - told
        there = ages >= 0
        warmth = np.where(there, self.worth * _faded(ages / DAY_MS, _HEAT_HALF_LIFE_DAYS), 0.0)
        latest = np.where(there, told, 0)
        for at, place in self._uses:
            since = ends >= at
            warmth[since, place] += _faded((ends[since] - at) / DAY_MS, _HEAT_HALF_LIFE_DAYS)
            latest[since, place] = np.maximum(latest[since, place], at)
        heats = np.array([warmth[:, group].sum(axis=1) for group in self._groups])
        shares = heats / np.maximum(heats.max(axis=0), 1e-12)
        found = []
        for group, heat, share in zip(self._groups, heats.round(6).tolist(), shares.round(6).tolist(), strict=True):
            counts, last = there[:, group].sum(axis=1).tolist(), latest[:, group].max(axis=1).tolist()
            looks = list(map(ThemeLook, ends.tolist(), counts, heat, share, last))
            looks = looks[next((at for at, count in enumerate(counts) if count), len(looks) - 1) :]
            found.append(ThemeHistory([self.told[place].memory_id for place in group], looks))
        return found

    def standing(self, rules: TransitionRules) -> list[Theme]:
        """The themes, hottest first, with the states that the rules give them."""
        states: dict[str, ThemeState] = {}
        for history in self.histories:
            moves = rules.theme_moves(history)
            states[history.theme_id] = "activated" if moves and moves[-1].activated else "plaintext"
        return [replace(theme, state=states[theme.theme_id]) for theme in self.themes]

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {memory_id: theme.label for theme in self.themes for memory_id in theme.memory_ids}


@lru_cache(maxsize=128)
def _worth_and_groups(told: tuple[Told, ...], credited: frozenset[int]) -> tuple[Floats, list[list[int]]]:
    """The worth of each memory, and the clusters of the worthy ones: what does not change with time."""
    by_words, links = links_between(told)
    worth = worth_of(told, by_words.sum(axis=1), credited)
    worthy = [place for place, each in enumerate(worth) if each > _WORTHY][-_CLUSTERED:]
    return worth, [[worthy[each] for each in group] for group in clusters_of(links[np.ix_(worthy, worthy)])]


@dataclass(frozen=True, slots=True)
class _Read:
    """What is taken from a text.

    Args:
        words: what may tie it to others, as numbers (crc32).
        terms: the (stem, word) pairs that may name it. keys: their stems.
        length: ln(1 + stems).
    """

    words: Ordinals
    terms: tuple[tuple[str, str], ...]
    keys: frozenset[str]
    length: float
    without_spaces: bool
    has_number: bool


@lru_cache(maxsize=16_384)
def _read(text: str) -> _Read:
    terms = tuple((stem(word), word) for word in content_terms(text) if _may_name(word))
    return _Read(
        np.array(sorted(crc32(word.encode("utf-8", "surrogatepass")) for word in topic_words(text)), dtype=np.int64),
        terms,
        frozenset(key for key, _ in terms),
        math.log1p(len(stems(text))),
        is_without_spaces(text),
        _HAS_NUMBER.search(text) is not None,
    )


def _may_name(word: str) -> bool:
    if _HAS_NUMBER.search(word) is not None:
        return False
    return not (is_without_spaces(word) and stop_words() & set(word))


def worth_of(told: Sequence[Told], linked: Floats, credited: Set[int]) -> Floats:
    """The probability that a memory is more than chatter, compared with what was told around it.

    Chatter is short, has no numbers, is linked to nothing and used by no answer. No list of words decides.

    Args:
        told: oldest first.
        linked: by place, the sum of its links by words.
        credited: places of those that an answer used.
    """
    lengths = np.array([_read(each.text).length for each in told])
    scripts = np.array([_read(each.text).without_spaces for each in told], dtype=bool)  # their words count differently
    numbers = np.array([_read(each.text).has_number for each in told], dtype=float)
    length, link = np.zeros(len(told)), np.zeros(len(told))
    for script in (False, True):
        of_it = np.flatnonzero(scripts == script)
        length[of_it] = _deviations(lengths[of_it], _LEAST_LENGTH_DEVIATION)
        link[of_it] = _deviations(np.sqrt(linked[of_it]), _LEAST_LINK_DEVIATION)
    logits = _USUAL + _LENGTH * length + _NUMBER * numbers + _LINKED * link
    logits[sorted(credited)] += _CREDITED
    found: Floats = 1 / (1 + np.exp(-logits))
    return found


def links_between(told: Sequence[Told]) -> tuple[Floats, Floats]:
    """How much memories have to do with each other: by their words, and by words and time together.

    Args:
        told: oldest first.
    """
    if not told:
        return np.zeros((0, 0)), np.zeros((0, 0))
    times = np.array([each.at for each in told], dtype=float)
    words = [_read(each.text).words for each in told]
    known, columns = np.unique(np.concatenate(words), return_inverse=True)
    own = np.zeros((len(told), len(known)))
    own[np.repeat(np.arange(len(told)), [len(each) for each in words]), columns] = 1.0
    counts = own.sum(axis=0)
    own *= np.maximum(0.05, np.log((len(told) + 1) / counts) - 1)
    shared = own[:, counts > 1]
    products = _product(shared, shared.T) + np.diag((own[:, counts == 1] ** 2).sum(axis=1))
    near = np.where(np.abs(np.subtract.outer(times, times)) <= _HOUR_MS, _TOLD_NEAR, 0.0)
    np.fill_diagonal(near, 1.0)
    products = _product(_product(near, products), near)
    lengths = np.sqrt(np.maximum(products.diagonal(), 1e-18))
    days = np.abs(np.subtract.outer(times, times)) / DAY_MS
    by_words = np.clip(products / np.outer(lengths, lengths), 0.0, 1.0) * _faded(days, _WORD_HALF_LIFE_DAYS)
    np.fill_diagonal(by_words, 0.0)
    return by_words, np.sqrt(by_words) + _TIME_LINK * _faded(days, _TIME_HALF_LIFE_DAYS)


def _product(one: Floats, other: Floats) -> Floats:
    """Their product, some rows at a time: for so little, BLAS' threads would wait longer than they work."""
    rows = max(1, _SINGLE_THREADED // max(1, other.size))
    return np.vstack([one[at : at + rows] @ other for at in range(0, len(one), rows)])


def clusters_of(links: Floats) -> list[list[int]]:
    """Average-link clusters (UPGMA): the closest two are joined while their mean link is above a bound.

    Returns places, ascending; the clusters by their first.
    """
    groups = {place: [place] for place in range(len(links))}
    mean = links.copy()
    np.fill_diagonal(mean, -1.0)
    while len(groups) > 1:
        first, second = sorted(divmod(int(mean.argmax()), len(mean)))
        if mean[first, second] <= _JOINED_ABOVE:
            break
        one, other = len(groups[first]), len(groups[second])
        joined = (one * mean[first] + other * mean[second]) / (one + other)
        joined[(mean[first] < 0) | (mean[second] < 0)] = -1.0  # those gone, and the two themselves
        mean[first], mean[:, first] = joined, joined
        mean[second], mean[:, second] = -1.0, -1.0
        groups[first] = sorted(groups[first] + groups.pop(second))
    return sorted(groups.values())


def _deviations(values: Floats, least: float) -> Floats:
    """How far each is from the mean of those around it, in standard deviations (``least`` of them at least)."""
    places = np.arange(len(values))
    first, after = np.maximum(0, places - _AROUND), np.minimum(len(values), places + _AROUND + 1)
    sums, squares = np.cumsum([0.0, *values]), np.cumsum([0.0, *values**2])
    means = (sums[after] - sums[first]) / (after - first)
    variances = (squares[after] - squares[first]) / (after - first) - means**2
    found: Floats = (values - means) / np.maximum(least, np.sqrt(np.maximum(variances, 0.0)))
    return found


def _terms(texts: Sequence[str], common: Counter[str], among: int) -> list[str]:
    """The words that tell some texts from all, best first.

    Args:
        common: in how many of all texts a stem occurs; ``among``: of how many.
    """
    inside = Counter(key for text in texts for key in _read(text).keys)
    weights = {
        key: round(count * math.log((among + 1) / common[key]) * (count / common[key]), 9)
        for key, count in inside.items()
    }
    found: list[str] = []
    for key in sorted(weights, key=lambda key: (-weights[key], -len(key), key)):
        if len(found) == _TERMS:
            break
        spelt = Counter(word for text in texts for stemmed, word in _read(text).terms if stemmed == key)
        term = min(spelt, key=lambda word: (-spelt[word], word))
        if is_without_spaces(term):
            term = _whole(term, texts)
        if not any(term in other or other in term for other in found):
            found.append(term)
    return found


def _whole(pair: str, texts: Sequence[str]) -> str:
    """The word of which a pair of characters is part, of a script without spaces: what always stands around it."""
    total = sum(text.count(pair) for text in texts)
    for before, after in ((0, 1), (1, 0)):
        around = re.findall(rf"(?=(\w{{{before}}}{re.escape(pair)}\w{{{after}}}))", "\n".join(texts))
        if len(around) == total > 1 and len(set(around)) == 1 and not stop_words() & set(around[0]):
            return str(around[0])
    return pair


def _faded(days: Floats | float, half_life: float) -> Floats:
    return np.asarray(2.0 ** (-np.maximum(days, 0.0) / half_life))
