"""Clauses: what a text states, piece by piece, by its words: who it is about, what of them, in which mood.

The words are those of ``revision_words.json``, in any of its languages. What keeps one from revising another:

- ``untold``: nothing in such a text is told as true (a translation, dream, joke, song, role play).
- ``supposed``: nothing in such a sentence is (a condition, wish, plan); ``told``: it is another person's word.
- ``past``, ``tense``: it is no longer so; ``once``: it was so on one occasion; ``added``: it is so beside what was
  before; ``still``: it is as before.

What makes it revise one:

- ``admits``: something said was wrong; ``changed``, ``now``: something is another way since.
- ``ended``, ``cancelled``: it is over; ``denies``: it is not so; ``again``: it is once more.
- ``classes``: what is told of somebody, whichever verb tells it ("live in", "moved to"); ``one_valued``: nouns for what
  can only be one at a time; ``of_all_time``: verbs that take several at a time ("speak", "have").

The rest says where a subject begins and ends, and what is a number or a day.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from memsched.lexicon import is_question
from memsched.memory.ingest.revision_words import (
    TOKEN,
    classes_in,
    content,
    cue_words,
    found,
    has_cues,
    is_one,
    listed,
    norm,
    pattern,
)
from memsched.memory.ingest.subjects import IT, OWN, is_spanish_own, subject_of
from memsched.told_as_question import as_told

_SENTENCE = re.compile(
    r"(?<=[.!?\u2026])(?<!(?<=\d)\.)\s+|(?<=\d\.)\s+(?!(?:Woche|Monat|SSW|Schwangerschaftswoche|Stock|Etage|Klasse|Mal|Lebens"
    r"|Geburtstag|Januar|Februar|M\u00e4rz|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\w*)"
    r"|(?<=[\u3002\uff01\uff1f\uff1b])|(?<=[!?])(?=[\u3400-\u9fff])|\n+|;\s+"
)
"""Where a sentence ends; not after a German ordinal ("in der 20. Woche")."""
_QUOTED = re.compile(
    r"[\"\u201c\u201e\u00ab\u300c\u300e]([^\"\u201d\u201c\u00bb\u300d\u300f]*)[\"\u201d\u201c\u00bb\u300d\u300f]"
)
_ONLY_NUMBERS = re.compile(r"[#$\u20ac]?\d[\w\s.,:/x\u00d7%\u20ac$-]*")
_LEAST_CLAUSE = 3
"""Words of one."""
_NOT_BUT_GOES_ON = re.compile(r"(?:but|sondern|sino|\u800c\u662f)\b")
_IS_NOT, _BUT_IS = re.compile("(?<!\u662f)\u4e0d\u662f"), re.compile("\u662f(?!\u4e0d\u662f)")
"""In Chinese "not the 3rd, is the 8th" is "not the 3rd but the 8th"."""
_WIDE = {",": "\uff0c", ";": "\uff1b", "!": "\uff01", ":": "\uff1a"}
_ASCII_MARK = re.compile(r"(?<=[\u3400-\u9fff])[,;!:](?=\S)|(?<=\d)[,;!](?=[\u3400-\u9fff])")
"""A mark of ASCII that stands in Chinese, where no blank follows; 5,000 has none."""
_COMMA = re.compile(r",\s+|[\uff0c\u3001]|\s[-\u2013\u2014]\s|\s?\u2014\s?|\.\.\.\s*|\s?\((?=\w)")
_LEAST_SAID = 3
_LEAST_SAID_ZH = 4
"""Words, or signs, of what is said before a question."""
NOTHING_SAID = ("untold", "question", "quoted")
"""Why of a sentence nothing is of use, not even for what is said later."""
Sign = Literal["admits", "changed", "now", "ended", "cancelled", "denies"]
_SIGNS: tuple[Sign, ...] = ("admits", "changed", "now", "ended", "cancelled", "denies")


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of a sentence that states one thing.

    Args:
        words: the stems of its content words in order; numbers begin with "#", days and months with "@".
        subject: those of its subject; OWN is the speaker; with IT, one of them; empty if it has none.
        signs: how it says that something is another way than before.
        cues: the stems among its words that are such signs, or the verbs of its classes.
        denied: what it says is not so, where it says what is instead ("not tea but coffee").
        verb: the stem of the verb after its subject; "is" for those that only join.
        classes: what it tells, if that is of a known kind.
        apart: why it revises nothing; "" if it may.
        is_one_valued: tells what can only be one way at a time; takes_several: what may be several at a time.
    """

    text: str
    lang: str
    words: tuple[str, ...] = ()
    subject: frozenset[str] = frozenset()
    signs: frozenset[str] = frozenset()
    cues: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    verb: str = ""
    apart: str = ""
    is_one_valued: bool = False
    takes_several: bool = False
    is_own: bool = False

    @property
    def negated(self) -> bool:
        return "denies" in self.signs


