"""Requests to forget: "Please forget that I like jazz", in the languages of ``forget_words.json``, and what they name.

What is named is told by words: of a statement, all words of the request in their order and little else; of "my name",
what is said of the name of whoever asks; of "everything about", all content words; of "where I live", what answers it.
A request that names nothing ("forget it") is none. A text may hold several, and say something else as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from memsched.lexicon import is_negated, is_without_spaces, words
from memsched.memory.ingest.revision_words import TOKEN, content, language_of_pair, stemmed

_WORDS: dict[str, Any] = json.loads(files(__package__).joinpath("forget_words.json").read_text(encoding="utf-8"))
_MAY_BE = re.compile(_WORDS["may_be"], re.IGNORECASE)
_LEAST_SHARE = 0.75
"""Of the content words of what is forgotten, so many are in the request: a memory that says more than that stays."""
_LONGEST = 600
_MOST_CLAUSES = 16
_FARTHEST = 4
"""Words between who has something and what it is."""
_GOES_ON = re.compile("(?:[,.:](?!\\d)|[;!?\u3002\uff1b\uff01\uff1f\uff0c\uff1a\n])\\s*\\w")
"""Another clause follows."""
_CLAUSE_ENDS = re.compile(
    "[.!?;,]*\\s*\n\\s*(?:[-*\u2022]\\s+|\\d+[.)]\\s+)?|[.!?;,]+\\s+|[\u3002\uff01\uff1f\uff1b\uff0c]"
    "|\\s(?=(?:and|und|y) (?:also|noch|tambi))"
)
_BULLET = re.compile("\\s*(?:[-*\u2022]|\\d+[.)])\\s+")
_INTRODUCED = re.compile("[:\uff1a]\\s*\n")
"""What follows is a text to work on, or a list of something."""
_SENTENCE_ENDS = frozenset(".!?;\u3002\uff01\uff1f\uff1b")
_FULL_STOPS = _SENTENCE_ENDS - {";", "\uff1b"}
_QUOTED = re.compile('["\u201c\u201e\u00ab\u300c\u300a]')
_ENDS = " .,!?\u3002\uff01\uff1f\uff0c"
_PARTICLES = re.compile("[\u6211\u4f60\u7684\u4e86\u662f\u5f88\u8fc7\u5440\u5427\u5462\uff0c\u3002\uff01\\s]")

_PARTICLES_KEPT = re.compile("[\u7684\u5440\u5427\u5462\u662f\u5f88\uff0c\u3002\uff01.!\\s]")


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """What somebody asks to forget.

    Args:
        is_topic: all that is about it, and not one statement.
        is_all: all that is known of whoever asks.
        is_own: what is said of this thing of theirs ("my name"), and not of other people's.
        rest: what else the text says.
        more: what else it asks to forget.
    """

    what: str
    lang: str
    is_topic: bool
    is_all: bool = False
    is_own: bool = False
    rest: str = ""
    more: tuple[ForgetRequest, ...] = field(default=())

    @property
    def each(self) -> tuple[ForgetRequest, ...]:
        """It, and what else is asked in the same text."""
        return (replace(self, more=()), *self.more)


@lru_cache(maxsize=4096)
def forget_request(text: str) -> ForgetRequest | None:
    """What a text asks to forget, and what else it says; None if it asks for nothing."""
    if len(text) > _LONGEST or _MAY_BE.search(text) is None or len(_CLAUSE_ENDS.findall(text)) > _MOST_CLAUSES:
        return None
    lang = language_of_pair(text, "")
    if _kind("questions", lang).fullmatch(text.strip()):
        return None
    plain = text[bullet.end() :] if (bullet := _BULLET.match(text)) else text
    for each in dict.fromkeys((lang, *(() if lang == "zh" else ("en", "de", "es")))):
        said = _respelled(plain.strip(), each)
        if request := _read(said, each):
            return _taken_apart(request)
        if each == lang and (request := _at_the_end(said, each) or _at_the_start(said, each)):
            return request
    joined = " ".join(plain.split())  # a sentence in two lines
    return forget_request(joined) if joined != plain and "\n" in plain and not _INTRODUCED.search(plain) else None


def _at_the_end(text: str, lang: str) -> ForgetRequest | None:
    """The request that a text ends with, and those that stand before it."""
    for end in _CLAUSE_ENDS.finditer(text):
        tail = text[end.end() :]
        also = _also(lang).match(tail)
        ends = end[0].strip() in _SENTENCE_ENDS or "\n" in end[0]
        request = _read(tail, lang) if also or ends else None
        if request is None and also:
            request = _read(tail[also.end() :], lang)
        if request is not None:
            return _with(_taken_apart(request), text, text[: end.start()].strip())
    return None


def _at_the_start(text: str, lang: str) -> ForgetRequest | None:
    """The requests that a text begins with, or has within it; they end with a sentence."""
    for end in reversed([*_CLAUSE_ENDS.finditer(text)]):
        if "\n" not in end[0] and not _FULL_STOPS.intersection(end[0]):
            continue
        request = forget_request(text[: end.start()])
        if request is not None:
            tail = text[end.end() :].strip()
            if re.fullmatch(_WORDS["end"][lang], f" {tail}".rstrip(_ENDS), re.IGNORECASE):
                return request
            joined = "\u3002" if lang == "zh" else ". "
            rest = joined.join(
                part.rstrip(".\u3002") if part != tail else part for part in (request.rest, tail) if part
            )
            return None if _is_of_another_text(text) else replace(request, rest=rest)
    return None


def _with(request: ForgetRequest, text: str, before: str) -> ForgetRequest | None:
    """A request, and what is said before it, which may be one too."""
    if _is_of_another_text(text):
        return None
    others = forget_request(before)
    if others is None:
        return replace(request, rest=before)
    if request.is_all or others.is_all:
        return replace(request if request.is_all else others, more=(), rest="")
    return replace(request, more=(*request.more, *others.each), rest=others.rest)


def _is_of_another_text(text: str) -> bool:
    return _QUOTED.search(text) is not None or _INTRODUCED.search(text) is not None


def _taken_apart(request: ForgetRequest) -> ForgetRequest:
    """A request for several things: "my name and my address"."""
    zh = request.lang == "zh"
    is_thing = request.what.startswith("\u6211\u7684") if zh else request.is_topic
    kind = "own" if is_thing and _own(request.lang).match(request.what) else "that"
    parts = [part.strip(_ENDS) for part in _kind(f"joins_{kind}", request.lang).split(request.what)]
    if len(parts) < 2 or not all(parts) or (request.is_topic and kind == "that"):
        return request
    if kind == "own":
        mine = "\u6211\u7684" if zh else f"{request.what.split()[0]} "
        parts = [part if _own(request.lang).match(part) else mine + part for part in parts]
    is_own = kind == "own"
    return replace(
        request,
        more=tuple(
            replace(request, what=part, is_topic=is_own or request.is_topic, is_own=is_own and request.is_own | zh)
            for part in parts
        ),
    )


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
                    is_own = kind == "about" and _own(lang).match(what) is not None
                    is_wide = _kind("wide", lang).search(said if lang == "zh" else said[: said.find(what)]) is not None
                    return ForgetRequest(what, lang, kind == "about", is_own=is_own and not is_wide)
    return None


def names(request: ForgetRequest, text: str) -> bool:
    """Whether a request means what a memory says."""
    return any(_names(each, text) for each in request.each)


def _names(request: ForgetRequest, text: str) -> bool:
    text = _person(request.lang).sub(_WORDS["first"][request.lang], text)
    answered = _answers(request, text)
    if answered or (answered is not None and not request.is_own):
        return answered
    if request.is_own:
        return _says_of_own(request, text)
    if request.is_topic:
        return _is_about(request.what, text, request.lang, 0)
    return is_negated(request.what) == is_negated(text) and _says_the_same(request, text)


def _answers(request: ForgetRequest, text: str) -> bool | None:
    """Whether a text says what is named as a question, or by another word: "where I live", "my name"; None: no such."""
    for thing, told in _things(request.lang):
        if match := thing.fullmatch(request.what):
            given = {name: re.escape(value or "") for name, value in match.groupdict().items()}
            return re.match(told.format(**given), text.strip(), re.IGNORECASE) is not None
    return None


@lru_cache(maxsize=8)
def _things(lang: str) -> Sequence[tuple[re.Pattern[str], str]]:
    return [(re.compile(thing, re.IGNORECASE), told) for thing, told in _WORDS["things"][lang]]


def _is_about(what: str, text: str, lang: str, least: float) -> bool:
    """Whether a text has all content words of what is asked for, and these are such a share of its own."""
    wanted, said = (_content(each, lang) for each in (what, text))
    return bool(wanted) and wanted <= said and len(wanted) >= least * len(said)


def _says_the_same(request: ForgetRequest, text: str) -> bool:
    """Whether a text says all words of a statement in their order, and besides nothing of who, whose or when."""
    wanted, said = (_statement(each, request.lang) for each in (request.what, text))
    if not wanted or not said or is_without_spaces(text) != (request.lang == "zh"):
        return False
    joined = "" if request.lang == "zh" else " "
    if not _is_about(joined.join(wanted), joined.join(said), request.lang, _LEAST_SHARE):
        return False
    free = [wanted.pop()] if request.lang == "de" and len(wanted) > 1 else []  # "dass ich Jazz mag"
    if wanted[0] != said[0] or any(each not in said for each in free):
        return False
    rest = list(said)
    for each in free:
        rest.remove(each)
    more, place = [], 0
    for word in rest:
        if place < len(wanted) and word == wanted[place]:
            place += 1
        else:
            more.append(word)
    return place == len(wanted) and not any(_tells_more(each, request.lang) for each in more)


def _says_of_own(request: ForgetRequest, text: str) -> bool:
    """Whether a text says something of what is whoever asks' own: "my name", and nobody else's."""
    if request.lang == "zh":
        thing = re.escape(_own("zh").sub("", request.what, count=1))
        return re.search(rf"{_WORDS['self']['zh']}{thing}", text) is not None
    lang = request.lang
    said = TOKEN.findall(text)
    stems = [_stem(each, lang) for each in TOKEN.findall(_own(lang).sub("", request.what, count=1))]
    for at in range(1, len(said) - len(stems) + 1):
        if [_stem(each, lang) for each in said[at : at + len(stems)]] == stems and _is_own(said[:at], lang):
            return True
    return False


def _is_own(before: Sequence[str], lang: str) -> bool:
    """Whether what follows these words is the speaker's own: "my old", "I have a"."""
    for number, word in enumerate(reversed(before)):
        if _is(word, "mine", lang):
            return all(_is(each, "kinds", lang) for each in before[len(before) - number :])
        if _is(word, "self", lang):
            return True
        if number >= _FARTHEST or _is_another(word, lang):
            return False
    return False


