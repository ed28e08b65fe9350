"""How a question is worded in its language, and by which words of a cube it may be answered.

Memories are found by English stems of their words, and by pairs of characters where a script has no spaces. A question
in another language is therefore asked in the cube's own words: the same word in another form (Snowball's stems), a part
of a compound or a compound of it, a word for the same in everyday life, a pair that has a character of it. What only
asks weighs nothing. Nothing of it is stored: it holds for whatever a cube has. English questions are asked as they are.

Word lists: ``wording.json``, and the stop words of memory/content.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any
from unicodedata import normalize

import Stemmer

from memsched.lexicon import is_without_spaces, stem, words
from memsched.memory.content.topic_words import language_of, stop_words_by_language

ENGLISH = "en"
_DATA: dict[str, Any] = json.loads(files("memsched.memory.search").joinpath("wording.json").read_text(encoding="utf-8"))
_KANA = re.compile("[\u3040-\u30ff]")
_RUNS = re.compile(
    "[\u3400-\u9fff\u3005]+|[\u30a0-\u30ff]+|[\u3040-\u309f]+|[\uac00-\ud7af]+|[\u0e00-\u0e7f]+|[^\\W_]+"
)
_IDEOGRAPH = re.compile("[\u3400-\u9fff]")
_LEAST_STEM, _LEAST_PART, _LEAST_MORE = 5, 4, 3
"""Letters: of a stem that another one may begin with, of a part of a compound, and of what is beside it."""
_MOST_PAIRS = 64
"""That have one character: a more frequent one tells little, and each pair costs the store time."""
SAME, ALIKE, PART, SYNONYM = 1.0, 0.7, 0.5, 0.7
PAIR_WITH_FUNCTION, CHARACTER = 0.5, 0.35
"""Of a pair whose one character means nothing by itself, and of another pair with a character of the question."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a question names.

    Args:
        word: as it stands in the question.
        stems: what of the cube may be it, with how much that counts, 1 for the word itself.
        share: how much of its weight it has; less for what is only a part of a word.
    """

    word: str
    stems: Mapping[str, float]
    share: float = 1.0


@lru_cache(maxsize=1024)
def asked_in(query: str) -> str:
    """The language of a question; English where nothing tells of another one."""
    if is_without_spaces(query):
        return "ja" if _KANA.search(query) else "zh"
    language = language_of(query)
    if language == ENGLISH and "\u00bf" in query:
        return "es"
    return language if language in _DATA else ENGLISH


def asked_for(query: str, vocabulary: Iterable[str]) -> list[Asked]:
    """What a question in another language than English names; [] if it names nothing.

    Args:
        vocabulary: the stems of the cube.
    """
    language = asked_in(query)
    if is_without_spaces(query):
        return _characters(language, normalize("NFC", query).lower(), vocabulary)
    return _words(language, query, vocabulary)


# -- languages with spaces -----------------------------------------------------------------------------------------


def _words(language: str, query: str, vocabulary: Iterable[str]) -> list[Asked]:
    function = stop_words_by_language()[language] | _asking(language)
    named = [word for word in dict.fromkeys(words(query)) if word not in function]
    if not named:
        return []
    by_stem: dict[str, list[str]] = defaultdict(list)
    for each in vocabulary:
        if each.isalpha():
            by_stem[_folded_stem(language, each)].append(each)
    synonyms = _synonyms(language)
    found = []
    for word in named:
        asked = _folded_stem(language, word)
        alike = {other: SYNONYM for other in synonyms.get(asked, ()) if other in by_stem}
        for other in _near(asked, by_stem):
            alike[other] = max(alike.get(other, 0.0), _alike(language, asked, other))
        counts = {each: share for other, share in alike.items() if share for each in by_stem[other]}
        counts.update(dict.fromkeys(by_stem.get(asked, ()), SAME))
        counts[stem(word)] = SAME
        found.append(Asked(word, counts))
    return found


def _near(asked: str, known: Mapping[str, Any]) -> Iterator[str]:
    """The known stems that have this one in them, and those that it begins or ends with."""
    if len(asked) < _LEAST_PART or not asked.isalpha():
        return
    yield from (each for each in known if asked in each)
    for letters in range(_LEAST_PART, len(asked)):
        yield from (each for each in (asked[:letters], asked[-letters:]) if each in known)


def _alike(language: str, asked: str, other: str) -> float:
    """How much of the one word the other one is: another form, or, in German, a part of it."""
    short, long = sorted((asked, other), key=len)
    more = len(long) - len(short)
    if len(short) < _LEAST_PART or not more or not _apart_stems(language).isdisjoint((asked, other)):
        return 0.0
    if language == "de":
        is_part = more >= _LEAST_MORE and (long.startswith(short) or long.endswith(short))
        return PART if is_part else 0.0
    return ALIKE if len(short) >= _LEAST_STEM and more < _LEAST_MORE and long.startswith(short) else 0.0


@lru_cache(maxsize=8)
def _apart(language: str) -> frozenset[str]:
    """Words for people that are no form or part of another: whose sister is asked for has not asked for a brother."""
    return frozenset(_DATA[language].get("apart", "").split())


@lru_cache(maxsize=8)
def _apart_stems(language: str) -> frozenset[str]:
    return frozenset(_folded_stem(language, stem(word)) for word in _apart(language))


@lru_cache(maxsize=65_536)
def _folded_stem(language: str, word: str) -> str:
    """A word's stem in its language, without accents."""
    stemmed = word if word in _apart(language) else str(_stemmer(language).stemWord(word))
    return "".join(each for each in normalize("NFD", stemmed) if not "\u0300" <= each <= "\u036f")


