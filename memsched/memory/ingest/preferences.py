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
from memsched.memory.ingest.revision_words import found, language_of_pair

_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("preference_words.json").read_text(encoding="utf-8")
)
_NOTHING_LASTING = ("untold", "question", "quoted")
_BEFORE = re.compile(r"[,;:\uff0c\uff1b\uff1a]|\b(?:but|and|because|aber|und|weil|pero|porque)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_preference(text: str) -> bool:
    """Whether a speaker says a preference of their own."""
    lang = language_of_pair(text, "")
    if not _ways("own", lang).search(text) and not _ways("asks", lang).search(text):
        return False
    return any(
        _says_one(sentence, lang) for sentence, apart in sentences_of(text, lang) if apart not in _NOTHING_LASTING
    )


def _says_one(sentence: str, lang: str) -> bool:
    if found("told", lang, sentence):
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
