"""The value of a memory: how probable it is that the next answer uses it.

Four choice models ("modes") weigh the same eight features; a log of the last answers says what was used, and so which
mode foresees this cube's answers best. The value is the probability of being used next under the modes' mixture.
Everything is a pure function of the memories and the log: the order in which either arrived makes no difference.

Constants were chosen, and the weights fitted (conditional logit), on five conversations of LoCoMo: docs/policy.md has
the formulas, what each of them is worth, and what did not help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ordinals = NDArray[np.int64]

FEATURES = ("content", "age", "current", "near", "use", "slow", "drift", "distance")
PAST = 24
"""Answers that the features look back on."""
_NEAR_PAST = 12
_FADE, _SLOW_FADE, _DISTANCE_FADE = 0.6, 0.9, 0.85
_WIDTH, _DRIFT_WIDTH = 60, 8
_ELSEWHERE = 0.7
"""Factor of nearness in another session."""
_LEARNED_FROM, _FORGET, _POWER = 40, 0.95, 0.8
_MIXED = 0.3
"""Share of chance in what an answer says of a mode, so that one surprise condemns none."""
_DIGITS = 9
CREDITED = 2
"""Memories that an answer is credited to, at most."""
_ABOUT_AS_LIKELY = 0.9
_PULL: Floats = np.arange(1.0, _WIDTH + 2) ** -0.5
_KERNEL: Floats = np.append((1.0 + np.arange(_WIDTH + 1)) ** -0.6, 0.0)
"""Nearness by distance; the last one is for all that is farther away."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The memories of a cube in the order in which they were said; a memory's place in it is its ordinal.

    Args:
        value: content value, as log odds.
        session: running number of its session.
        place: place within its session.
    """

    value: Floats
    session: Ordinals
    place: Ordinals

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True, slots=True)
class Used:
    """One answer of the log.

    Args:
        event_id: of the answer's message.
        credited: the ordinals of the memories that it used, best first; at most two.
        known: how many memories there were then.
        at: ms since the epoch.
    """

    event_id: str
    credited: tuple[int, ...]
    known: int
    at: int = 0


class Moment:
    """What there was to see right after ``past``, when ``known`` memories had been said.

    Args:
        past: the answers before, oldest first; the last 24 count.
    """

    def __init__(self, columns: Columns, past: Sequence[Used], known: int) -> None:
        self.columns = columns
        self.past = past[-PAST:]
        self.known = known
        self.session = int(columns.session[known - 1]) if known else 0
        pairs = [
            (back, rank, credited, event.known - 1)
            for back, event in enumerate(reversed(self.past), 1)
            for rank, credited in enumerate(event.credited)
        ]
        given = np.array(pairs, dtype=np.int64).reshape(-1, 4)
        self._back: Floats = given[:, 0].astype(np.float64)
        self._share: Floats = 1.0 / (given[:, 1].astype(np.float64) + 1.0)
        self._used: Ordinals = given[:, 2]
        self._sessions_back: Ordinals = columns.session[given[:, 3]] - columns.session[self._used]

    def features(self, rows: Ordinals) -> Floats:
        """The features of these memories, one row each, in the order of ``FEATURES``."""
        return self.features_of_all(self.about_uses())[rows]

    def features_of_all(self, about_uses: Floats) -> Floats:
        """The features of all memories; ``about_uses`` as the method of that name has them.

        Each feature lies in one piece, since modes add them up one by one.
        """
        session = self.columns.session[: self.known]
        found = np.empty((len(FEATURES), self.known))
        found[0] = self.columns.value[: self.known]
        found[1] = -np.log(np.arange(self.known + 3.0, 3.0, -1.0))
        found[2] = session == self.session
        found[3:7] = about_uses
        found[7] = self._distance(session)
        return found.T

    def about_uses(self, first: int = 0) -> Floats:
        """near, use, slow and drift of the memories from an ordinal on.

        Each used memory gives something to those around it. Until the next answer these stay as they are.
        """
        columns = self.columns
        giving = np.flatnonzero(self._used >= first - _WIDTH)
        around = self._used[giving, None] + np.arange(-_WIDTH, _WIDTH + 1)
        there = (around >= first) & (around < self.known)
        rows = around[there]
        source = np.broadcast_to(giving[:, None], around.shape)[there]
        used = self._used[source]
        apart = rows - used
        far = np.abs(apart)
        same = columns.session[rows] == columns.session[used]
        steps = np.where(same, np.abs(columns.place[rows] - columns.place[used]), far)
        kernel = _KERNEL[np.minimum(steps, _WIDTH + 1)] * np.where(same, 1.0, _ELSEWHERE)
        pull = np.where(far <= _DRIFT_WIDTH, np.sign(apart) * _PULL[far], 0.0)
        lately = np.where(self._back <= _NEAR_PAST, self._share, 0.0)
        given = (
            kernel * (_FADE**self._back * lately)[source],
            (apart == 0) * (self._back**-0.5)[source],
            kernel * (_SLOW_FADE ** (self._back - 1) * self._share)[source],
            pull * (_FADE ** (self._back - 1) * lately)[source],
        )
        near, use, slow, drift = (np.bincount(rows - first, each, self.known - first) for each in given)
        return np.array([np.log(0.05 + near), np.log1p(3 * use), np.log(0.2 + slow), drift])

    def _distance(self, session: Ordinals) -> Floats:
        """How usual it is of late that something so many sessions back is needed."""
        usual = np.zeros(self.session + 1)
        if len(self._used):
            weights = _DISTANCE_FADE ** (self._back - 1) * self._share
            back = np.arange(self.session + 1)
            usual = np.exp(-np.abs(back[:, None] - self._sessions_back)) @ weights / weights.sum()
        usual = np.log(0.05 + usual)
        return usual[np.clip(self.session - session, 0, self.session)]


class Mode(Protocol):
    """A way in which people come back to what was said.

    Attributes:
        prior: share in the mixture before any answer.
    """

    @property
    def name(self) -> str: ...
    @property
    def prior(self) -> float: ...
    def scores(self, moment: Moment, rows: Ordinals, features: Floats) -> Floats:
        """The score of each of these memories; its softmax is the probability of being used next.

        Args:
            features: of the rows, as ``Moment.features_of_all`` has them.
        """


@dataclass(frozen=True, slots=True)
class LinearMode:
    """A mode whose scores are its weights times the features."""

    name: str
    prior: float
    weights: tuple[float, ...]

    def scores(self, moment: Moment, rows: Ordinals, features: Floats) -> Floats:
        result: Floats = np.einsum("if,f->i", features, np.array(self.weights))  # BLAS would start threads for this
        return result

    def without(self, feature: str) -> LinearMode:
        """The same mode, blind to one feature."""
        at = FEATURES.index(feature)
        return replace(self, weights=tuple(0.0 if n == at else weight for n, weight in enumerate(self.weights)))


MODES: tuple[LinearMode, ...] = (
    LinearMode("continuing", 0.30, (0.6, 0.2, 1.9, 0.3, 0.3, -0.2, 0.1, 1.0)),
    LinearMode("anything", 0.60, (0.6, 0.5, 0.0, 0.0, 0.3, 0.4, 0.2, -0.1)),
    LinearMode("habitual distance", 0.05, (0.6, 0.0, 0.3, 0.2, 0.4, -0.2, 0.1, 2.3)),
    LinearMode("walking through", 0.05, (0.7, 0.1, 0.1, 2.1, 0.0, -1.3, 1.2, 0.7)),
)


@dataclass(frozen=True, slots=True)
class Values:
    """What every memory of a cube is worth, and why.

    Args:
        value: by ordinal, rounded so that replicas agree; 0 for what may not be chosen.
        shares: by mode, its share in the mixture.
        by_mode: by mode and ordinal, the probability of being used next under that mode.
    """

    value: Floats
    shares: dict[str, float]
    by_mode: Floats

    def parts(self, ordinals: Sequence[int] | Ordinals) -> list[dict[str, float]]:
        """What the values of some memories are made of: each mode's share times its probability there."""
        if not len(ordinals):
            return []
        shares = np.array(list(self.shares.values()))
        counted = np.flatnonzero(shares)
        names = [list(self.shares)[at] for at in counted]
        given = self.by_mode[counted[:, None], np.asarray(ordinals)].T * shares[counted]
        return [dict(zip(names, each, strict=True)) for each in given.tolist()]

    def under(self, mode: str) -> Values:
        """The values if that mode alone were right."""
        if mode not in self.shares:
            return self
        at = list(self.shares).index(mode)
        shares = {name: float(name == mode) for name in self.shares}
        return replace(self, value=np.round(self.by_mode[at], _DIGITS), shares=shares)

    def best(self, count: int, may: NDArray[np.bool_] | None = None) -> Ordinals:
        """The ordinals of the most valuable, best first; of equals the newer. Of those that may be chosen, if given."""
        there = np.arange(len(self.value)) if may is None else np.flatnonzero(may)
        if 0 < count < len(there):
            values = self.value[there]
            there = there[values >= np.partition(values, -count)[-count]]
        return there[np.lexsort((-there, -self.value[there]))][:count]


