"""Preferences: what the speaker likes, dislikes or is used to, and how the assistant shall do.

By the patterns of ``preference_words.json``. Only their own: what somebody else likes has another subject. What only
sounds so ("I'd like a table", "I hate to say it"), is asked, quoted, supposed or made up is none.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from memsched.memory.ingest.clauses import sentences_of
from memsched.memory.ingest.lookup import Lookup
from memsched.memory.ingest.revision_words import found, language_of_pair
from memsched.memory.ingest.spelling import as_spelled

_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("preference_words.json").read_text(encoding="utf-8")
)
_NOTHING_LASTING = ("untold", "question", "quoted")
_TITLE = re.compile("\u300a[^\u300b]*\u300b")
"""A title in Chinese: whatever it says, nobody says it."""
_BEFORE = re.compile(r"[,;:\uff0c\uff1b\uff1a]|\b(?:but|and|because|aber|und|weil|pero|porque)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_preference(text: str) -> bool:
    """Whether a speaker says a preference of their own."""
    lang = language_of_pair(text, "")
    text = _answered(as_spelled(_TITLE.sub(" ", text), lang), lang)
    if not _may_be_one(text, lang):
        return False
    return any(
        _says_one(sentence, lang) for sentence, apart in sentences_of(text, lang) if apart not in _NOTHING_LASTING
    )


def _may_be_one(text: str, lang: str) -> bool:
    """Whether a way begins anywhere: most texts have none, and need no closer look."""
    if lang == "zh":
        return bool(_ways("own", lang).search(text) or _ways("asks", lang).search(text))
    return _by_begin(lang).has_any(text)


@lru_cache(maxsize=8)
def _by_begin(lang: str) -> Lookup:
    return Lookup({name: _WORDS[name][lang] for name in ("own", "asks")})


def _answered(text: str, lang: str) -> str:
    """With a colon where somebody asks what they answer at once: "favourite season? Autumn"."""
    question = _pattern("oneself", lang).match(text)
    return f"{text[: question.end() - 1].lstrip(chr(0xBF))}:{text[question.end() :]}" if question else text


def _says_one(sentence: str, lang: str) -> bool:
    past = _pattern("past", lang).search(sentence)
    if found("told", lang, sentence) or (past and not _pattern("now", lang).search(sentence, past.end())):
        return False
    if _pattern("made_up", lang).search(sentence):
        return False
    if _ways("asks", lang).search(sentence):
        return True
    phrases, unreal = _pattern("phrases", lang), _pattern("unreal", lang)
    for match in _ways("own", lang).finditer(sentence):
        before = _BEFORE.split(sentence[: match.start()])[-1]
        if not unreal.search(before) and not phrases.match(sentence, match.start()):
            return True
    return False


@lru_cache(maxsize=16)
def _ways(name: str, lang: str) -> re.Pattern[str]:
    return _whole("|".join(f"(?:{way})" for way in _WORDS[name][lang]), lang)


@lru_cache(maxsize=16)
def _pattern(name: str, lang: str) -> re.Pattern[str]:
    return _whole(_WORDS[name][lang], lang)


def _whole(ways: str, lang: str) -> re.Pattern[str]:
    return re.compile(ways if lang == "zh" else rf"(?<![\w'\u2019])(?:{ways})(?![\w'])", re.IGNORECASE)
