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
from memsched.memory.ingest.lookup import Lookup, as_words

_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("revision_words.json").read_text(encoding="utf-8")
)
_STEMMERS = {
    "en": Stemmer.Stemmer("english", 0),
    "de": Stemmer.Stemmer("german", 0),
    "es": Stemmer.Stemmer("spanish", 0),
}
_LETTERS = {
    lang: re.compile(letters, re.IGNORECASE)
    for lang, letters in (
        ("en", r"(?!)"),
        ("de", "[\u00e4\u00f6\u00fc\u00df]"),
        ("es", "[\u00e1\u00e9\u00ed\u00f3\u00fa\u00f1\u00bf\u00a1]"),
    )
}
"""Letters of a language, for texts of which no word is known."""
TOKEN = re.compile(r"[#$\u20ac]?\d+(?:[.,:/x\u00d7-]\d+)*\w*%?|[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*")
_NO_PATTERNS = (
    "comment",
    "acts",
    "asks",
    "classes",
    "verbs",
    "kin",
    "opposites",
    "copulas",
    "goes_on",
    "joins",
    "places",
    "prepositions",
    "speaks",
)
"""Of what is there, what ``found`` does not look for."""
_CLASS = "classes/"
_BLANKED = ("admits", "now", "denies", "once", "light")
_CUES = ("changed", "ended", "cancelled")
_TELLING = (*_CUES, "admits", "now", "denies", "not_but", "one_valued", "when", "numbers")
_AROUND = re.compile(r"\^|\$|\(\?<?[=!][^()]*\)")
_CUT_OTHERWISE = re.compile('[_"\u201c\u201e\u00ab\u300c\u300e]')
_GO_ON = ("but", "sondern", "sino")
"""Where a clause is not just a piece of its text."""
VERBS_OF = ("reside", "work", "name", "age", "weigh", "drive", "smoke", "alive", "price")
"""Classes that are told by verbs: that they are the same says all that the verb does."""
_WITH_CUES = frozenset((*_CUES, *(_CLASS + name for name in VERBS_OF)))


def found(kind: str, lang: str, text: str) -> bool:
    """Whether a text has words of a kind."""
    return pattern(kind, lang).search(text) is not None if lang == "zh" else kind in kinds_in(text, lang)


@lru_cache(maxsize=4096)
def kinds_in(text: str, lang: str) -> frozenset[str]:
    """The kinds of which a text has words, and the classes ("classes/name"); not of Chinese."""
    return _lookup(lang).names_in(text)


@lru_cache(maxsize=8)
def _lookup(lang: str) -> Lookup:
    kinds = {kind: words.get(lang, ()) for kind, words in _WORDS.items() if kind not in _NO_PATTERNS}
    return Lookup(kinds | {_CLASS + name: words.get(lang, ()) for name, words in _WORDS["classes"].items()})


def may_tell(text: str, lang: str) -> bool:
    """Whether anything in a text may tell a revision, or what can be revised; a closer look may find that nothing does.

    Without it there is no such sign, class or value in any of its clauses (clauses.py), wherever it is cut.
    """
    if lang == "zh" or any(map(str.isdigit, text)) or _CUT_OTHERWISE.search(text):
        return True
    plain = text.replace("\u2019", "'")
    if "  " in plain or "\t" in plain:
        plain = re.sub(r"[ \t]+", " ", plain)
    return _lookup_anywhere(lang).has_any(plain)


@lru_cache(maxsize=8)
def _lookup_anywhere(lang: str) -> Lookup:
    """Of what tells something, whatever stands around it."""
    kinds = {kind: _WORDS[kind].get(lang, ()) for kind in _TELLING}
    kinds |= {_CLASS + name: words.get(lang, ()) for name, words in _WORDS["classes"].items()}
    return Lookup({"": _GO_ON, **{name: [_AROUND.sub("", way) for way in ways] for name, ways in kinds.items()}})


@lru_cache(maxsize=65_536)
def is_one(kind: str, lang: str, word: str) -> bool:
    """Whether a word, or whatever it is, is one of a kind."""
    return pattern(kind, lang).fullmatch(word) is not None


@lru_cache(maxsize=65_536)
def is_of_class(name: str, lang: str, word: str) -> bool:
    return class_pattern(name, lang).fullmatch(word) is not None


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
    if lang == "zh":
        return re.compile("|".join(sorted(words_of_it, key=len, reverse=True)))
    return as_words(words_of_it)


def are_opposites(one: str, other: str, lang: str) -> bool:
    """Whether two texts tell states that nobody is in at once: single and married."""
    return any(
        (left.search(one) and right.search(other)) or (right.search(one) and left.search(other))
        for left, right in _opposites(lang)
    )


@lru_cache(maxsize=8)
def _opposites(lang: str) -> tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]:
    pairs = (pair.split(" / ") for pair in listed("opposites", lang))
    return tuple((_compiled([left], lang), _compiled([right], lang)) for left, right in pairs)


@lru_cache(maxsize=8)
def cue_words(lang: str) -> re.Pattern[str]:
    """What says only that something changed, and the verbs of classes."""
    verbs = [word for name in VERBS_OF for word in _WORDS["classes"][name].get(lang, ())]
    return _compiled([*verbs, *(word for kind in _CUES for word in listed(kind, lang))], lang)


@lru_cache(maxsize=8)
def fillings(lang: str) -> re.Pattern[str]:
    """What says neither who nor what: "now", "actually", "every day"."""
    return _compiled([word for kind in _BLANKED for word in listed(kind, lang)], lang)


def has_cues(piece: str, lang: str) -> bool:
    """Whether ``cue_words`` are in a piece."""
    return lang == "zh" or not kinds_in(piece, lang).isdisjoint(_WITH_CUES)


def blanked(piece: str, lang: str) -> str:
    """Without what only says that it is another way; in Chinese, where no word stands alone, also without cues."""
    if lang == "zh":
        piece = cue_words(lang).sub(" ", piece)
    elif kinds_in(piece, lang).isdisjoint(_BLANKED):
        return piece
    return fillings(lang).sub(" ", piece)


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
    if is_one("when", lang, lower):
        return "@" + stemmed(lower, lang)
    if lower in _numbers(lang):
        return "#" + _numbers(lang)[lower]
    if len(said) == 1 and said.isupper() and said != "I" and not opens:
        return said
    bare = lower.removesuffix("'s")
    if is_one("telling", lang, bare):
        return stemmed(bare, lang)
    if len(bare) < 2 or bare in stop_words(lang) or bare in listed("openers", lang) or "'" in bare:
        return ""
    if is_one("own", lang, lower) or is_one("it", lang, lower):
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
    known = [sum(map(_known(lang).__contains__, used)) for lang in _STEMMERS]
    if not any(known):  # "Ll\u00e1mame doctora"
        known = [len(_LETTERS[lang].findall(text)) for lang in _STEMMERS]
    return tuple(known)


@lru_cache(maxsize=8)
def _known(lang: str) -> frozenset[str]:
    return verbs(lang) | stop_words(lang)


def classes_in(text: str, lang: str) -> frozenset[str]:
    """The classes of what a text tells."""
    if lang == "zh":
        told = frozenset(name for name in _WORDS["classes"] if class_pattern(name, lang).search(text))
    else:
        told = frozenset(kind.removeprefix(_CLASS) for kind in kinds_in(text, lang) if kind.startswith(_CLASS))
    return told - {"reside"} if found("moves_a_thing", lang, text) else told