@lru_cache(maxsize=4096)
def sentences_of(text: str, lang: str) -> tuple[tuple[str, str], ...]:
    """The sentences of a text without what they quote, and why of each nothing is stated, as ``Clause.apart``."""
    plain = as_told(re.sub(r"[ \t]+", " ", text.replace("\u2019", "'")))
    if lang == "zh":
        plain = _ASCII_MARK.sub(lambda match: _WIDE[match.group()], plain)
    whole = "untold" if found("untold", lang, plain) else ""
    sentences = []
    for sentence in _SENTENCE.split(plain):
        if sentence.strip():
            said, quoted = _unquoted(sentence, lang)
            for part in _before_what_is_asked(said, lang):
                sentences.append((part, whole or _mood(part, quoted, lang)))
    return tuple(sentences)


@lru_cache(maxsize=4096)
def clauses_of(text: str, lang: str) -> tuple[Clause, ...]:
    """The clauses of a text, those that state nothing too (they say why in ``apart``)."""
    clauses: list[Clause] = []
    admits = False
    for said, apart in sentences_of(text, lang):
        before: Clause | None = None
        told_before = clauses[-1] if clauses else None
        if apart in NOTHING_SAID:
            clauses.append(Clause(said, lang, apart=apart))
            continue
        for piece in _pieces(said, lang):
            clause = _clause(piece, lang, apart)
            if admits or "admits" in clause.signs:
                admits = True
                clause = replace(clause, signs=clause.signs | {"admits"})
            if before is not None:
                clause = _after(before, clause)
            elif told_before is not None and IT in clause.subject:
                clause = replace(clause, subject=_whom(told_before, clause))
            before = clause
            clauses.append(clause)
    return tuple(clauses)


def introduced_by(clause: Clause, words: Set[str]) -> str:
    """The word before the first of these, but for an article: "in" where somebody works in Oslo."""
    if clause.lang == "zh":
        return next(
            (clause.text[at - 1] for word in clause.words if word in words and (at := clause.text.find(word)) > 0), ""
        )
    before = ""
    for match in TOKEN.finditer(clause.text):
        if norm(match.group(), clause.lang, not match.start()) in words:
            return before
        lower = match.group().lower()
        if lower in listed("copulas", clause.lang) or lower.endswith("'s"):
            before = "is"
        elif not any(is_one(kind, clause.lang, lower) for kind in ("articles", "now", "light", "admits")):
            before = lower
    return ""


def _after(before: Clause, clause: Clause) -> Clause:
    """What a clause takes from the one before it in its sentence: whom "he" is, that something changed, and when."""
    subject, signs, apart = clause.subject, clause.signs, clause.apart
    if not subject or IT in subject:
        subject = _whom(before, clause)
    if before.signs & {"changed", "ended"} and "denies" not in before.signs:
        signs |= {"now"}
    if before.apart == "past" and not clause.subject and not signs & {"changed", "ended", "cancelled"}:
        apart = apart or "past"
    if before.apart == "once" and not before.negated and not signs & {"changed", "ended", "cancelled"}:
        apart = apart or "once"
    return replace(clause, subject=subject, signs=signs, apart=apart)


def _whom(before: Clause, clause: Clause) -> frozenset[str]:
    """Whom or what the subject of a clause means that has none, or only a "she": never the speaker."""
    if IT in clause.subject and before.subject <= {OWN, IT}:
        return frozenset({*before.words, IT})
    return before.subject - {IT}


def _unquoted(sentence: str, lang: str) -> tuple[str, bool]:
    """Without what is quoted, if that is more than a name; and whether something was."""
    quoted = False

    def take(match: re.Match[str]) -> str:
        nonlocal quoted
        inside = match.group(1)
        if (len(inside) if lang == "zh" else 2 * len(inside.split())) >= 5:
            quoted = True
            return " "
        return inside

    return _QUOTED.sub(take, sentence), quoted


def _before_what_is_asked(sentence: str, lang: str) -> tuple[str, ...]:
    """A question cut where it begins, if something is said before: "I'm vegan, what can I order?"."""
    match = _asks(lang).search(sentence) if is_question(sentence) else None
    head = sentence[: match.start()].rstrip(" ,;:-\uff0c\u2014") if match else ""
    said = len(head) if lang == "zh" else len(head.split())
    if match is None or said < (_LEAST_SAID_ZH if lang == "zh" else _LEAST_SAID) or _asks(lang).match(f", {head}", 2):
        return (sentence,)
    return head, sentence[match.start() :]


@lru_cache(maxsize=8)
def _asks(lang: str) -> re.Pattern[str]:
    """Where a question begins, behind a comma."""
    words = "|".join(listed("asks", lang))
    if lang in ("en", "de"):
        words = rf"(?<=[,;:\u2014-] )(?:(?:so|and|but|also|then|und|aber|dann) )?(?:{words})(?= \w+ \w+)"
    return re.compile(words, re.IGNORECASE)


