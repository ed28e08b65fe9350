"""A cache of rankings: a query near to earlier ones is answered from what these found, without the store.

Whether that is enough (the sufficiency test) is arithmetic. An earlier query is the centre of a ball that holds what it
found; everything else is outside:

- dense: at an angle of at least R from the centre, that of the last one found. A new query at an angle of D from the
  centre is at least R - D away from what is outside (the triangle inequality on the sphere).
- lexical: with a score of at most S for the centre's words, that of the last one found. If each word of the new query
  has at most c times the weight that it has there, what is outside has at most c S; for words of several balls the
  sum. A word that no ball has asked for gives at most its weight times BM25's limit, k1 + 1.

If the fifth best inside is better than what is outside can be, the five best of all are inside, in both rankings.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memsched.deadline import Deadline
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import to_ms
from memsched.memory.search.bm25 import K1
from memsched.memory.store.changes import ChangeFeed
from memsched.memory.store.collection import InUse
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.points import DENSE, LEXICAL, Hit, Ranking, Sparse
from memsched.memory.store.store import MemoryStore

Vector = NDArray[np.float32]
Rankings = tuple[list[Hit], list[Hit]]

CERTAIN = 5
"""Of each ranking, so many must be among the best of all; what comes after them probably is."""
REACH = 100
"""Memories of each ranking that a ball holds, at least."""
_BALLS = 16
"""Of a cube; the oldest goes, its members stay."""
_MEMBERS_KEPT = 20_000
"""Of all cubes together; about 6 KB each, most of it the vector."""
_KEPT_SECONDS = 300.0
"""However quiet a cube is: a process that dies between a change and its announcement tells nobody of it."""
_ROUNDING = 0.01
"""Radians: stores keep vectors rounded."""
_ANSWERED = {"until", "include_archived"}
"""Conditions that a ball can answer: it is asked for without the one, and there is one for each value of the other."""


@dataclass(slots=True)
class CacheCounters:
    """How many queries were asked that could have been, and how many were answered without the store."""

    asked: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked for.

    Args:
        vector: of length 1; None: only words are asked for.
        weights: of the words; empty: only the vector is asked for.
        archive: whether what is archived counts.
        until: ms since the epoch, exclusive.
    """

    vector: Vector | None
    weights: Mapping[int, float]
    archive: bool
    until: float

    @classmethod
    def of(cls, rankings: Sequence[Ranking]) -> _Query | None:
        """None if a ball cannot answer it."""
        kinds = [each.using for each in rankings]
        if not kinds or len(set(kinds)) < len(kinds) or len({repr(each.conditions) for each in rankings}) > 1:
            return None
        given = rankings[0].conditions or Conditions(include_archived=True)
        if any(getattr(given, name) for name in Conditions.model_fields.keys() - _ANSWERED):
            return None
        dense = next((each.vector for each in rankings if not isinstance(each.vector, Sparse)), ())
        lexical = next((each.vector for each in rankings if isinstance(each.vector, Sparse)), None)
        return cls(
            _unit(dense) if any(dense) else None,
            _weights(lexical) if lexical is not None else {},
            given.include_archived,
            math.inf if given.until is None else to_ms(given.until),
        )

    def among(self, hits: Iterable[Hit]) -> list[Hit]:
        """Those that were said in time."""
        return [hit for hit in hits if hit.payload["at"] < self.until]


@dataclass(frozen=True, slots=True)
class _Ball:
    """What one query found.

    Args:
        angle: of the last one found; infinite where nothing of the cube is outside.
        score: of the last one found; 0 where nothing outside has one of the words.
    """

    query: _Query
    angle: float
    score: float


