"""What tells whether a result answers its question (likelihood.py), beside the points by which it is ranked.

What stands beside an answer has its words around it, nearly its points, and answers nothing. So a memory's own words
are looked at apart, and what else was found is its rival. All of it is in what the store has found already.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from memsched.memory.search.constants import DENSE_OF_A_MODEL
from memsched.memory.search.likelihood import Features
from memsched.memory.search.rerank import ScoredHit
from memsched.memory.search.window import name_stems

Things = Sequence[tuple[float, Mapping[str, float]]]
"""What a question names: how rare it is, and which stems may be it, with how much they count."""

_STEEP = 0.5
"""Times the difference of points: so much of it are log odds."""
_LEAST_SHARE, _MOST_SHARE = 0.001, 0.9
"""A memory that is alone with the question's words may still answer nothing."""
_LEAST_SPREAD = 0.01


class Evidence:
    """What was found for one question.

    Args:
        is_model: whether a model has embedded it.
        alone: each result for itself: what else was found must not tell.
        with_speaker: whether a speaker's name is one of the words of what they said.
    """

    def __init__(
        self,
        things: Things,
        found: Iterable[ScoredHit],
        *,
        is_model: bool = False,
        alone: bool = False,
        with_speaker: bool = False,
    ) -> None:
        self._things = things
        self._all = sum(weight for weight, _ in things)
        self._is_model = is_model
        self._with_speaker = with_speaker
        self._by_stem: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (_, named) in enumerate(things):
            for stem, share in named.items():
                self._by_stem[stem].append((number, share))
        hits = () if alone else tuple(found)
        self._most = max((self._share(self._named_in(each)) for each in hits), default=0.0)
        self._asking: dict[tuple[str, int], list[ScoredHit]] = defaultdict(list)
        self._points: dict[str, float] = {}
        for each in hits:
            if each.place is not None and each.asks:
                self._asking[each.place].append(each)
            if not each.payload.get("superseded_by"):
                self._points[each.said] = max(self._points.get(each.said, -math.inf), each.points)
        self._best = max(self._points.values(), default=0.0)
        self._sum = sum(map(self._weight, self._points.values()))
        self._usual, self._spread = 0.0, _LEAST_SPREAD
        if is_model and (cosines := [self._cosine(each) for each in hits]):
            self._usual = fmean(cosines)
            self._spread = max(_LEAST_SPREAD, math.sqrt(fmean((each - self._usual) ** 2 for each in cosines)))

    def of(self, hit: ScoredHit, *, found: float, memories: int, of_others: bool) -> Features:
        """found: points of words."""
        named = self._named_in(hit)
        own = self._share(named)
        return Features(
            own=own,
            replies=self._share(_either(named, self._asked_before(hit))) - own,
            lacking=max(0.0, self._most - own),
            found=math.log1p(max(0.0, found)),
            lead=self._lead(hit),
            memories=math.log1p(memories),
            in_time=float(hit.parts.get("time", 0.0) > 0),
            of_others=float(of_others),
            asks=float(hit.asks),
            nearness=(self._cosine(hit) - self._usual) / self._spread if self._is_model else 0.0,
        )

    def _named_in(self, hit: ScoredHit) -> dict[int, float]:
        """Which of the things a memory has in itself, and how much of each."""
        words = hit.words.union(name_stems(hit.speaker)) if self._with_speaker else hit.words
        found: dict[int, float] = {}
        for stem in words & self._by_stem.keys():
            for number, share in self._by_stem[stem]:
                if share > found.get(number, 0.0):
                    found[number] = share
        return found

    def _share(self, named: Mapping[int, float]) -> float:
        return sum(self._things[number][0] * share for number, share in named.items()) / self._all

    def _asked_before(self, hit: ScoredHit) -> dict[int, float]:
        """The things in what somebody else asked right before."""
        found: dict[int, float] = {}
        if hit.place is not None:
            session, turn = hit.place
            for each in self._asking.get((session, turn - 1), ()):
                if each.speaker != hit.speaker:
                    found = _either(found, self._named_in(each))
        return found

    def _lead(self, hit: ScoredHit) -> float:
        own = self._weight(self._points.get(hit.said, hit.points))
        others = self._sum - (own if hit.said in self._points else 0.0)
        share = min(_MOST_SHARE, max(_LEAST_SHARE, own / (own + others)))
        return math.log(share / (1 - share))

    def _weight(self, points: float) -> float:
        return math.exp(_STEEP * (points - self._best))

    def _cosine(self, hit: ScoredHit) -> float:
        return hit.parts.get("dense", 0.0) / DENSE_OF_A_MODEL


def _either(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {each: max(one.get(each, 0.0), other.get(each, 0.0)) for each in one.keys() | other.keys()}