_PASTS_KEPT = 2
"""Before the last answer, and after it: who asked gets their answer a moment later, and it is judged anew."""


class Valuation:
    """Computes the values of one cube's memories, again and again, and keeps what each answer said of the modes.

    What is kept makes the next call cheaper, and never its result another.

    Args:
        learns: whether the shares of the modes follow the answers, or stay at their prior.
    """

    def __init__(self, modes: Sequence[Mode] = MODES, *, learns: bool = True) -> None:
        self._modes = modes
        self._learns = learns
        self._judged: dict[str, tuple[tuple[Used, ...], Floats]] = {}
        self._uses: list[tuple[tuple[Used, ...], Floats]] = []
        self._odds: list[tuple[tuple[Used, ...], int, Floats]] = []
        self._learned: tuple[tuple[Used, ...], Floats] = (), np.zeros(0)
        self._of: object = None

    def values(
        self, columns: Columns, log: Sequence[Used], may: NDArray[np.bool_], generation: object = None
    ) -> Values:
        """The value of each memory as things are now.

        Args:
            log: oldest first.
            may: which memories may be chosen at all.
            generation: equal as long as memories were added at the end only. None keeps nothing.
        """
        if generation is None or generation != self._of:
            self._judged, self._uses, self._odds, self._learned = {}, [], [], ((), np.zeros(0))
            self._of = generation
        known = len(columns)
        if not known:
            return Values(np.zeros(0), {}, np.zeros((len(self._modes), 0)))
        shares = self._shares(columns, log)
        by_mode = _among(may, self._odds_at(Moment(columns, log, known)))
        value: Floats = np.round(np.einsum("m,mi->i", shares, by_mode), _DIGITS)
        named = {mode.name: float(share) for mode, share in zip(self._modes, shares, strict=True)}
        return Values(value, named, by_mode)

    def _odds_at(self, moment: Moment) -> Floats:
        """By mode and memory, how likely its use is, compared with the likeliest.

        An answer is judged by what was foreseen before it, which is mostly what was valued last.
        """
        past = tuple(moment.past)
        kept = [each for each in self._odds if each[:2] != (past, moment.known)]
        if len(kept) < len(self._odds):
            found = next(odds for seen, known, odds in self._odds if (seen, known) == (past, moment.known))
        else:
            rows, features = np.arange(moment.known), moment.features_of_all(self._about_uses(moment))
            found = np.array([mode.scores(moment, rows, features) for mode in self._modes])
            found -= found.max(axis=1, keepdims=True)
            np.exp(found, out=found)
        self._odds = [(past, moment.known, found), *kept][:_PASTS_KEPT]
        return found

    def _about_uses(self, moment: Moment) -> Floats:
        """``moment.about_uses``; only of the new memories, where that past is known."""
        past = tuple(moment.past)
        kept = [each for each in self._uses if each[0] != past]
        found = next((found for seen, found in self._uses if seen == past), np.zeros((4, 0)))
        if moment.known > found.shape[1]:
            found = np.concatenate([found, moment.about_uses(found.shape[1])], axis=1)
        self._uses = [(past, found), *kept][:_PASTS_KEPT]
        return found[:, : moment.known]

    def _shares(self, columns: Columns, log: Sequence[Used]) -> Floats:
        """The modes' posterior: their prior, times how well each foresaw what the last answers used."""
        prior: Floats = np.array([mode.prior for mode in self._modes])
        if not self._learns or not log:
            even: Floats = prior / prior.sum()
            return even
        if (said := tuple(log)) == self._learned[0]:
            return self._learned[1]
        kept: dict[str, tuple[tuple[Used, ...], Floats]] = {}
        evidence = np.zeros(len(self._modes))
        for at in range(max(0, len(log) - _LEARNED_FROM), len(log)):
            event, seen = log[at], tuple(log[max(0, at - PAST) : at + 1])
            before, judged = self._judged.get(event.event_id, ((), evidence))
            if before != seen:
                judged = self._judge(Moment(columns, seen[:-1], event.known), event)
            kept[event.event_id] = seen, judged
            evidence = evidence + _FORGET ** (len(log) - 1 - at) * judged
        self._judged = kept
        weights = prior * np.exp(_POWER * (evidence - evidence.max()))
        result: Floats = weights / weights.sum()
        self._learned = said, result
        return result

    def _judge(self, moment: Moment, event: Used) -> Floats:
        """How well each mode foresaw what an answer used: the log of its probability, against the modes' mean."""
        odds = self._odds_at(moment)
        probability = odds[:, event.credited] / odds.sum(axis=1, keepdims=True)
        said = np.log((1 - _MIXED) * probability + _MIXED / event.known)
        weights = 0.5 ** np.arange(len(event.credited))
        result: Floats = said @ weights / weights.sum()
        result -= result.mean()
        return result