@dataclass(slots=True)
class _Kept:
    """The balls of a cube, and all their members.

    Args:
        position: in the cube's change feed, from before the first of them was asked for.
        collection: where they were found.
        good: until when they are believed.
        rows: of the members, by id.
        having: by word, the rows of the members that have it, and its weight there.
    """

    position: str
    collection: InUse
    good: Deadline
    balls: list[_Ball] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    having: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    _matrix: Vector | None = None

    def missing(self, rankings: Rankings) -> list[str]:
        """The ids of those found that are no members yet."""
        return list({hit.memory_id: None for hit in (*rankings[0], *rankings[1]) if hit.memory_id not in self.rows})

    def keep(
        self, query: _Query, rankings: Rankings, reach: int, vectors: Mapping[str, tuple[Sequence[float], Sparse]]
    ) -> None:
        """Keep what the store found, of which it was asked for ``reach`` in each ranking."""
        by_dense, by_lexical = rankings
        angle = math.inf
        if query.vector is None or len(by_dense) == reach:
            angle = _angle(by_dense[-1].score) - _ROUNDING if by_dense else 0.0
        score = by_lexical[-1].score if len(by_lexical) == reach else 0.0
        self.balls = [*self.balls, _Ball(query, angle, score)][-_BALLS:]
        for hit in (*by_dense, *by_lexical):
            if hit.memory_id in vectors and hit.memory_id not in self.rows:
                self._add(hit, *vectors[hit.memory_id])

    def _add(self, hit: Hit, dense: Sequence[float], lexical: Sparse) -> None:
        row = self.rows[hit.memory_id] = len(self.hits)
        self.hits.append(hit)
        self.vectors.append(_unit(dense))
        for word, weight in _weights(lexical).items():
            self.having.setdefault(word, []).append((row, weight))

    def answer(self, query: _Query, limit: int, slack: float) -> Rankings | None:
        """Both rankings, if what counts of them is inside."""
        if not self.balls:
            return None
        there = np.array([hit.payload["at"] < query.until for hit in self.hits], dtype=bool)
        most = max(limit, CERTAIN)
        by_dense: list[Hit] = []
        if query.vector is not None and self.hits:
            if self._matrix is None or len(self._matrix) < len(self.hits):
                self._matrix = np.array(self.vectors)
            by_dense = self._ranked(self._matrix @ query.vector, there, most)
        scores = np.zeros(len(self.hits))
        for word, weight in query.weights.items():
            for row, own in self.having.get(word, ()):
                scores[row] += weight * own
        by_lexical = self._ranked(scores, there & (scores > 0), most)
        # A result is never short of hits.
        is_full = self._is_full(query, by_lexical, most) if query.vector is None else len(by_dense) == most
        enough = any(ball.angle == math.inf for ball in self.balls) or (
            is_full and self._near_enough(query, by_dense, slack) and self._good_enough(query, by_lexical, slack)
        )
        return (by_dense[:limit], by_lexical[:limit]) if enough else None

    def _ranked(self, scores: NDArray[Any], among: NDArray[np.bool_], limit: int) -> list[Hit]:
        """The best first, with their scores."""
        rows = np.flatnonzero(among)
        best = rows[np.argsort(-scores[rows], kind="stable")[:limit]]
        return [replace(self.hits[row], score=float(scores[row])) for row in best]

    def _is_full(self, query: _Query, by_lexical: Sequence[Hit], most: int) -> bool:
        return len(by_lexical) == most or self._score_outside(query.weights) == 0

    def _near_enough(self, query: _Query, by_dense: Sequence[Hit], slack: float) -> bool:
        if query.vector is None:
            return True
        angle = _angle(by_dense[CERTAIN - 1].score) + _ROUNDING
        centres = [(ball.angle, ball.query.vector) for ball in self.balls if ball.query.vector is not None]
        return any(angle + _angle(float(centre @ query.vector)) <= slack * radius for radius, centre in centres)

    def _good_enough(self, query: _Query, by_lexical: Sequence[Hit], slack: float) -> bool:
        outside = self._score_outside(query.weights)
        return outside == 0 or (len(by_lexical) >= CERTAIN and by_lexical[CERTAIN - 1].score * slack >= outside)

    def _score_outside(self, weights: Mapping[int, float]) -> float:
        """The highest score that anything outside can have for these words."""
        each = sum(
            min([weight * (K1 + 1), *(weight / known * ball.score for ball, known in self._asking(word))])
            for word, weight in weights.items()
        )
        together = [
            ball.score * max((weight / ball.query.weights[word] for word, weight in weights.items()), default=0.0)
            for ball in self.balls
            if weights.keys() <= ball.query.weights.keys()
        ]
        return min([each, *together])

    def _asking(self, word: int) -> list[tuple[_Ball, float]]:
        """The balls whose queries have a word, and its weight there."""
        return [(ball, known) for ball in self.balls if (known := ball.query.weights.get(word, 0.0)) > 0]


