"""Themes: what a cube's memories are about, which theme is hot, and the order of memories under it.

Pure functions of the memories, of what answers used and of a moment: neither a clock, nor the order in which things
arrived, nor what was computed before has a part in it. The constants were fitted on fourteen stories in four languages
(docs/themes.md has the figures).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from heapq import heapify, heappop
from itertools import chain, pairwise
from typing import overload
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memsched.lexicon import is_question, is_without_spaces, stem, stems, words
from memsched.memory.content.topic_words import content_terms, stop_words, topic_words
from memsched.policy.theme import Theme, ThemeState
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
_LEAST_DEVIATIONS = np.array([0.2, 0.05])
"""Of the length, and of the links."""
_HAS_NUMBER = re.compile(r"\d|[一二两三四五六七八九十百千万]")

_TOLD_NEAR = 0.5
_WORD_HALF_LIFE_DAYS, _TIME_HALF_LIFE_DAYS = 30.0, 4.0
_TIME_LINK = 0.4
_JOINED_ABOVE = 0.08
_EXACT = 2.0**20
"""Weights are whole multiples of its inverse: their sums are exact, in whichever order, and so the same everywhere."""
_SINGLE_THREADED = 200_000
"""Multiplications that OpenBLAS does in one thread."""

_HEAT_HALF_LIFE_DAYS = 7.0
_COLDEST = 900.0
"""Half-lives after which nothing grows colder; soon after them a float would be 0."""
_BEHIND, _FLOOR = 8.0, 0.05

_CLEAR_WORDS, _CLEAR_SHARE = 0.5, 0.25
_TERMS, _LABEL_TERMS = 6, 3
_WORDS_BESIDE_ONE = 6
_SENTENCES = re.compile(r"[^.!?\u3002\uff01\uff1f]+[.!?\u3002\uff01\uff1f]*")


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
        shared: of these memories, if it is known.
    """

    def __init__(
        self, told: Sequence[Told], uses: Iterable[tuple[int, str]], now: int, shared: SharedWords | None = None
    ) -> None:
        self.told = tuple(told[-WINDOW:])
        self._place = {each.memory_id: place for place, each in enumerate(self.told)}
        known = [(at, self._place[memory_id]) for at, memory_id in sorted(uses) if memory_id in self._place]
        self._uses, self._now = known, now
        self._shared_words = shared or SharedWords.of(self.told)
        self.worth, self._groups = self._shared_words.grouped(frozenset(place for _, place in known))
        ages = (now - np.array([each.at for each in self.told], dtype=float)) / DAY_MS
        warmth = self.worth * _faded(ages, _HEAT_HALF_LIFE_DAYS)
        for at, place in known:
            warmth[place] += _faded((now - at) / DAY_MS, _HEAT_HALF_LIFE_DAYS)
        self._heats = [float(warmth[group].sum()) for group in self._groups]
        self._shares = np.zeros(len(self.told))
        hottest = max(self._heats, default=0.0)
        for group, heat in zip(self._groups, self._heats, strict=True):
            self._shares[group] = heat / hottest
        self._clear: dict[str, bool] = {}
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
        group = self._group_of.get(memory_id)
        if group is None:
            return ""
        if group not in self._labels:
            self._labels[group] = ", ".join(self._terms_of(group, _LABEL_TERMS))
        return self._labels[group]

    def is_clear(self, question: str) -> bool:
        """Whether a question says which memories of a warm theme it means. If not, it is taken for a vague request.

        No statistic of words tells a vague request from a question, since both share words with what was told. So this
        errs on the safe side: the memory that best matches must hold half of the question's weight, and not be of a
        theme that is cold.
        """
        if (known := self._clear.get(question)) is None:
            known = self._clear[question] = self._find_clear(question)
        return known

    def _find_clear(self, question: str) -> bool:
        asked = {stem(word) for word in content_terms(question)}
        texts = [_read(each.text).stems for each in self.told]
        counts = {word: sum(word in text for text in texts) for word in asked}
        weights = {word: math.log(1 + (len(texts) - counts[word] + 0.5) / (counts[word] + 0.5)) for word in asked}
        held = [sum(weights[word] for word in asked & text) for text in texts]
        if not weights or not held:
            return False
        best = max(range(len(held)), key=lambda place: (round(held[place], 9), place))
        shared = asked & texts[best]
        if len(shared) == 1 and not _is_about(question, *shared):
            return False
        is_cold = 0 < self._shares[best] < _CLEAR_SHARE
        return bool(held[best] >= _CLEAR_WORDS * sum(weights.values()) and not is_cold)

    @cached_property
    def unnamed(self) -> list[Theme]:
        """As ``themes``, without the words that name them, which cost most of it, and without what followed them."""
        found = []
        for group, heat in zip(self._groups, self._heats, strict=True):
            ids = [self.told[place].memory_id for place in group]
            found.append(Theme(ids[0], "", [], round(heat, 6), "plaintext", ids, {}))
        return sorted(found, key=lambda theme: (-theme.heat, theme.theme_id))

    @cached_property
    def themes(self) -> list[Theme]:
        """Hottest first, all of them ``plaintext``: which are activated the rules say (``standing``)."""
        groups = {self.told[group[0]].memory_id: number for number, group in enumerate(self._groups)}
        theme_at = {place: theme for theme, number in groups.items() for place in self._groups[number]}
        order = [theme_at[place] for place in sorted(theme_at)]
        follows = Counter((first, then) for first, then in pairwise(order) if first != then)
        found = []
        for theme in self.unnamed:
            terms = self._terms_of(groups[theme.theme_id])
            then = {then: count for (first, then), count in sorted(follows.items()) if first == theme.theme_id}
            found.append(replace(theme, label=", ".join(terms[:_LABEL_TERMS]), terms=terms, then=then))
        return found

    def _terms_of(self, group: int, count: int = _TERMS) -> list[str]:
        texts = [self.told[place].text for place in self._groups[group]]
        return _terms(texts, self._shared_words.common, len(self.told), count)

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
        there, heats = self._heats_at(ends)
        latest = np.where(there, told, 0)
        for at, place in self._uses:
            since = ends >= at
            latest[since, place] = np.maximum(latest[since, place], at)
        shares = heats / heats.max(axis=0)
        found = []
        for group, heat, share in zip(self._groups, heats.round(6).tolist(), shares.round(6).tolist(), strict=True):
            counts, last = there[:, group].sum(axis=1).tolist(), latest[:, group].max(axis=1).tolist()
            looks = list(map(ThemeLook, ends.tolist(), counts, heat, share, last))
            looks = looks[next((at for at, count in enumerate(counts) if count), len(looks) - 1) :]
            found.append(ThemeHistory([self.told[place].memory_id for place in group], looks))
        return found

    def curves(self, count: int) -> tuple[list[int], dict[str, list[float]]]:
        """How hot the themes were at evenly spaced moments of the time that their history tells of.

        Returns the moments (ms since the epoch, the last one is now), and by a theme's id its heat at each of them.
        """
        if not self._groups:
            return [], {}
        first = max(self.told[self._groups[0][0]].at, self._now - _DAYS_BACK * DAY_MS)
        moments = np.unique(np.linspace(first, self._now, count).astype(np.int64))
        _, heats = self._heats_at(moments)
        ids = (self.told[group[0]].memory_id for group in self._groups)
        return moments.tolist(), dict(zip(ids, heats.round(3).tolist(), strict=True))

    def _heats_at(self, moments: Ordinals) -> tuple[NDArray[np.bool_], Floats]:
        """Which memories had been told at these moments, and how hot each theme was then."""
        ages = moments[:, None] - np.array([each.at for each in self.told])
        there = ages >= 0
        warmth = np.where(there, self.worth * _faded(ages / DAY_MS, _HEAT_HALF_LIFE_DAYS), 0.0)
        for at, place in self._uses:
            since = moments >= at
            warmth[since, place] += _faded((moments[since] - at) / DAY_MS, _HEAT_HALF_LIFE_DAYS)
        return there, np.array([warmth[:, group].sum(axis=1) for group in self._groups])

    def standing(self, rules: TransitionRules) -> list[Theme]:
        """The themes, hottest first, with the states that the rules give them."""
        states: dict[str, ThemeState] = {}
        for history in self.histories:
            moves = rules.theme_moves(history)
            states[history.theme_id] = "activated" if moves and moves[-1].activated else "plaintext"
        return [replace(theme, state=states[theme.theme_id]) for theme in self.themes]

    @cached_property
    def _group_of(self) -> dict[str, int]:
        return {self.told[place].memory_id: number for number, group in enumerate(self._groups) for place in group}

    @cached_property
    def _labels(self) -> dict[int, str]:
        return {}


