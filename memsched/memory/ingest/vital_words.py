"""The words that tell what is vital (``vital_words.json``), as patterns, and whether a text has any of them."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from memsched.memory.ingest.lookup import Lookup

WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("vital_words.json").read_text(encoding="utf-8")
)
_SET = re.compile(r"\{(\w+[a-z])\}")
"""The name of a set in a phrase; ``{2}`` is none."""
_TYPED = re.compile(r"[\w'-]+")
_BETWEEN = re.compile(r" (?![^()]*\))(?![^\[\]]*\])")
"""A space that is in no group."""


def listed(kind: str, lang: str) -> list[str]:
    """What there is of a kind, without phrases."""
    lists: dict[str, list[str]] = WORDS["kinds"][kind]
    return lists[lang] + ([] if lang == "zh" else lists.get("spaced", []))


@lru_cache(maxsize=8)
def kinds(lang: str) -> dict[str, re.Pattern[str]]:
    """The words of each kind."""
    return {kind: _whole("|".join(listed(kind, lang)).replace("*", r"\w*"), lang) for kind in WORDS["kinds"]}


@lru_cache(maxsize=8)
def phrases(lang: str) -> dict[str, re.Pattern[str]]:
    """What says all of it, of each kind."""
    return {kind: _whole("|".join(ways), lang) for kind, ways in _ways(lang).items()}


@lru_cache(maxsize=8)
def _ways(lang: str) -> dict[str, list[str]]:
    """The phrases with the words of the sets that they name."""
    return {kind: [_filled(way, lang) for way in lists.get(lang, ())] for kind, lists in WORDS["by_itself"].items()}


def _filled(way: str, lang: str) -> str:
    return _SET.sub(lambda match: f"(?:{'|'.join(WORDS['sets'][match[1]][lang])})", way)


@lru_cache(maxsize=64)
def pattern(name: str, lang: str) -> re.Pattern[str]:
    """The words of a name; nothing where a language has none."""
    return _whole(WORDS[name][lang], lang) if lang in WORDS[name] else re.compile(r"(?!)")


@lru_cache(maxsize=8)
def owned_here(lang: str) -> re.Pattern[str]:
    """Right before a word that it is the speaker's: "my", "my daughter's bad"."""
    return re.compile(rf"\b(?:{WORDS['mine'][lang]}) (?:\w+['\u2019]s )?(?:\w+ )?$", re.IGNORECASE)


@lru_cache(maxsize=8)
def verbs(lang: str) -> re.Pattern[str]:
    """Verbs that say something of somebody."""
    return _whole("|".join(WORDS["says"][lang]), lang)


def _whole(ways: str, lang: str) -> re.Pattern[str]:
    return re.compile(ways if lang == "zh" else rf"(?<!\w)(?:{ways})(?!\w)", re.IGNORECASE)


def may_be_vital(text: str, lang: str) -> bool:
    """Whether one of the words, or a part of one, is there: most texts have none, and need no closer look."""
    if lang == "zh":
        return _anything_in_chinese().search(text) is not None
    return has_word(text, lang) or phrases_by_begin(lang).has_any(text)


@lru_cache(maxsize=1)
def _anything_in_chinese() -> re.Pattern[str]:
    return _whole("|".join(each.pattern for each in (*kinds("zh").values(), *phrases("zh").values())), "zh")


@lru_cache(maxsize=8)
def phrases_by_begin(lang: str) -> Lookup:
    """The phrases as they are looked up."""
    return Lookup(_ways(lang))


def has_word(text: str, lang: str) -> bool:
    """Whether a text may have a word of any kind."""
    return any(_is_word(word, lang) for word in _TYPED.findall(text))


@lru_cache(maxsize=65_536)
def _is_word(word: str, lang: str) -> bool:
    """Whether a word is the longest one of anything that is listed."""
    whole, others = _longest_words(lang)
    plain = word.lower()
    return (
        plain in whole
        or others.fullmatch(plain) is not None
        or ("-" in word and has_word(word.replace("-", " "), lang))
    )


@lru_cache(maxsize=8)
def _longest_words(lang: str) -> tuple[frozenset[str], re.Pattern[str]]:
    """Of all that is listed the longest word: those without a sign, and a pattern for the others."""
    words = [word for kind in WORDS["kinds"] for word in listed(kind, lang)]
    longest = {max(_BETWEEN.split(word), key=_letters).lower() for word in words}
    plain = {word for word in longest if word.isalpha()}
    return frozenset(plain), re.compile("|".join(sorted(longest - plain)).replace("*", r"[\w'-]*"))


def _letters(word: str) -> int:
    """How much a word tells: nothing if it need not be there, or is several."""
    return -1 if (word.endswith(")?") and word.startswith("(")) or " " in word else len(word)
