"""Questions for several things: their answers stand in several places, and one place must not take all of the room.

Word lists of four languages, ``several.json``; nobody says which one a question is in, so all of them count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from unicodedata import normalize

from memsched.memory.search.constants import FOR_EACH_NEAR, REACH
from memsched.memory.search.rerank import COMPARED, ScoredHit

_DATA: dict[str, Any] = json.loads(files("memsched.memory.search").joinpath("several.json").read_text(encoding="utf-8"))
_LOOKED_AT = 3


def _any_of(listed: str) -> str:
    return "|".join(map(re.escape, listed.split()))


_WORD = re.compile(r"\w+")
_WORDS = frozenset(word for listed in _DATA["words"].values() for word in listed.split())
_PHRASES: tuple[str, ...] = tuple(phrase for listed in _DATA["phrases"].values() for phrase in listed)
_PHRASE = re.compile(rf"\b(?:{'|'.join(map(re.escape, _PHRASES))})\b")
_NO_LIST = re.compile(rf"\b(?:{_DATA['no_list']})\b")
_ENGLISH_OPENING = re.compile(r"\s*(?:what|which|who)\s+(?:\w+\s+){0,2}?\w+[^s\W]s\b")
_SINGULARS_DE, _SINGULARS_ES = _any_of(_DATA["singulars"]["de"]), _any_of(_DATA["singulars"]["es"])
_GERMAN = re.compile(
    rf"\bwelche\s+(?!(?:{_SINGULARS_DE})\b)(?:\w+(?:en|er|ern|eln|s)|{_any_of(_DATA['plurals']['de'])})\b"
    rf"|\b(?:in|an|mit|von|zu|bei|aus|auf|f\u00fcr)\s+welchen\s+(?!(?:{_SINGULARS_DE})\b)\w+[ns]\b"
)
_ALLES = re.compile(r"\W*(?:was|wer|wo|wen|wem|wohin)\b.*\balles\b")
_SPANISH = re.compile(rf"(?:\bqu\u00e9|^\W*(?:\w{{1,4}}\s+)?que)\s+(?!\w*(?:mos|abas)\b|(?:{_SINGULARS_ES})\b)\w+s\b")
_CHINESE = re.compile(
    rf"{_any_of(_DATA['zh'])}|(?:(?<![\u597d\u5341\u8fd9\u90a3])\u51e0|\u591a\u5c11)(?:{_any_of(_DATA['plurals']['zh'])})"
    # "all", not in the name of a town, and not in "everybody", "even" or "never"
    r"|(?<![\u9996\u6210\u4eac\u53e4\u56fd\u8c01\u8fde])\u90fd(?![\u5e02\u4f1a\u4e0d\u6ca1])"
)
_ASKS, _HAS = re.compile(r"\b(?:where|what|which|who)\b"), re.compile(r"\b(?:has|have)\b")
_READ = 20_000
"""Characters of a question that are looked at."""


def asks_for_several(question: str) -> bool:
    """Whether a question is for several things."""
    text = question[:_READ]
    if not text.isascii():
        text = normalize("NFC", text)
        if _CHINESE.search(text) is not None:
            return True
    text = text.lower()
    words = frozenset(_WORD.findall(text))
    if not _WORDS.isdisjoint(words) and not _WORDS.isdisjoint(_WORD.findall(_NO_LIST.sub(" ", text))):
        return True
    return (
        (any(phrase in text for phrase in _PHRASES) and _PHRASE.search(text) is not None)
        or _ENGLISH_OPENING.match(text) is not None
        or ("welche" in text and _GERMAN.search(text) is not None)
        or ("qu" in text and _SPANISH.search(text) is not None)
        or ("alles" in words and _ALLES.match(text) is not None)
        or (("has" in words or "have" in words) and any(map(_asks_who_has, text.split("\n"))))
    )


def _asks_who_has(line: str) -> bool:
    # One expression for both takes quadratic time.
    asked = _ASKS.search(line)
    return asked is not None and _HAS.search(line, asked.end()) is not None


def spread_over_places(ranked: Sequence[ScoredHit], top_k: int) -> list[ScoredHit]:
    """The best first, where each that was picked makes those around it count less."""
    looked_at = min(COMPARED, _LOOKED_AT * top_k)
    left, rest = list(ranked[:looked_at]), ranked[looked_at:]
    chosen: list[ScoredHit] = []
    near = {each.memory_id: 0 for each in left}
    while left:
        pick = max(left, key=lambda each: each.score - FOR_EACH_NEAR * near[each.memory_id])
        left.remove(pick)
        chosen.append(pick)
        if (place := pick.place) is not None:
            for each in left:
                if each.place is not None and each.place[0] == place[0] and abs(each.place[1] - place[1]) <= REACH:
                    near[each.memory_id] += 1
    return [*chosen, *rest]