@dataclass(frozen=True)
class LazyThemes(Sequence[Theme]):
    """Themes, evaluated lazily: to name all of them is dear, and few policies ask."""

    evaluate: Callable[[], Sequence[Theme]] = field(repr=False)

    @cached_property
    def _themes(self) -> Sequence[Theme]:
        return self.evaluate()

    def __len__(self) -> int:
        return len(self._themes)

    @overload
    def __getitem__(self, at: int) -> Theme: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Theme]: ...
    def __getitem__(self, at: int | slice) -> Theme | Sequence[Theme]:
        return self._themes[at]


@dataclass(frozen=True, slots=True)
class _Read:
    """What is taken from a text.

    Args:
        words: what may tie it to others, as numbers (crc32).
        terms: the (stem, word) pairs that may name it. keys: their stems.
        stems: of all its words. length: ln(1 + how many they are, with repetitions).
    """

    words: Ordinals
    terms: tuple[tuple[str, str], ...]
    keys: frozenset[str]
    stems: frozenset[str]
    length: float
    without_spaces: bool
    has_number: bool


@lru_cache(maxsize=16_384)
def _read(text: str) -> _Read:
    terms = tuple((stem(word), word) for word in content_terms(text) if _may_name(word))
    found = stems(text)
    return _Read(
        np.array(sorted(crc32(word.encode("utf-8", "surrogatepass")) for word in topic_words(text)), dtype=np.int64),
        terms,
        frozenset(key for key, _ in terms),
        frozenset(found),
        math.log1p(len(found)),
        is_without_spaces(text),
        _HAS_NUMBER.search(text) is not None,
    )