def _among(may: NDArray[np.bool_], odds: Floats) -> Floats:
    """Probabilities by mode (rows) of the memories that may be chosen."""
    allowed: Floats = odds if may.all() else odds * may
    total = allowed.sum(axis=1, keepdims=True)
    found: Floats = np.divide(allowed, total, out=np.zeros(allowed.shape), where=total > 0)
    return found


def mixture_of(modes: Sequence[Mode] = MODES, *, blind_to: str = "", without: str = "") -> list[Mode]:
    """The modes with one of them, or one feature, left out: what each is worth is measured so."""
    left = [mode for mode in modes if mode.name != without]
    return [mode.without(blind_to) if blind_to and isinstance(mode, LinearMode) else mode for mode in left]


def credited_by(hits: Sequence[tuple[str, float]], shares: Mapping[str, float]) -> list[str]:
    """Which memories an answer used: of what the question's search found, those it shares most words with.

    The first two without an answer. With one the second only if it is about as likely as the first: one of several
    that are alike was used, and the others were not.

    Args:
        hits: (memory id, score, 1 for the best), best first.
        shares: by memory id, the share of the answer's distinct stems that it has; {} if nobody knows the answer.
    """
    ranked = sorted(((-score - shares.get(memory_id, 0.0), memory_id) for memory_id, score in hits), key=lambda e: e[0])
    bar = _ABOUT_AS_LIKELY * ranked[0][0] if ranked and shares else 0.0
    return [memory_id for cost, memory_id in ranked[:CREDITED] if cost <= bar]