class RankingCache:
    """The cache of one process, over all cubes.

    It knows nothing of permissions, which are checked before every search. Whatever is stored, corrected, archived,
    restored or deleted in a cube is announced in its change feed, and voids what is kept of it.

    Args:
        slack: 1: what is outside is surely worse. More: bounds are so many times wider, and it probably is.
    """

    def __init__(self, store: MemoryStore, feed: ChangeFeed, slack: float) -> None:
        self._store = store
        self._feed = feed
        self._slack = slack
        self._cubes: OrderedDict[tuple[CubeRef, bool], _Kept] = OrderedDict()
        self.counters = CacheCounters()

    async def query(self, ref: CubeRef, rankings: Sequence[Ranking]) -> list[list[Hit]]:
        """As ``MemoryStore.query``. It answers one ranking by words, one by a vector, or both under one condition."""
        query = _Query.of(rankings)
        if query is None:
            return await self._store.query(ref, rankings)
        self.counters.asked += 1
        kept = await self._current(ref, query.archive)
        limit = max(each.limit for each in rankings)
        if (found := kept.answer(query, limit, self._slack)) is not None:
            self.counters.saved += 1
            return _in_order(rankings, found)
        reach = max(REACH, limit)
        everything = Conditions(include_archived=query.archive)
        wider = [replace(each, conditions=everything, limit=reach) for each in rankings]
        whole = _by_kind(wider, await self._store.query(ref, wider))
        kept.keep(query, whole, reach, await self._store.vectors(ref, kept.missing(whole)))
        self._evict()
        found = query.among(whole[0]), query.among(whole[1])
        if any(len(hits) == reach and len(said) < limit for hits, said in zip(whole, found, strict=True)):
            return await self._store.query(ref, rankings)
        return _in_order(rankings, found)

    async def _current(self, ref: CubeRef, archive: bool) -> _Kept:
        """What is kept of the cube, if nothing in it has changed since; else what will be kept from now on."""
        kept = self._cubes.get((ref, archive))
        changes = await self._feed.since(ref, None if kept is None else kept.position)
        in_use = await self._store.in_use()
        is_same = kept is not None and kept.collection == in_use and not kept.good.passed
        if kept is None or not is_same or changes.memory_ids is None or changes.memory_ids:
            kept = _Kept(changes.position, in_use, Deadline(_KEPT_SECONDS))
        self._cubes[ref, archive] = kept
        self._cubes.move_to_end((ref, archive))
        return kept

    def _evict(self) -> None:
        """Forget the cubes that nobody asked for longest, while there are too many memories in all."""
        total = sum(len(kept.hits) for kept in self._cubes.values())
        while total > _MEMBERS_KEPT and len(self._cubes) > 1:
            total -= len(self._cubes.popitem(last=False)[1].hits)


def _by_kind(rankings: Sequence[Ranking], found: Sequence[list[Hit]]) -> Rankings:
    by_kind = {each.using: hits for each, hits in zip(rankings, found, strict=True)}
    return by_kind.get(DENSE, []), by_kind.get(LEXICAL, [])


def _in_order(rankings: Sequence[Ranking], found: Rankings) -> list[list[Hit]]:
    return [found[each.using == LEXICAL][: each.limit] for each in rankings]


def _weights(sparse: Sparse) -> dict[int, float]:
    return dict(zip(sparse.indices, sparse.values, strict=True))


def _unit(vector: Sequence[float]) -> Vector:
    found = np.array(vector, dtype=np.float32)
    length = float(np.linalg.norm(found))
    return found / np.float32(length or 1.0)


def _angle(cosine: float) -> float:
    return math.acos(max(-1.0, min(1.0, cosine)))