@lru_cache(maxsize=8)
def _stemmer(language: str) -> Any:
    return Stemmer.Stemmer(_DATA[language]["snowball"], 0)  # lru_cache above is the cache; its own is not thread-safe


@lru_cache(maxsize=8)
def _asking(language: str) -> frozenset[str]:
    return frozenset(_DATA[language]["asking"].split())


@lru_cache(maxsize=8)
def _synonyms(language: str) -> Mapping[str, tuple[str, ...]]:
    return _grouped(_DATA[language]["synonyms"], partial(_folded_stem, language))


def _grouped(groups: Iterable[str], form: Callable[[str], str]) -> dict[str, tuple[str, ...]]:
    """By each word what else it may be called. In "siblings: brother sister" the first one is any of the others, and
    each of them is the first one, but none of them another.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        general, _, rest = group.rpartition(": ")
        for called in [(general, each) for each in rest.split()] if general else [rest.split()]:
            same = {form(each) for each in called}
            for each in same:
                found[each] |= same - {each}
    return {each: tuple(sorted(others)) for each, others in found.items()}


# -- scripts without spaces ----------------------------------------------------------------------------------------


def _characters(language: str, query: str, vocabulary: Iterable[str]) -> list[Asked]:
    function = _function_characters(language)
    having: dict[str, list[str]] = defaultdict(list)
    for each in vocabulary:
        if len(each) == 2:
            for character in set(each):
                having[character].append(each)
    found: dict[str, Asked] = {}
    for run in _RUNS.findall(_asking_characters(language).sub(" ", query)):
        if not is_without_spaces(run):
            found.update((word, Asked(word, {stem(word): SAME})) for word in words(run))
            continue
        for at in range(len(run) - 1):
            pair = run[at : at + 2]
            empty = sum(each in function for each in pair)
            if empty < 2:
                found.setdefault(pair, Asked(pair, {pair: SAME}, PAIR_WITH_FUNCTION if empty else 1.0))
        for character in run:
            if _IDEOGRAPH.match(character) and character not in function:
                if len(having.get(character, ())) > _MOST_PAIRS:
                    continue
                pairs = dict.fromkeys(having.get(character, ()), SAME)
                found.setdefault(character, Asked(character, {character: SAME, **pairs}, CHARACTER))
    for word, others in _synonyms_of_characters(language).items():
        if word in query:
            pairs = {}
            for other in others:
                if len(other) == 1:
                    pairs.update(dict.fromkeys(having.get(other, ()), SYNONYM))
                else:
                    pairs.update((other[at : at + 2], SYNONYM) for at in range(len(other) - 1))
            found.setdefault(f"{word} or", Asked(word, pairs, SYNONYM))
    return list(found.values())


@lru_cache(maxsize=8)
def _function_characters(language: str) -> frozenset[str]:
    listed = stop_words_by_language()["zh"] if language == "zh" else frozenset[str]()
    return frozenset(each for each in listed if len(each) == 1) | frozenset(_DATA[language]["function"])


@lru_cache(maxsize=8)
def _asking_characters(language: str) -> re.Pattern[str]:
    """What only asks, the longest first."""
    return re.compile("|".join(sorted(_DATA[language]["asking"].split(), key=lambda each: (-len(each), each))))


@lru_cache(maxsize=8)
def _synonyms_of_characters(language: str) -> Mapping[str, tuple[str, ...]]:
    return _grouped(_DATA[language]["synonyms"], str)
