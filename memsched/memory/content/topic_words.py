"""Topic words: what of a text can tie it to others of the same theme, in any language that memsched has met."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

from memsched.lexicon import is_without_spaces, stem, words

_LONG = 7
_ENDS = 5
"""Of long words the first and last letters count as words, for languages that build compounds: "Dachfenster" and
"Küchenfenster" are about windows.
"""
_SHORT_NUMBER = re.compile(r"\d{1,2}")
_PLAIN = re.compile(r"[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]+")


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    """The words that tie nothing, of all languages at once: nobody says which one a text is in."""
    return frozenset(word for listed in stop_words_by_language().values() for word in listed)


@lru_cache(maxsize=1)
def stop_words_by_language() -> dict[str, frozenset[str]]:
    """The same, by language; English is the first."""
    folder = resources.files("memsched.memory.content") / "stop_words"
    found = {file.name.removesuffix(".txt"): file.read_text(encoding="utf-8").split() for file in folder.iterdir()}
    return {language: frozenset(listed) for language, listed in sorted(found.items(), key=lambda each: each[0] != "en")}


def language_of(text: str) -> str:
    """Whose function words a text has most of; Chinese if its script puts no spaces between words; else English."""
    if is_without_spaces(text):
        return "zh"
    used = words(text)
    counts = {name: sum(map(listed.__contains__, used)) for name, listed in stop_words_by_language().items()}
    return max(counts, key=lambda name: counts[name])


def content_terms(text: str) -> list[str]:
    """The words of a text that may name what it is about, in order, lower case, with repetitions."""
    return [word for word in words(text) if not _says_nothing(word)]


def topic_words(text: str) -> frozenset[str]:
    """The stems of a text's content terms, and the ends of the long ones."""
    found = set()
    for word in content_terms(text):
        found.add(stem(word))
        if len(word) >= _LONG and _PLAIN.fullmatch(word):
            found |= {f"{word[:_ENDS]}-", f"-{word[-_ENDS:]}"}
    return frozenset(found)


@lru_cache(maxsize=65_536)
def _says_nothing(word: str) -> bool:
    known = stop_words()
    if word in known or _SHORT_NUMBER.fullmatch(word):
        return True
    # A pair of characters, of a script without spaces, is a function word where both of them are.
    return len(word) == 2 and word[0] in known and word[1] in known and not word.isascii()
