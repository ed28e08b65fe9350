"""Requests to forget: "Please forget that I like jazz", in the languages of ``forget_words.json``, and what they name.

What is named is told by words: of a statement, all words of the request in their order and little else; of "my name",
what is said of the name of whoever asks; of "everything about", all content words; of "where I live", what answers it.
A request that names nothing ("forget it") is none. A text may hold several, and say something else as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from memsched.lexicon import is_negated, is_without_spaces, words
from memsched.memory.ingest.forget_lists import BULLET, ENDS, WORDS, as_single, kind, parts_of, widened, without_kept
from memsched.memory.ingest.revision_words import TOKEN, content, language_of_pair, stemmed

_NAMED = re.compile(r"\{(data|private|forget_it)\}")
_MAY_BE = re.compile(WORDS["may_be"], re.IGNORECASE)
_LEAST_SHARE = 0.75
"""Of the content words of what is forgotten, so many are in the request: a memory that says more than that stays."""
_LONGEST = 600
_MOST_CLAUSES = 16
_FARTHEST = 4
"""Words between who has something and what it is."""
_GOES_ON = re.compile("(?:[,.:](?!\\d)|[;!?\u3002\uff1b\uff01\uff1f\uff0c\uff1a\n])\\s*[\u00a1\u00bf]?\\w")
"""Another clause follows."""
_CLAUSE_ENDS = re.compile(
    "[.!?;,]*\\s*\n\\s*(?:[-*\u2022]\\s+|\\d+[.)]\\s+)?|[.!?;,]+\\s+|[\u3002\uff01\uff1f\uff1b\uff0c]"
    "|\\s(?=(?:and|und|y) (?:also|noch|tambi))|(?<=[\u4e00-\u9fff])[.,!?;]\\s*(?=[\u4e00-\u9fff])"
)
_TAKEN_BACK_AT = re.compile(
    "[.,;!?\u2026]+\\s+|\\s[-\u2013\u2014]\\s|\n\\s*|[\u3002\uff01\uff1f\uff1b\uff0c]\\s*|(?<=[\u4e00-\u9fff])[.,!?;]\\s*"
)
_STOPS = re.compile("[.!?\u3002\uff01\uff1f]*")
_INTRODUCED = re.compile("[:\uff1a]\\s*\n")
"""What follows is a text to work on, or a list of something."""
_SENTENCE_ENDS = frozenset(".!?;\u3002\uff01\uff1f\uff1b")
_SENTENCE = re.compile("[^.!?;\n\u3002\uff01\uff1f\uff1b]*$")
"""The last one of a text."""
_FULL_STOPS = _SENTENCE_ENDS - {";", "\uff1b"}
_QUOTED = re.compile('```|["\u201c\u201e\u00ab\u300c\u300a]')
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
    if kind("questions", lang).fullmatch(text.strip()):
        return None
    plain = (text[bullet.end() :] if (bullet := BULLET.match(text)) else text).strip()
    if _is_taken_back(plain, lang):
        return None
    for each in dict.fromkeys((lang, *(() if lang == "zh" else ("en", "de", "es")))):
        if request := _listed(plain, each) or _read(plain, each):
            return request
        if request := _joined(plain, each):
            return request
        if each == lang and (request := _at_the_end(plain, each) or _at_the_start(plain, each)):
            return request
    joined = " ".join(plain.split())  # a sentence in two lines
    return forget_request(joined) if joined != plain and "\n" in plain and not _INTRODUCED.search(plain) else None


def _is_taken_back(text: str, lang: str) -> bool:
    """Whether what follows a request says that it is none: "Forget my address. No, keep it"."""
    ends = [end for end in _TAKEN_BACK_AT.finditer(text) if kind("takes_back", lang).match(text[end.end() :])]
    return any(forget_request(text[: end.start()]) is not None for end in ends)


def _listed(text: str, lang: str) -> ForgetRequest | None:
    """The request that a list behind a colon is; one line that is no request makes it none."""
    found = [_read(each, lang) for each in as_single(text, lang) or ()]
    read = [each for each in found if each is not None and not each.is_all]
    return _together(read) if read and len(read) == len(found) else None


def _joined(text: str, lang: str) -> ForgetRequest | None:
    """The request that two are: "forget that I smoke and delete my address"."""
    joins = [*kind("joins_requests", lang).finditer(text)]
    if not joins or len(joins) > _MOST_CLAUSES:
        return None
    end = joins[-1].end()  # what is behind an earlier one holds the last one, too
    also = kind("also", lang).match(text, end)
    last = _read(text[also.end() if also else text.find(" ", end) + 1 :], lang)
    before = text[: joins[-1].start()]
    if last is not None and kind("keeps_first", lang).fullmatch(before):
        return None if last.is_all or _means(last, before) else replace(last, rest=before)
    first = forget_request(before) if last is not None and not last.is_all else None
    if first is None or last is None or first.is_all:
        return None
    return replace(_together([*first.each, last]), rest=first.rest)


def _together(requests: Sequence[ForgetRequest]) -> ForgetRequest:
    each = [one for request in requests for one in request.each]
    return replace(each[0], more=tuple(each[1:]))


def _at_the_end(text: str, lang: str) -> ForgetRequest | None:
    """The request that a text ends with, and those that stand before it."""
    for end in _CLAUSE_ENDS.finditer(text):
        tail = text[end.end() :]
        also = kind("also", lang).match(tail)
        ends = end[0].strip() in _SENTENCE_ENDS or "\n" in end[0]
        if not ends and _is_told_or_supposed(text[: end.start()], lang):
            continue
        request = _read(tail, lang) if also or ends else None
        if request is None and also:
            request = _read(tail[also.end() :], lang)
        if request is None and not ends:
            request = _because(text[: end.start()].strip(), tail, lang)
        if request is not None:
            before = text[: end.start()].strip() + _stop(end)
            return _with(request, text, before if ends else _without_politeness(before, lang))
    return None


def _is_told_or_supposed(before: str, lang: str) -> bool:
    """Whether the sentence that goes on here is what somebody said, or a condition."""
    sentence = _SENTENCE.search(before)
    found = kind("reports", lang).search(sentence[0]) if sentence else None
    return found is not None and _without_politeness(before, lang) == before


def _without_politeness(before: str, lang: str) -> str:
    """What is said before a request, without "if you don't mind" right before it."""
    sentence = _SENTENCE.search(before)
    if sentence and kind("polite", lang).fullmatch(sentence[0].strip()):
        return before[: sentence.start()].strip()
    return before


def _because(before: str, tail: str, lang: str) -> ForgetRequest | None:
    """The request that news of whoever asks are the reason of: "since I moved, ...", "I moved, so ..."."""
    cause = kind("causes", lang).match(before)
    therefore = kind("therefore", lang).match(tail)
    if not (cause or (therefore and kind("news", lang).fullmatch(before))):
        return None
    asked = tail[therefore.end() :] if therefore else tail
    request = _read(asked, lang)
    if request is None or request.is_all:
        return None
    return request if _is_datum(request) or kind("recalls", lang).search(asked) else None


def _at_the_start(text: str, lang: str) -> ForgetRequest | None:
    """The requests that a text begins with, or has within it; they end with a sentence, or news of it follow."""
    for end in reversed([*_CLAUSE_ENDS.finditer(text)]):
        tail = text[end.end() :].strip()
        stops = "\n" in end[0] or not _FULL_STOPS.isdisjoint(end[0])
        if not tail or not (stops or kind("news", lang).fullmatch(tail)):
            continue
        request = forget_request(text[: end.start()] + _stop(end))
        if request is None or not (stops or _is_datum(request)):
            continue
        if re.fullmatch(WORDS["end"][lang], f" {tail}".rstrip(ENDS), re.IGNORECASE):
            return request
        return None if _is_of_another_text(text) else replace(request, rest=_one_text(request.rest, tail, lang))
    return None


def _is_datum(request: ForgetRequest) -> bool:
    """Whether it names things that are known of a person, and nothing else: to give up a plan is no request."""
    return not request.is_all and all(kind("data", each.lang).fullmatch(each.what) for each in request.each)


def _stop(end: re.Match[str]) -> str:
    """The full stop of what ends."""
    stop = _STOPS.match(end[0])
    return stop[0] if stop else ""


def _one_text(first: str, then: str, lang: str) -> str:
    if not first:
        return then
    joined = ("" if lang == "zh" else " ") if first[-1] in _SENTENCE_ENDS else ("\u3002" if lang == "zh" else ". ")
    return first + joined + then


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
    letter = kind("letter", language_of_pair(text, "")).match(text.strip())
    return letter is not None or _QUOTED.search(text) is not None or _INTRODUCED.search(text) is not None


def _read(text: str, lang: str) -> ForgetRequest | None:
    """The request that a text is, all of it."""
    text, kept = without_kept(widened(_respelled(text, lang)).rstrip(ENDS), lang)
    plain = kind("both", lang).sub("", text).rstrip(ENDS)
    for said in dict.fromkeys((plain, _reason(lang).sub("", plain).rstrip(ENDS))):
        if any(pattern.fullmatch(said) for pattern in _patterns("all", lang)):
            return None if kept else ForgetRequest("", lang, is_topic=True, is_all=True)
        for name in ("about", "that"):
            for pattern in _patterns(name, lang):
                match = pattern.fullmatch(said)
                what = next((found for found in match.groupdict().values() if found), "").strip(ENDS) if match else ""
                if what and (request := _of(what, said, lang, is_topic=name == "about")):
                    return None if kept and _means(request, kept) else request
    return None


def _of(what: str, said: str, lang: str, *, is_topic: bool) -> ForgetRequest | None:
    """The request for this; for several things, if it is a list of them."""
    parts = parts_of(what, lang)
    if kind("no_thing", lang).fullmatch(what) or kind("joins_requests", lang).search(what):
        return None
    if any(_GOES_ON.search(part) for part, _ in parts or [(what, False)]):
        return None
    wide = kind("wide", lang).search(said if lang == "zh" else said[: said.find(what)]) is not None

    def one(part: str, topic: bool) -> ForgetRequest:
        return ForgetRequest(part, lang, topic, is_own=topic and not wide and _own(lang).match(part) is not None)

    if not parts or (is_topic and not any(is_thing for _, is_thing in parts)):
        return one(what, is_topic)
    return _together([one(part, is_thing) for part, is_thing in parts])


def _means(request: ForgetRequest, kept: str) -> bool:
    """Whether a request means, in whole or in part, what is to be kept."""
    said = f"{kept}\u662f5" if request.lang == "zh" else f"{kept} is 5."
    return names(request, said) or any(
        _content(each.what, each.lang) & _content(kept, each.lang) for each in request.each
    )


def of_what_was(request: ForgetRequest) -> ForgetRequest | None:
    """A request for "my old address" as one for "my address"; None if it names nothing that was so before."""
    what = kind("old", request.lang).sub("", request.what, count=1).strip()
    return replace(request, what=what, more=()) if request.is_own and what != request.what else None


def tells_a_change(request: ForgetRequest) -> bool:
    """Whether its text says that something is no more as it was: "I moved"."""
    return kind("changed", request.lang).search(request.rest) is not None


def names(request: ForgetRequest, text: str) -> bool:
    """Whether a request means what a memory says."""
    return any(_names(each, text) for each in request.each)


def _names(request: ForgetRequest, text: str) -> bool:
    text = _person(request.lang).sub(WORDS["first"][request.lang], text)
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
    return [(re.compile(thing, re.IGNORECASE), told) for thing, told in WORDS["things"][lang]]


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
        return re.search(rf"{WORDS['self']['zh']}{thing}", text) is not None
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
    respelled = WORDS["written_out"][lang]
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


def _is(word: str, name: str, lang: str) -> bool:
    return kind(name, lang).fullmatch(_plain(word)) is not None


@lru_cache(maxsize=8)
def _own(lang: str) -> re.Pattern[str]:
    """What begins with whoever asks: "my"."""
    return re.compile(rf"(?:{WORDS['mine'][lang]})" + ("" if lang == "zh" else r"\s+"), re.IGNORECASE)


@lru_cache(maxsize=8)
def _person(lang: str) -> re.Pattern[str]:
    """How a model calls whoever speaks."""
    return re.compile(rf"(?:{WORDS['user'][lang]})(?![\w'\u2019])", re.IGNORECASE)


def named_among(request: ForgetRequest, texts: Sequence[str]) -> list[int]:
    """Which of these a request means."""
    return [number for number, text in enumerate(texts) if names(request, text)]


def _content(text: str, lang: str) -> frozenset[str]:
    if is_without_spaces(text):
        return frozenset(words(_PARTICLES.sub("", text)))
    return frozenset(content(text, "en" if lang == "zh" else lang))


@lru_cache(maxsize=16)
def _patterns(name: str, lang: str) -> Sequence[re.Pattern[str]]:
    begin, end = WORDS["begin"][lang], WORDS["end"][lang]
    return [re.compile(rf"{begin}(?:{_filled(each, lang)})(?:{end})?", re.IGNORECASE) for each in WORDS[name][lang]]


def _filled(pattern: str, lang: str) -> str:
    """A pattern with the words that it names: "{data}"."""
    return _NAMED.sub(lambda name: f"(?:{WORDS[name[1]][lang]})", pattern)


def _respelled(text: str, lang: str) -> str:
    """With words that are written in haste as they are written else."""
    table = WORDS["respelled"][lang]
    return re.sub(r"[^\W\d_]+", lambda word: table.get(word[0].lower(), word[0]), text) if table else text


@lru_cache(maxsize=8)
def _reason(lang: str) -> re.Pattern[str]:
    """Why something is to be forgotten, at the end."""
    return re.compile(rf"(?:{WORDS['reasons'][lang]})$", re.IGNORECASE)