def _is_another(word: str, lang: str) -> bool:
    """Whether a word may name somebody else, or say whose something is."""
    return "'" in _plain(word) or _is(word, "others", lang) or (lang != "de" and word[0].isupper())


def _tells_more(word: str, lang: str) -> bool:
    """Whether a word beside a statement may make another one of it."""
    if lang == "zh":
        return _is(word, "others", lang)
    if _is_another(word, lang) or _is(word, "mine", lang) or _is(word, "self", lang):
        return True
    return not (_is(word, "beside", lang) or _is(word, "filling", lang) or content(word, lang))


def _statement(text: str, lang: str) -> list[str]:
    """The words of a statement, but for those that say nothing: with the tense."""
    if lang == "zh":
        return list(_PARTICLES_KEPT.sub("", text))
    respelled = _WORDS["written_out"][lang]
    spelled = [part for word in TOKEN.findall(_plain(text)) for part in respelled.get(word.lower(), word).split()]
    kept = [word for word in spelled if not _is(word, "filling", lang)]
    return [_form(word, lang) for word in kept]


def _form(word: str, lang: str) -> str:
    """An English word without the ending of person or number; of other languages as it is."""
    lower = word.lower()
    if lang != "en" or lower.endswith(("ed", "ing", "'s")):
        return lower
    return stemmed(lower, lang)


def _stem(word: str, lang: str) -> str:
    return stemmed(_plain(word).lower().removesuffix("'s"), lang)


def _plain(text: str) -> str:
    return text.replace("\u2019", "'")


def _is(word: str, kind: str, lang: str) -> bool:
    return _kind(kind, lang).fullmatch(_plain(word)) is not None


@lru_cache(maxsize=32)
def _kind(kind: str, lang: str) -> re.Pattern[str]:
    return re.compile(_WORDS[kind][lang], re.IGNORECASE)


@lru_cache(maxsize=8)
def _own(lang: str) -> re.Pattern[str]:
    """What begins with whoever asks: "my"."""
    return re.compile(rf"(?:{_WORDS['mine'][lang]})" + ("" if lang == "zh" else r"\s+"), re.IGNORECASE)


@lru_cache(maxsize=8)
def _person(lang: str) -> re.Pattern[str]:
    """How a model calls whoever speaks."""
    return re.compile(rf"(?:{_WORDS['user'][lang]})(?![\w'\u2019])", re.IGNORECASE)


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
