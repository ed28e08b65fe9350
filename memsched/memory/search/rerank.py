"""What happens to ranked candidates at the end: repetitions go, newer statements pass older ones, variety."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memsched.memory.search.hybrid import Scored

_ABOUT_THE_SAME = 0.5
"""Share of common words of two statements about the same thing."""
_SHORT = 12
"""Words of a statement that is short enough to be about one thing."""
_SHORT_CHARACTERS = 160
_LOOKED_AT = 2


def without_repetitions(ranked: Sequence[Scored], top_k: int) -> list[Scored]:
    """Of candidates that say the same in other spelling the newest stays, at the place of the best."""
    kept: list[Scored] = []
    said: dict[str, int] = {}
    limit = _LOOKED_AT * top_k
    for each in ranked[:limit]:
        number = said.setdefault(each.payload.get("content_hash") or each.memory_id, len(kept))
        if number == len(kept):
            kept.append(each)
        elif _said_at(each) > _said_at(kept[number]):
            _raise_to(each, kept[number].score, "repeats")
            kept[number] = each
    return kept + list(ranked[limit:])


def newer_first(ranked: list[Scored], top_k: int, asked: Set[str]) -> list[Scored]:
    """Of two short statements by one speaker about the same thing the newer comes first: it may have replaced it.

    asked: the stems of the query; which of them the older one has, the newer one must have too.
    """
    top = ranked[: _LOOKED_AT * top_k]
    brief = [each for each in top if len(each.payload.get("text", "")) <= _SHORT_CHARACTERS]
    short = [each for each in brief if 1 < len(each.words) <= _SHORT]
    for newer in short:
        place = top.index(newer)
        for at, older in enumerate(top[:place]):
            if (
                older in short
                and _speaker(older) == _speaker(newer)
                and _said_at(older) < _said_at(newer)
                and _overlap(older.words, newer.words) >= _ABOUT_THE_SAME
                and older.words & asked <= newer.words
            ):
                if older.score > newer.score:
                    _raise_to(newer, older.score, "newer")
                top.insert(at, top.pop(place))
                break
    return top + ranked[_LOOKED_AT * top_k :]


def spread(ranked: Sequence[Scored], top_k: int, diversity: float) -> list[Scored]:
    """Maximal marginal relevance over the words of the texts."""
    left = [(each, each.words) for each in ranked[: _LOOKED_AT * top_k]]
    best = max((each.score for each, _ in left), default=0.0) or 1.0
    chosen: list[tuple[Scored, frozenset[str]]] = []
    while left and len(chosen) < top_k:

        def marginal(item: tuple[Scored, frozenset[str]]) -> float:
            repeated = max((_overlap(item[1], words) for _, words in chosen), default=0.0)
            return (1 - diversity) * item[0].score / best - diversity * repeated

        pick = max(left, key=marginal)
        left.remove(pick)
        chosen.append(pick)
    return [each for each, _ in chosen]


def _raise_to(each: Scored, score: float, why: str) -> None:
    each.parts[why] = each.parts.get(why, 0.0) + score - each.score
    each.score = score


def _speaker(each: Scored) -> str:
    return str(each.payload.get("speaker", ""))


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard's measure."""
    return len(a & b) / len(a | b) if a or b else 0.0


def _said_at(each: Scored) -> tuple[int, int]:
    return int(each.payload.get("at", 0)), int(each.payload.get("turn", 0))