def _mood(sentence: str, quoted: bool, lang: str) -> str:
    if is_question(sentence):
        return "question"
    if quoted:
        return "quoted"
    return next((kind for kind in ("supposed", "told") if found(kind, lang, sentence)), "")


def _pieces(sentence: str, lang: str) -> list[str]:
    """The clauses of a sentence; a number that stands alone belongs to what it follows."""
    pieces = _COMMA.split(sentence)
    pieces = [part for piece in pieces for part in _at_colon(piece, lang)]
    pieces = [part for piece in pieces for part in _at_and(piece, lang)]
    joined: list[str] = []
    for piece in (each.strip(" .!?\u3002\uff01\u2026") for each in pieces):
        if joined and (_ONLY_NUMBERS.fullmatch(piece) or _NOT_BUT_GOES_ON.match(piece)):
            joined[-1] += ", " + piece
        elif joined and _BUT_IS.match(piece) and _IS_NOT.search(joined[-1]):
            joined[-1] += "\u800c" + piece
        elif piece:
            joined.append(piece)
    return joined


def _at_and(piece: str, lang: str) -> list[str]:
    """Cut at an "and" after which a clause follows; "Anna and I" is none."""
    match = _and(lang).search(piece, len(" ".join(piece.split()[:_LEAST_CLAUSE])))
    return [piece] if match is None else [piece[: match.start()], *_at_and(piece[match.end() :], lang)]


def _at_colon(piece: str, lang: str) -> list[str]:
    """Cut at a colon, unless that stands between a thing and what it is."""
    head, colon, rest = piece.partition("\uff1a" if lang == "zh" else ": ")
    is_new = colon and found("changed", lang, head) and found("now", lang, rest)
    if is_new or (colon and (found("own", lang, head) or found("admits", lang, head))):
        return [head, rest]
    return [piece]


@lru_cache(maxsize=8)
def _and(lang: str) -> re.Pattern[str]:
    """Where a clause follows that has a subject of its own: "and I", not "Anna and I"."""
    if lang == "zh":
        return re.compile(r"(?!)")
    joins, goes_on = ("|".join(listed(kind, lang)) for kind in ("joins", "goes_on"))
    goes_on = goes_on.replace("(", "(?:")  # what a pattern captures would be among what it splits
    return re.compile(rf"\s(?:{joins})\s+(?=(?:{goes_on})(?!\w))", re.IGNORECASE)


def _clause(piece: str, lang: str, apart: str) -> Clause:
    piece, denied = _without_denied(piece, lang)
    plain = pattern("admits", lang).sub(" ", piece) if found("admits", lang, piece) else piece
    signs = frozenset(kind for kind in _SIGNS if found(kind, lang, piece if kind == "admits" else plain))
    signs |= {"admits"} if denied else set()
    several = piece
    if lang == "zh":
        plain = several = pattern("one_valued", lang).sub("\u25a1", plain)
    classes = classes_in(plain, lang)
    strong = signs & {"changed", "ended", "cancelled"}
    for kind in ("past", "added", "still"):
        apart = apart or (kind if found(kind, lang, piece) else "")
    if not strong:
        apart = apart or ("once" if found("once", lang, piece) else "")
        is_past = found("tense", lang, piece)
        apart = apart or ("past" if is_past and not signs & {"denies", "admits"} else "")
    words: tuple[str, ...] = ()
    subject = cues = frozenset[str]()
    verb = ""
    if lang != "zh":
        words = content(piece, lang)
        subject, verb = subject_of(piece, lang, frozenset(words))
        if has_cues(piece, lang):
            cues = frozenset(words) - frozenset(content(cue_words(lang).sub(" ", piece), lang))
    return Clause(
        piece,
        lang,
        words,
        subject,
        signs,
        cues,
        _denied(denied, lang),
        classes,
        verb,
        apart,
        found("one_valued", lang, piece),
        found("of_all_time", lang, several),
        found("own", lang, piece) or found("mine", lang, piece) or (lang == "es" and is_spanish_own(piece)),
    )


def _without_denied(piece: str, lang: str) -> tuple[str, str]:
    """A clause without "not tea but", and what that denies."""
    match = pattern("not_but", lang).search(piece) if found("not_but", lang, piece) else None
    if match is None:
        return piece, ""
    denied = next(each for each in match.groupdict().values() if each)
    linked = "\u662f" if lang == "zh" else " "
    return f"{piece[: match.start()]}{linked}{piece[match.end() :]}".strip(), denied


def _denied(text: str, lang: str) -> frozenset[str]:
    return frozenset((content(text, lang) if lang != "zh" else [text]) if text else ())
