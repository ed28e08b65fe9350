"""Rerank: what happens to ranked hits at the end: repetitions go, newer statements pass older ones, variety."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from memsched.lexicon import stems
from memsched.memory.search.constants import REACH
from memsched.memory.search.no_answer import NoAnswer, no_answer
from memsched.memory.search.window import QUESTION_MARKS

_ABOUT_THE_SAME = 0.5
"""Share of common words of two statements about the same thing."""
_SHORT = 12
"""Words of a statement that is short enough to be about one thing."""
_SHORT_CHARACTERS = 160
_ONE_THING = 140
"""Characters of a text that says one thing."""
_LOOKED_AT = 2
_FIRST = 3
"""So many are looked at by whoever wants an answer."""
COMPARED = 120
"""So many of the best are compared with each other, however many are asked for: it takes the square of that."""


_MOVED_BY = ("superseded", "corrects", "newer", "repeats", "linked", "beside")
"""Parts that only say beside which other one it is ranked."""


@dataclass(slots=True, eq=False)
class ScoredHit:
    """A hit while it is ranked: its score, and the parts that add up to it.

    Args:
        stands_for: what it corrects, may revise, or says anew: if that fits a question, so does this.
    """

    memory_id: str
    payload: dict[str, Any]
    parts: dict[str, float] = field(default_factory=dict)
    score: float = 0.0
    stands_for: list[ScoredHit] = field(default_factory=list)

    @property
    def words(self) -> frozenset[str]:
        """The stems of its text and caption."""
        return _stems_of(self.searched_text)

    @property
    def searched_text(self) -> str:
        """As ``Memory.searched_text``."""
        text, caption = str(self.payload.get("text", "")), self.payload.get("caption")
        return f"{text} {caption}" if caption else text

    @property
    def no_answer(self) -> NoAnswer:
        """Whether it only asks, or only says that it does not know. A picture always shows something."""
        return "" if self.payload.get("caption") else no_answer(str(self.payload.get("text", "")), self.speaker)

    @property
    def asks(self) -> bool:
        """Whether it has a question in it."""
        return any(mark in str(self.payload.get("text", "")) for mark in QUESTION_MARKS)

    @property
    def said(self) -> str:
        """Equal for what says the same in other spelling."""
        return self.payload.get("content_hash") or self.memory_id

    @property
    def points(self) -> float:
        """The score that the question alone gave it."""
        return self.score - sum(self.parts.get(each, 0.0) for each in _MOVED_BY)

    @property
    def place(self) -> tuple[str, int] | None:
        session = self.payload.get("session_id")
        return (session, int(self.payload.get("turn", 0))) if session else None

    @property
    def speaker(self) -> str:
        return str(self.payload.get("speaker", ""))

    @property
    def revisers(self) -> dict[str, str]:
        """By id of what may revise it, why."""
        return self.payload.get("may_be_revised_by") or {}

    @property
    def said_at(self) -> tuple[int, int]:
        """When it was said last: time in ms, and turn within the session."""
        at, turn = int(self.payload.get("at", 0)), int(self.payload.get("turn", 0))
        last = int(self.payload.get("last_said") or at)
        return (last, -1) if last > at else (at, turn)

    @property
    def with_all_it_stands_for(self) -> list[ScoredHit]:
        """Itself, what it stands for, what that stands for, and so on; each once: two may stand for each other, where
        what may have been revised was said again.
        """
        found = [self]
        for each in found:
            found += [other for other in each.stands_for if other not in found]
        return found

    def raise_to(self, score: float, why: str) -> None:
        self.parts[why] = self.parts.get(why, 0.0) + score - self.score
        self.score = score


def without_repetitions(ranked: Sequence[ScoredHit], top_k: int) -> list[ScoredHit]:
    """Of candidates that say the same in other spelling the newest stays, at the place of the best."""
    kept: list[ScoredHit] = []
    said: dict[str, int] = {}
    limit = _LOOKED_AT * top_k
    for each in ranked[:limit]:
        number = said.setdefault(each.said, len(kept))
        if number == len(kept):
            kept.append(each)
        elif each.said_at > kept[number].said_at:
            each.raise_to(kept[number].score, "repeats")
            each.stands_for.append(kept[number])
            kept[number] = each
    return kept + list(ranked[limit:])


def newer_first(ranked: list[ScoredHit], top_k: int, asked: Set[str]) -> list[ScoredHit]:
    """Of two short statements by one speaker about the same thing the newer comes first: it may have replaced it.

    Args:
        asked: the stems of the query; which of them the older one has, the newer one must have too.
    """
    top = ranked[: min(COMPARED, _LOOKED_AT * top_k)]
    brief = [each for each in top if len(each.searched_text) <= _SHORT_CHARACTERS]
    short = [each for each in brief if 1 < len(each.words) <= _SHORT]
    for newer in short:
        place = top.index(newer)
        for at, older in enumerate(top[:place]):
            if (
                older in short
                and older.speaker == newer.speaker
                and older.said_at < newer.said_at
                and "superseded" not in newer.parts
                and _overlap(older.words, newer.words) >= _ABOUT_THE_SAME
                and older.words & asked <= newer.words
                and (older.no_answer or not newer.no_answer)
            ):
                if older.score > newer.score:
                    newer.raise_to(older.score, "newer")
                    newer.stands_for.append(older)
                top.insert(at, top.pop(place))
                break
    return top + ranked[len(top) :]


def behind_what_they_stand_beside(ranked: Sequence[ScoredHit], top_k: int, asked: Set[str]) -> list[ScoredHit]:
    """What has no word of the question, and was found by what was said around it, comes behind a statement there that
    has them all: it can only be as good. Not if its time, or its meaning as an embedding has it, fits better.

    Args:
        asked: the stems of the query, without speakers' names.
    """
    top = list(ranked[: min(COMPARED, _LOOKED_AT * top_k)])
    holding = [each for each in top if asked and asked <= each.words and not each.asks and not each.no_answer]
    for each in [each for each in top if each.words.isdisjoint(asked)] if holding else ():
        beside = [other for other in holding if _is_beside(each, other) and _fits_no_better(each, other)]
        best = max(beside, key=lambda other: other.score, default=each)
        if best.score < each.score:
            each.raise_to(best.score, "beside")
            top.remove(each)
            top.insert(top.index(best) + 1, each)
    return [*top, *ranked[len(top) :]]


def _is_beside(one: ScoredHit, other: ScoredHit) -> bool:
    if one.place is None or other.place is None:
        return False
    return one.place[0] == other.place[0] and abs(one.place[1] - other.place[1]) <= REACH


def _fits_no_better(one: ScoredHit, other: ScoredHit) -> bool:
    return all(one.parts.get(part, 0.0) <= other.parts.get(part, 0.0) for part in ("time", "dense"))


_LINKED_SHARE = 0.45
"""Of the score of what it may revise: what says something about other things as well has less."""


def revisers_first(ranked: Sequence[ScoredHit]) -> list[ScoredHit]:
    """The newest of what may revise a statement comes directly before it, if it is behind it. Not
    if the question found it, and much less so.

    Of a text that says several things it may revise what was not asked for: it comes directly behind, as what says
    several things does. A statement that is among the first three stays there: of what stood before a third one, one
    goes behind it.
    """
    order = list(ranked)
    linked = [each for each in ranked[:COMPARED] if each.revisers and not each.payload.get("superseded_by")]
    for older in sorted(linked, key=lambda each: each.said_at):
        revisers = [
            each for each in order if each.memory_id in older.revisers and not each.payload.get("superseded_by")
        ]
        newest = max(revisers, key=lambda each: each.said_at, default=older)
        place = order.index(older)
        if order.index(newest) <= place or 0 < newest.score < _LINKED_SHARE * older.score:
            continue
        newest.stands_for.append(older)
        order.remove(newest)
        order.remove(older)
        start = min(place, _FIRST - 2) if place < _FIRST else place
        score = max([older.score, *(each.score for each in order[start : start + 1])])
        for each in (older, newest):
            if each.score < score:
                each.raise_to(score, "linked")
        order[start:start] = [newest, older] if _says_one_thing(older, newest) else [older, newest]
    return order


def _says_one_thing(*hits: ScoredHit) -> bool:
    """Each of them, by its length."""
    return all(len(each.searched_text) <= _ONE_THING for each in hits)


def spread(ranked: Sequence[ScoredHit], top_k: int, diversity: float) -> list[ScoredHit]:
    """Maximal marginal relevance over the words of the texts."""
    compared = min(COMPARED, _LOOKED_AT * top_k)
    left = [(each, each.words) for each in ranked[:compared]]
    best = max((each.score for each, _ in left), default=0.0) or 1.0
    chosen: list[tuple[ScoredHit, frozenset[str]]] = []
    while left and len(chosen) < top_k:

        def marginal(item: tuple[ScoredHit, frozenset[str]]) -> float:
            repeated = max((_overlap(item[1], words) for _, words in chosen), default=0.0)
            return (1 - diversity) * item[0].score / best - diversity * repeated

        pick = max(left, key=marginal)
        left.remove(pick)
        chosen.append(pick)
    return [*(each for each, _ in chosen), *ranked[compared:]]


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard's measure."""
    return len(a & b) / len(a | b) if a or b else 0.0


@lru_cache(maxsize=4096)
def _stems_of(text: str) -> frozenset[str]:
    """Cached, because questions of one talk find the same memories again."""
    return frozenset(stems(text))
