"""Requests to forget: "Please forget that I like jazz", in the languages of ``forget_words.json``, and what they name.

What is named is told by words: of a statement, all content words of the request and little else; of "everything about",
all of them. A request that names nothing ("forget it") is none, and neither is what says something else as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from memsched.lexicon import is_negated, is_without_spaces, words
from memsched.memory.ingest.revision_words import content, language_of_pair

_WORDS: dict[str, Any] = json.loads(files(__package__).joinpath("forget_words.json").read_text(encoding="utf-8"))
_MAY_BE = re.compile(_WORDS["may_be"], re.IGNORECASE)
_LEAST_SHARE = 0.75
"""Of the content words of what is forgotten, so many are in the request: a memory that says more than that stays."""
_LONGEST = 300
_GOES_ON = re.compile("(?:[,.:](?!\\d)|[;!?\u3002\uff1b\uff01\uff1f\uff0c\uff1a\n])\\s*\\w")
"""Another clause follows."""
_CLAUSE_ENDS = re.compile("[.!?;,]+\\s+|[\u3002\uff01\uff1f\uff1b\uff0c]|\\s(?=(?:and|und|y) (?:also|noch|tambi))")
_SENTENCE_ENDS = frozenset(".!?;\u3002\uff01\uff1f\uff1b")
_QUOTED = re.compile('["\u201c\u201e\u00ab\u300c\u300a]')
_ENDS = " .,!?\u3002\uff01\uff1f\uff0c"
_PARTICLES = re.compile("[\u6211\u4f60\u7684\u4e86\u662f\u5f88\u8fc7\u5440\u5427\u5462\uff0c\u3002\uff01\\s]")


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """What somebody asks to forget.

    Args:
        is_topic: all that is about it, and not one statement.
        is_all: all that is known of whoever asks.
        rest: what else the text says, before it.
    """

    what: str
    lang: str
    is_topic: bool
    is_all: bool = False
    rest: str = ""


@lru_cache(maxsize=4096)
def forget_request(text: str) -> ForgetRequest | None:
    """The request that a text is, or ends with; what follows a request must be no more than its reason."""
    if len(text) > _LONGEST or _MAY_BE.search(text) is None:
        return None
    lang = language_of_pair(text, "")
    for each in dict.fromkeys((lang, *(() if lang == "zh" else ("en", "de", "es")))):
        plain = _respelled(text.strip(), each)
        if request := _read(plain, each):
            return request
        for end in _CLAUSE_ENDS.finditer(plain) if each == lang else ():
            tail = plain[end.end() :]
            also = _also(each).match(tail)
            request = _read(tail, each) if also or end[0].strip() in _SENTENCE_ENDS else None
            if request is None and also:
                request = _read(tail[also.end() :], each)
            if request is not None:
                return None if _QUOTED.search(plain) else replace(request, rest=plain[: end.start()].strip())
    return None


def _read(text: str, lang: str) -> ForgetRequest | None:
    """The request that a text is, all of it."""
    plain = text.rstrip(_ENDS)
    for said in dict.fromkeys((plain, _reason(lang).sub("", plain).rstrip(_ENDS))):
        if any(pattern.fullmatch(said) for pattern in _patterns("all", lang)):
            return ForgetRequest("", lang, is_topic=True, is_all=True)
        for kind in ("about", "that"):
            for pattern in _patterns(kind, lang):
                match = pattern.fullmatch(said)
                what = next((found for found in match.groupdict().values() if found), "").strip(_ENDS) if match else ""
                if what and not _no_thing(lang).fullmatch(what) and not _GOES_ON.search(what):
                    return ForgetRequest(what, lang, kind == "about")
    return None


def names(request: ForgetRequest, text: str) -> bool:
    """Whether a request means what a memory says."""
    wanted, said = (_content(each, request.lang) for each in (request.what, text))
    if not wanted or not wanted <= said:
        return False
    return request.is_topic or (
        len(wanted) >= _LEAST_SHARE * len(said) and is_negated(request.what) == is_negated(text)
    )


def named_among(request: ForgetRequest, texts: Sequence[str]) -> list[int]:
    """Which of these a request means."""
    return [number for number, text in enumerate(texts) if names(request, text)]


def _content(text: str, lang: str) -> frozenset[str]:
    if is_without_spaces(text):
        return frozenset(words(_PARTICLES.sub("", text)))
    return frozenset(content(text, "en" if lang == "zh" else lang))


@lru_cache(maxsize=16)
def _patterns(kind: str, lang: str) -> Sequence[re.Pattern[str]]:
    begin, end = _WORDS["begin"][lang], _WORDS["end"][lang]
    return [re.compile(rf"{begin}(?:{each})(?:{end})?", re.IGNORECASE) for each in _WORDS[kind][lang]]


def _respelled(text: str, lang: str) -> str:
    """With words that are written in haste as they are written else."""
    table = _WORDS["respelled"][lang]
    return re.sub(r"[^\W\d_]+", lambda word: table.get(word[0].lower(), word[0]), text) if table else text


@lru_cache(maxsize=8)
def _also(lang: str) -> re.Pattern[str]:
    return re.compile(_WORDS["also"][lang], re.IGNORECASE)


@lru_cache(maxsize=8)
def _reason(lang: str) -> re.Pattern[str]:
    """Why something is to be forgotten, at the end."""
    return re.compile(rf"(?:{_WORDS['reasons'][lang]})$", re.IGNORECASE)


@lru_cache(maxsize=8)
def _no_thing(lang: str) -> re.Pattern[str]:
    return re.compile(_WORDS["no_thing"][lang], re.IGNORECASE)
