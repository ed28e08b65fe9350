"""Does a text say no more than its source? Word by word, without any model: what a model made up is found out.

For texts that change what is known, as corrections do. Of what was taken from a conversation, entailment.py asks more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from memsched.lexicon import (
    COMMON_WORDS,
    NUMBER_WORDS,
    OPENING_VERBS,
    is_negation,
    stem,
)

SUPPORTED_SHARE = 0.6
"""Of a text's content words that its source must have (as stems)."""

# Scripts without spaces between words are compared sign by sign.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[\w'])+")
_WITH_A_CAPITAL = ("i", "the", "user", "speaker")
_CONTRACTED = re.compile(r"'(?:s|m|re|ve|ll|d)$", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_SENTENCE_END = re.compile(r"[.!?:;\n]\s+|\n")


def one_line(text: str) -> str:
    """Without control characters and halves of surrogate pairs, which no database takes; single spaces."""
    return " ".join(_UNPRINTABLE.sub("", text).split())


def normalised(text: str) -> str:
    """For comparing quotes: one form of every sign, lower case, on one line."""
    return one_line(_plain(text).casefold())


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").replace("ʼ", "'")


def quoted_in(quote: str, turns: Sequence[str]) -> bool:
    """Whether the quote has a word in it and occurs in one of the turns."""
    return any(is_quote(quote, normalised(turn)) for turn in turns)


def is_quote(quote: str, said: str) -> bool:
    """The same of one text that is normalised already."""
    wanted = normalised(quote)
    return bool(_words(wanted)) and wanted in said


def unsupported(text: str, sources: Sequence[str], speakers: Iterable[str] = ()) -> str | None:
    """Why the text says more than its sources (a fixed word for a counter), or None.

    speakers: the sources' speakers, who may be named in the text though the source says "I".
    """
    known = _words(_plain(" \n ".join(sources)).casefold())
    named = {word for speaker in speakers for word in _words(_plain(speaker).casefold())}
    if _numbers(text) - _numbers(" \n ".join((*sources, *speakers))):
        return "number"
    known_stems = _stems(known)
    if _stems(_names(text)) - known_stems - _stems(named):
        return "name"
    # A speaker's name says nothing about whether the rest is true.
    content = {
        word
        for word in _words(_plain(text).casefold())
        if not _is_common(word) and word not in named and not word[0].isdigit()
    }
    if not content:
        # "Ann has two" is made of common words, a name and a number.
        return None if _numbers(text) else "empty"
    if "like" in known_stems:  # "don't like" may become "dislikes"; whether there is a "not" is another question
        known_stems.add(stem("dislikes"))
    supported = sum(stem(word) in known_stems for word in content)
    return None if supported >= SUPPORTED_SHARE * len(content) else "words"


def _is_common(word: str) -> bool:
    return word in COMMON_WORDS or is_negation(word)


def _words(text: str) -> list[str]:
    """Words without 's, 'm, 've and the like, of a text that is already plain."""
    found = (_CONTRACTED.sub("", word.strip("'_")) for word in _WORD.findall(text))
    return [word for word in found if word]


def _numbers(text: str) -> set[str]:
    plain = _plain(text)
    found = {_number(match) for match in _NUMBER.findall(plain)}
    return found | {NUMBER_WORDS[word] for word in _words(plain.casefold()) if word in NUMBER_WORDS}


def _number(written: str) -> str:
    """1,000 and 1000, 07 and 7, 2,5 and 2.5 and 2.50 are the same."""
    if _THOUSANDS.fullmatch(written):
        written = written.replace(",", "")
    whole, point, part = written.replace(",", ".").partition(".")
    part = part.rstrip("0") if "." not in part else part
    return (whole.lstrip("0") or "0") + (point + part if part else "")


def _names(text: str) -> list[str]:
    """Words with a capital anywhere, in lower case; at the start of a sentence, those that are no ordinary word."""
    found = []
    for sentence in _SENTENCE_END.split(_plain(text)):
        for place, word in enumerate(_words(sentence)):
            lower = word.casefold()
            if word == word.lower() or lower in _WITH_A_CAPITAL or is_negation(lower):
                continue
            # "Will" is a word at the start of a sentence, and a name inside one.
            if place > 0 or not (_is_common(lower) or lower in OPENING_VERBS):
                found.append(lower)
    return found


def _stems(words: Iterable[str]) -> set[str]:
    return set(map(stem, words))
