"""The words that tell a revision (``revision_words.json``), as patterns; and the content words of a piece of text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import Stemmer

from memsched.lexicon import is_without_spaces
from memsched.lexicon import words as words_of
from memsched.memory.content.topic_words import stop_words_by_language

_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("revision_words.json").read_text(encoding="utf-8")
)
_STEMMERS = {
    "en": Stemmer.Stemmer("english", 0),
    "de": Stemmer.Stemmer("german", 0),
    "es": Stemmer.Stemmer("spanish", 0),
}
TOKEN = re.compile(r"[#$\u20ac]?\d+(?:[.,:/x\u00d7-]\d+)*\w*%?|[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*")
_BLANKED = ("admits", "now", "denies", "once", "light")
_CUES = ("changed", "ended", "cancelled")
VERBS_OF = ("reside", "work", "name", "age", "weigh", "drive", "smoke", "alive", "price")
"""Classes that are told by verbs: that they are the same says all that the verb does."""


def found(kind: str, lang: str, text: str) -> bool:
    return pattern(kind, lang).search(text) is not None


@lru_cache(maxsize=1024)
def listed(kind: str, lang: str) -> tuple[str, ...]:
    """The words of a kind as they are."""
    return tuple(_WORDS[kind].get(lang, ()))


@lru_cache(maxsize=1024)
def pattern(kind: str, lang: str) -> re.Pattern[str]:
    return _compiled(_WORDS[kind].get(lang, ()), lang)


@lru_cache(maxsize=256)
def class_pattern(name: str, lang: str) -> re.Pattern[str]:
    return _compiled(_WORDS["classes"][name].get(lang, ()), lang)


def _compiled(words_of_it: Sequence[str], lang: str) -> re.Pattern[str]:
    if not words_of_it:
        return re.compile(r"(?!)")
    longest_first = sorted(words_of_it, key=len, reverse=True)
    if lang == "zh":
        return re.compile("|".join(longest_first))
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=8)
def cue_words(lang: str) -> re.Pattern[str]:
    """What says only that something changed, and the verbs of classes."""
    verbs = [word for name in VERBS_OF for word in _WORDS["classes"][name].get(lang, ())]
    return _compiled([*verbs, *(word for kind in _CUES for word in listed(kind, lang))], lang)


@lru_cache(maxsize=8)
def _fillings(lang: str) -> re.Pattern[str]:
    return _compiled([word for kind in _BLANKED for word in listed(kind, lang)], lang)


def blanked(piece: str, lang: str) -> str:
    """Without what only says that it is another way; in Chinese, where no word stands alone, also without cues."""
    piece = cue_words(lang).sub(" ", piece) if lang == "zh" else piece
    return _fillings(lang).sub(" ", piece)


def content(piece: str, lang: str) -> tuple[str, ...]:
    """The stems of its content words in order."""
    kept = [norm(match.group(), lang, not match.start()) for match in TOKEN.finditer(blanked(piece, lang))]
    return tuple(dict.fromkeys(word for word in kept if word))


@lru_cache(maxsize=65_536)
def norm(said: str, lang: str, opens: bool) -> str:
    """The stem of a content word, "" for others."""
    lower = said.lower().replace("\u2019", "'")
    if any(each.isdigit() for each in lower):
        return "#" + lower.strip("#$\u20ac")
    if pattern("when", lang).fullmatch(lower):
        return "@" + stemmed(lower, lang)
    if lower in _numbers(lang):
        return "#" + _numbers(lang)[lower]
    if len(said) == 1 and said.isupper() and said != "I" and not opens:
        return said
    bare = lower.removesuffix("'s")
    if pattern("telling", lang).fullmatch(bare):
        return stemmed(bare, lang)
    if len(bare) < 2 or bare in stop_words(lang) or bare in listed("openers", lang) or "'" in bare:
        return ""
    if pattern("own", lang).fullmatch(lower) or pattern("it", lang).fullmatch(lower):
        return ""
    return stemmed(bare, lang)


@lru_cache(maxsize=65_536)
def stemmed(word: str, lang: str) -> str:
    return str(_STEMMERS[lang].stemWord(word)) if lang in _STEMMERS else word


@lru_cache(maxsize=8)
def _numbers(lang: str) -> dict[str, str]:
    return {word: str(number) for number, word in enumerate(listed("numbers", lang), 1)}


def stop_words(lang: str) -> frozenset[str]:
    return stop_words_by_language()[lang]


@lru_cache(maxsize=8)
def verbs(lang: str) -> frozenset[str]:
    return frozenset(word.removesuffix("?") for word in _WORDS["verbs"][lang])


def language_of_pair(one: str, other: str) -> str:
    """The language of two texts: of the function words and verbs of which they have most."""
    if is_without_spaces(one) or is_without_spaces(other):
        return "zh"
    counts = zip(_STEMMERS, _used(one), _used(other), strict=True)
    return max(counts, key=lambda each: each[1] + each[2])[0]


@lru_cache(maxsize=4096)
def _used(text: str) -> tuple[int, ...]:
    """How many words of a text each language knows."""
    used = words_of(text)
    return tuple(sum(word in verbs(lang) or word in stop_words(lang) for word in used) for lang in _STEMMERS)


def classes_in(text: str, lang: str) -> frozenset[str]:
    """The classes of what a text tells."""
    told = frozenset(name for name in _WORDS["classes"] if class_pattern(name, lang).search(text))
    return told - {"reside"} if found("moves_a_thing", lang, text) else told
