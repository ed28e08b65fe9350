"""Requests to forget: "Please forget that I like jazz", in the languages of ``forget_words.json``, and what they name.

What is named is told by words: of a statement, all content words of the request and little else; of "everything about",
all of them. A request that names nothing ("forget it") is none, and neither is what says something else as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from memsched.lexicon import is_negated, is_without_spaces, words
from memsched.memory.ingest.revision_words import content, language_of_pair

_WORDS: dict[str, Any] = json.loads(files(__package__).joinpath("forget_words.json").read_text(encoding="utf-8"))
_LEAST_SHARE = 0.75
"""Of the content words of what is forgotten, so many are in the request: a memory that says more than that stays."""
_LONGEST = 300
_GOES_ON = re.compile("(?:[,.:](?!\\d)|[;!?\u3002\uff1b\uff01\uff1f\uff0c\uff1a\n])\\s*\\w")
"""Another clause follows."""
_ENDS = " .,!?\u3002\uff01\uff1f\uff0c"
_PARTICLES = re.compile("[\u6211\u4f60\u7684\u4e86\u662f\u5f88\u8fc7\u5440\u5427\u5462\uff0c\u3002\uff01\\s]")


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """What somebody asks to forget. is_topic: all that is about it, and not one statement."""

    what: str
    lang: str
    is_topic: bool


@lru_cache(maxsize=4096)
def forget_request(text: str) -> ForgetRequest | None:
    """The request that a text is, if it is one and no more."""
    plain = text.strip().rstrip(_ENDS)
    if len(plain) > _LONGEST:
        return None
    lang = language_of_pair(plain, "")
    for each in dict.fromkeys((lang, *(() if lang == "zh" else ("en", "de", "es")))):
        for kind in ("about", "that"):
            match = _pattern(kind, each).fullmatch(plain)
            what = next((found for found in match.groupdict().values() if found), "").strip(_ENDS) if match else ""
            if what and not _no_thing(each).fullmatch(what) and not _GOES_ON.search(what):
                return ForgetRequest(what, each, kind == "about")
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
def _pattern(kind: str, lang: str) -> re.Pattern[str]:
    begin, end = _WORDS["begin"][lang], _WORDS["end"][lang]
    return re.compile(rf"{begin}(?:{_WORDS[kind][lang]})(?:{end})?", re.IGNORECASE)


@lru_cache(maxsize=8)
def _no_thing(lang: str) -> re.Pattern[str]:
    return re.compile(_WORDS["no_thing"][lang], re.IGNORECASE)