def _is_about(question: str, key: str) -> bool:
    """Whether a text is about the one word of it that a memory has: there are few others, or it asks for it.

    "Cheap or not, it is too much this week" is about no memory of something cheap.
    """
    sentence = next((each for each in _SENTENCES.findall(question) if key in stems(each)), question)
    return is_question(sentence) or len(words(question)) < _WORDS_BESIDE_ONE


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
    read = [_read(each.text) for each in told]
    numbers = np.array([each.has_number for each in read], dtype=float)
    unusual = np.array([[each.length for each in read], np.sqrt(linked)]).T
    scripts = np.array([each.without_spaces for each in read], dtype=bool)  # their words count differently
    for of_it in (np.flatnonzero(~scripts), np.flatnonzero(scripts)):
        if len(of_it):
            unusual[of_it] = _deviations(unusual[of_it], _LEAST_DEVIATIONS)
    length, link = unusual.T
    logits = _USUAL + _LENGTH * length + _NUMBER * numbers + _LINKED * link
    logits[sorted(credited)] += _CREDITED
    found: Floats = 1 / (1 + np.exp(-logits))
    return found


@dataclass(frozen=True)
class SharedWords:
    """How much memories have to do with each other by their words.

    Args:
        told: oldest first.
        products: by two places, the weight of the words that both have.
        common: in how many memories each stem is that may name a theme.
        faded: by two places, how much the time between them leaves of a link by words.
    """

    told: tuple[Told, ...]
    products: Floats
    common: Counter[str]
    faded: Floats
    _grouped: dict[frozenset[int], tuple[Floats, list[list[int]]]] = field(default_factory=dict)
    _clusters: dict[tuple[int, ...], list[list[int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, told: tuple[Told, ...]) -> SharedWords:
        """Computed from the texts alone."""
        words = [_read(each.text).words for each in told]
        known, columns = np.unique(np.concatenate([*words, np.zeros(0, dtype=np.int64)]), return_inverse=True)
        has = np.zeros((len(words), len(known)))
        has[np.repeat(np.arange(len(words)), [len(each) for each in words]), columns] = 1.0
        counts = has.sum(axis=0)
        weights, common = _weights(counts, len(told)), counts > 1
        shared = has[:, common]
        products = _product(shared * weights[common], shared.T)
        np.fill_diagonal(products, np.einsum("ij,j->i", has, weights))
        times = np.array([each.at for each in told], dtype=float)
        faded = _faded(np.abs(np.subtract.outer(times, times)) / DAY_MS, _WORD_HALF_LIFE_DAYS)
        return cls(told, products, Counter(chain.from_iterable(_read(each.text).keys for each in told)), faded)

    def moved_on(self, new: Told) -> SharedWords:
        """The same of the window one memory later, to the last bit: what came and what went changes few weights."""
        told = (*self.told[1:], new)
        gone, came = _read(self.told[0].text), _read(new.text)
        changed = np.array(sorted({*gone.words.tolist(), *came.words.tolist()}), dtype=np.int64)
        words = [_read(each.text).words for each in told]
        every = np.concatenate(words)
        rows = np.repeat(np.arange(len(told)), [len(each) for each in words])
        columns = np.searchsorted(changed, every)
        there = changed.take(columns, mode="clip") == every
        has = np.zeros((len(told), len(changed)))
        has[rows[there], columns[there]] = 1.0
        counts = has.sum(axis=0)
        had = counts - has[-1]
        had[np.searchsorted(changed, gone.words)] += 1.0
        weights, before = _weights(counts, len(told)), _weights(had, len(told))
        products, faded = np.empty_like(self.products), np.empty_like(self.faded)
        products[:-1, :-1] = self.products[1:, 1:] + _product(has[:-1] * (weights - before), has[:-1].T)
        products[-1] = products[:, -1] = has @ (weights * has[-1])
        faded[:-1, :-1] = self.faded[1:, 1:]
        apart = np.abs(np.array([each.at for each in told], dtype=float) - new.at)
        faded[-1] = faded[:, -1] = _faded(apart / DAY_MS, _WORD_HALF_LIFE_DAYS)
        common = self.common.copy()
        common.subtract(gone.keys)
        common.update(came.keys)
        return SharedWords(told, products, common, faded)

    def grouped(self, credited: frozenset[int]) -> tuple[Floats, list[list[int]]]:
        """The worth of each memory, and the clusters of those worth it: what does not change with time.

        Args:
            credited: places of what answers used.
        """
        if credited not in self._grouped:
            worth = worth_of(self.told, self._linked, credited)
            worthy = tuple(np.flatnonzero(worth > _WORTHY)[-_CLUSTERED:].tolist())
            if worthy not in self._clusters:
                links = _with_time(self.links[np.ix_(worthy, worthy)], [self.told[place].at for place in worthy])
                self._clusters[worthy] = [[worthy[each] for each in group] for group in clusters_of(links)]
            self._grouped[credited] = worth, self._clusters[worthy]
        return self._grouped[credited]

    @cached_property
    def _linked(self) -> Floats:
        """By place, the sum of its links."""
        found: Floats = self.links.sum(axis=1)
        return found

    @cached_property
    def links(self) -> Floats:
        """By two places: the cosine of their words, with those told within an hour of each; less after months."""
        times = np.array([each.at for each in self.told], dtype=float)
        hour = np.searchsorted(times, times - _HOUR_MS), np.searchsorted(times, times + _HOUR_MS, side="right")
        around = _around(_around(self.products, *hour).T, *hour)
        lengths = np.sqrt(np.maximum(around.diagonal(), 1e-18))
        found: Floats = np.minimum(around / np.multiply.outer(lengths, lengths), 1.0)
        found *= self.faded
        np.fill_diagonal(found, 0.0)
        return found


def _weights(counts: Floats, among: int) -> Floats:
    """How much a word counts that so many memories have: the square of its rarity."""
    rarity = np.maximum(0.05, np.log((among + 1) / np.maximum(counts, 1.0)) - 1)
    found: Floats = np.round(rarity**2 * _EXACT) / _EXACT
    return found


def _around(rows: Floats, first: Ordinals, after: Ordinals) -> Floats:
    """Each row, and half of those from ``first`` to ``after``: of those told within an hour of it."""
    sums = np.zeros((len(rows) + 1, len(rows)))
    np.cumsum(rows, axis=0, out=sums[1:])
    found: Floats = sums[after]
    found -= sums[first]
    found *= _TOLD_NEAR
    found += (1 - _TOLD_NEAR) * rows
    return found


def _with_time(by_words: Floats, times: Sequence[int]) -> Floats:
    """Links by words and by time together."""
    days = np.abs(np.subtract.outer(times, times)) / DAY_MS
    found: Floats = np.sqrt(by_words) + _TIME_LINK * _faded(days, _TIME_HALF_LIFE_DAYS)
    return found


def _product(one: Floats, other: Floats) -> Floats:
    """Their product, some rows at a time: for so little, BLAS' threads would wait longer than they work."""
    rows = max(1, _SINGLE_THREADED // max(1, other.size))
    return np.vstack([one[at : at + rows] @ other for at in range(0, max(1, len(one)), rows)])


def clusters_of(links: Floats) -> list[list[int]]:
    """Average-link clusters (UPGMA): the closest two are joined while their mean link is above a bound.

    Returns places, ascending; the clusters by their first.
    """
    count = len(links)
    groups = {place: [place] for place in range(count)}
    sums, sizes = links.copy(), np.ones(count)
    mean = links.copy()
    np.fill_diagonal(mean, -1.0)
    while len(groups) > 1:
        best = int(mean.argmax())
        if mean.item(best) <= _JOINED_ABOVE:
            break
        first, second = divmod(best, count)  # the first of two equals: so of (i, j) and (j, i) that above the diagonal
        groups[first] += groups.pop(second)
        row = sums[first]
        row += sums[second]
        sums[:, first] = row
        sizes[first], sizes[second] = len(groups[first]), np.inf  # what is gone is linked to nothing
        joined = row / (len(groups[first]) * sizes)
        joined[first] = -1.0
        mean[first] = mean[:, first] = joined
        mean[second] = mean[:, second] = -1.0
    return sorted(sorted(group) for group in groups.values())


def _deviations(values: Floats, least: Floats) -> Floats:
    """How far each is from the mean of those around it, in standard deviations (``least`` of them at least).

    Args:
        values: oldest first, one column for each kind of value.
    """
    places = np.arange(len(values))
    first, after = np.maximum(0, places - _AROUND), np.minimum(len(values), places + _AROUND + 1)
    sums = np.zeros((len(values) + 1, 2, values.shape[1]))
    np.cumsum(np.stack([values, values**2], axis=1), axis=0, out=sums[1:])
    means, squares = ((sums[after] - sums[first]) / (after - first)[:, None, None]).transpose(1, 0, 2)
    found: Floats = (values - means) / np.maximum(least, np.sqrt(np.maximum(squares - means**2, 0.0)))
    return found


def _terms(texts: Sequence[str], common: Counter[str], among: int, most: int) -> list[str]:
    """The words that tell some texts from all, best first.

    Args:
        common: in how many of all texts a stem occurs; ``among``: of how many.
        most: that are wanted.
    """
    texts_read = [_read(text) for text in texts]
    inside = Counter(chain.from_iterable(read.keys for read in texts_read))
    best_first = [(_telling(count, common[key], among), -len(key), key) for key, count in inside.items()]
    heapify(best_first)
    found: list[str] = []
    while best_first and len(found) < most:
        key = heappop(best_first)[-1]
        having = [read for read in texts_read if key in read.keys]
        spelt = Counter(word for read in having for stemmed, word in read.terms if stemmed == key)
        term = min(spelt, key=lambda word: (-spelt[word], word))
        if is_without_spaces(term):
            term = _whole(term, texts)
        if not any(term in other or other in term for other in found):
            found.append(term)
    return found


@lru_cache(maxsize=2 * WINDOW * WINDOW)
def _telling(inside: int, common: int, among: int) -> float:
    """How much a word tells some texts from all: the less, the more."""
    return round(-inside * inside * math.log((among + 1) / common) / common, 9)


def _whole(pair: str, texts: Sequence[str]) -> str:
    """The word of which a pair of characters is part, of a script without spaces: what always stands around it."""
    total = sum(text.count(pair) for text in texts)
    for before, after in ((0, 1), (1, 0)):
        around = re.findall(rf"(?=(\w{{{before}}}{re.escape(pair)}\w{{{after}}}))", "\n".join(texts))
        if len(around) == total > 1 and len(set(around)) == 1 and not stop_words() & set(around[0]):
            return str(around[0])
    return pair


def _faded(days: Floats | float, half_life: float) -> Floats:
    """What is left of 1. Never nothing: of two themes that are cold for decades one is still the hotter."""
    return np.asarray(np.exp2(-np.clip(days / half_life, 0.0, _COLDEST)))
