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

import json
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import Stemmer

from memsched.lexicon import is_question, is_without_spaces
from memsched.lexicon import words as words_of
from memsched.memory.content.topic_words import stop_words_by_language

OWN = "\x00own"
IT = "\x00it"
_WORDS: dict[str, Any] = json.loads(
    files("memsched.memory.ingest").joinpath("revision_words.json").read_text(encoding="utf-8")
)
_STEMMERS = {
    "en": Stemmer.Stemmer("english", 0),
    "de": Stemmer.Stemmer("german", 0),
    "es": Stemmer.Stemmer("spanish", 0),
}
_SENTENCE = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f\uff1b])|\n+|;\s+")
_QUOTED = re.compile(
    r"[\"\u201c\u201e\u00ab\u300c\u300e]([^\"\u201d\u201c\u00bb\u300d\u300f]*)[\"\u201d\u201c\u00bb\u300d\u300f]"
)
_ONLY_NUMBERS = re.compile(r"[#$\u20ac]?\d[\w\s.,:/x\u00d7%\u20ac$-]*")
_MYSELF = re.compile(r"^\W*(?:(?:ya|no|ahora)\s+)*\w{2,}o\b|\b(?:me|nos)\s", re.IGNORECASE)
_LONGEST_SUBJECT = 4
_LEAST_CLAUSE = 3
"""Words of one."""
_NOT_BUT_GOES_ON = re.compile(r"(?:but|sondern|sino|\u800c\u662f)\b")
_COMMA = re.compile(r",\s+|[\uff0c\u3001]|\s[-\u2013\u2014]\s|\s?\u2014\s?|\.\.\.\s*|\s?\((?=\w)")
_TOKEN = re.compile(r"[#$\u20ac]?\d+(?:[.,:/x\u00d7-]\d+)*\w*%?|[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*")
NOTHING_SAID = ("untold", "question", "quoted")
"""Why of a sentence nothing is of use, not even for what is said later."""
Sign = Literal["admits", "changed", "now", "ended", "cancelled", "denies"]
_SIGNS: tuple[Sign, ...] = ("admits", "changed", "now", "ended", "cancelled", "denies")
_BLANKED = ("admits", "now", "denies", "once", "light")
_CUES = ("changed", "ended", "cancelled")
VERBS_OF = ("reside", "work", "name", "age", "weigh", "drive", "smoke", "alive", "price")
"""Classes that are told by verbs: that they are the same says all that the verb does."""


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


@lru_cache(maxsize=1024)
def listed(kind: str, lang: str) -> tuple[str, ...]:
    """The words of a kind as they are."""
    return tuple(_WORDS[kind].get(lang, ()))


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
    return tuple(sum(word in _verbs(lang) or word in _stop_words(lang) for word in used) for lang in _STEMMERS)


@lru_cache(maxsize=4096)
def clauses_of(text: str, lang: str) -> tuple[Clause, ...]:
    """The clauses of a text, those that state nothing too (they say why in ``apart``)."""
    plain = re.sub(r"[ \t]+", " ", text.replace("\u2019", "'"))
    whole = "untold" if found("untold", lang, plain) else ""
    clauses: list[Clause] = []
    admits = False
    for sentence in _SENTENCE.split(plain):
        if not sentence.strip():
            continue
        said, quoted = _unquoted(sentence, lang)
        apart = whole or _mood(said, quoted, lang)
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


def found(kind: str, lang: str, text: str) -> bool:
    return pattern(kind, lang).search(text) is not None


def stemmed(word: str, lang: str) -> str:
    return _stemmed(word.lower(), lang)


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


def introduced_by(clause: Clause, words: Set[str]) -> str:
    """The word before the first of these, but for an article: "in" where somebody works in Oslo."""
    if clause.lang == "zh":
        return next(
            (clause.text[at - 1] for word in clause.words if word in words and (at := clause.text.find(word)) > 0), ""
        )
    before = ""
    for match in _TOKEN.finditer(clause.text):
        if _norm(match.group(), clause.lang, not match.start()) in words:
            return before
        lower = match.group().lower()
        if lower in listed("copulas", clause.lang) or lower.endswith("'s"):
            before = "is"
        elif not any(pattern(kind, clause.lang).fullmatch(lower) for kind in ("articles", "now", "light", "admits")):
            before = lower
    return ""


# -- parts ---------------------------------------------------------------------------------------------------------


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
    if colon and (found("own", lang, head) or found("admits", lang, head)):
        return [head, rest]
    return [piece]


def _clause(piece: str, lang: str, apart: str) -> Clause:
    piece, denied = _without_denied(piece, lang)
    plain = pattern("admits", lang).sub(" ", piece)
    signs = frozenset(kind for kind in _SIGNS if found(kind, lang, piece if kind == "admits" else plain))
    signs |= {"admits"} if denied else set()
    several = piece
    if lang == "zh":
        plain = several = pattern("one_valued", lang).sub("\u25a1", plain)
    classes = frozenset(name for name in _WORDS["classes"] if _class_pattern(name, lang).search(plain))
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
        subject, verb = _subject(piece, lang, frozenset(words))
        cues = frozenset(words) - frozenset(content(_cues(lang).sub(" ", piece), lang))
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
        found("own", lang, piece) or found("mine", lang, piece) or (lang == "es" and _spanish_own(piece)),
    )


def _without_denied(piece: str, lang: str) -> tuple[str, str]:
    """A clause without "not tea but", and what that denies."""
    match = pattern("not_but", lang).search(piece)
    if match is None:
        return piece, ""
    denied = next(each for each in match.groupdict().values() if each)
    linked = "\u662f" if lang == "zh" else " "
    return f"{piece[: match.start()]}{linked}{piece[match.end() :]}".strip(), denied


def _denied(text: str, lang: str) -> frozenset[str]:
    return frozenset((content(text, lang) if lang != "zh" else [text]) if text else ())


def content(piece: str, lang: str) -> tuple[str, ...]:
    """The stems of its content words in order."""
    kept = [_norm(match.group(), lang, not match.start()) for match in _TOKEN.finditer(blanked(piece, lang))]
    return tuple(dict.fromkeys(word for word in kept if word))


def blanked(piece: str, lang: str) -> str:
    """Without what only says that it is another way; in Chinese, where no word stands alone, also without cues."""
    piece = _cues(lang).sub(" ", piece) if lang == "zh" else piece
    return _fillings(lang).sub(" ", piece)


@lru_cache(maxsize=8)
def _fillings(lang: str) -> re.Pattern[str]:
    return _compiled([word for kind in _BLANKED for word in listed(kind, lang)], lang)


@lru_cache(maxsize=8)
def _cues(lang: str) -> re.Pattern[str]:
    """What says only that something changed, and the verbs of classes."""
    verbs = [word for name in VERBS_OF for word in _WORDS["classes"][name].get(lang, ())]
    return _compiled([*verbs, *(word for kind in _CUES for word in listed(kind, lang))], lang)


@lru_cache(maxsize=65_536)
def _norm(said: str, lang: str, opens: bool) -> str:
    """The stem of a content word, "" for others."""
    lower = said.lower().replace("\u2019", "'")
    if any(each.isdigit() for each in lower):
        return "#" + lower.strip("#$\u20ac")
    if pattern("when", lang).fullmatch(lower):
        return "@" + _stemmed(lower, lang)
    if lower in _numbers(lang):
        return "#" + _numbers(lang)[lower]
    if len(said) == 1 and said.isupper() and said != "I" and not opens:
        return said
    bare = lower.removesuffix("'s")
    if len(bare) < 2 or bare in _stop_words(lang) or bare in listed("openers", lang) or "'" in bare:
        return ""
    if pattern("own", lang).fullmatch(lower) or pattern("it", lang).fullmatch(lower):
        return ""
    return _stemmed(bare, lang)


def _subject(piece: str, lang: str, words: frozenset[str]) -> tuple[frozenset[str], str]:
    """Who or what it is about, and the verb that follows; neither where no verb is known."""
    tokens = _TOKEN.findall(_without_opening(piece, lang))
    start = _start(tokens, lang)
    subject: list[str] = []
    verb = ""
    for number, said in enumerate(tokens[start:]):
        lower = said.lower()
        after = tokens[start + number + 1 :]
        if _is_verb(lower, said, lang, bool(subject), number):
            verb = _verb(lower, after, lang)
            break
        if pattern("own", lang).fullmatch(lower):
            subject.append(OWN)
            if lang == "en" and lower not in ("me", "us") and (not after or after[0].lower() != "and"):
                verb = _verb(
                    (lower.partition("'")[1:][1] and "'" + lower.partition("'")[2]) or "".join(after[:1]), after, lang
                )
                break
        elif pattern("it", lang).fullmatch(lower) and not subject:
            subject.append(IT)
            if "'" in lower:
                verb = _verb("'" + lower.partition("'")[2], after, lang)
                break
        elif lang == "de" and number == 0 and after and _is_pronoun(after[0].lower(), lang):
            continue  # a verb that stands first: "benutzen wir"
        elif (word := _norm(said, lang, not number)) and word in words and word[0] != "@":
            subject = [each for each in subject if each != IT] + [word]
        if len(subject) > _LONGEST_SUBJECT:
            return frozenset(), ""
    else:
        return frozenset({OWN} & set(subject)), ""
    if not subject and lang == "es" and _spanish_own(piece):
        subject.append(OWN)
    return frozenset(subject), verb


def _is_pronoun(lower: str, lang: str) -> bool:
    return any(pattern(kind, lang).fullmatch(lower) is not None for kind in ("own", "it"))


def _verb(lower: str, after: list[str], lang: str) -> str:
    if lower in listed("copulas", lang):
        return "is doing" if lang == "en" and after and after[0].lower().endswith("ing") else "is"
    return _stemmed(lower, lang)


def _without_opening(piece: str, lang: str) -> str:
    """Without "well", "it turns out" and the like at its beginning."""
    opening = re.compile(rf"\W*(?:{pattern('openers', lang).pattern}|{pattern('admits', lang).pattern})", re.IGNORECASE)
    while (match := opening.match(piece)) and match.end() < len(piece):
        piece = piece[match.end() :]
    return piece


def _start(tokens: list[str], lang: str) -> int:
    """Where the subject begins: after a leading "on Monday"."""
    at = 0
    if at < len(tokens) and (
        tokens[at].lower() in listed("prepositions", lang) or pattern("now", lang).fullmatch(tokens[at].lower())
    ):
        for number in range(at + 1, len(tokens)):
            lower = tokens[number].lower()
            if lang == "en":
                if pattern("own", lang).fullmatch(lower) or pattern("it", lang).fullmatch(lower):
                    return number
                if number > at + 1 and (
                    lower in ("my", "our", "the", "his", "her")
                    or (tokens[number][0].isupper() and not pattern("when", lang).fullmatch(lower))
                ):
                    return number
            elif number > at + 1 and pattern("articles", lang).fullmatch(lower):
                return number
            elif lower in _verbs(lang):
                return number + 1
    return at


def _is_verb(lower: str, said: str, lang: str, has_noun: bool, number: int) -> bool:
    if lower in _verbs(lang) or any(
        _class_pattern(name, lang).fullmatch(lower) for name in ("reside", "work", "weigh")
    ):
        return number > 0 or lang == "es"
    if lang == "de":
        return (
            has_noun
            and said[0].islower()
            and re.fullmatch(r"\w{3,}(?:t|en|e)", lower) is not None
            and lower not in _stop_words("de")
        )
    if lang == "es":
        return has_noun and re.fullmatch(r"\w{3,}(?:ó|aron|ieron)", lower) is not None
    if lang == "en":
        return (
            has_noun and re.fullmatch(r"[a-z]{2,}(?:[^s]s|ed)", lower) is not None and said[0].islower() and number > 0
        )
    return False


def _spanish_own(piece: str) -> bool:
    """Whether it says "I" or "we" by its verb: "vivo", "ahora vivimos", "me mudé"."""
    if _MYSELF.search(piece):
        return True
    return any(pattern("speaks", "es").fullmatch(word) for word in piece.lower().split()[:4])


@lru_cache(maxsize=1024)
def pattern(kind: str, lang: str) -> re.Pattern[str]:
    return _compiled(_WORDS[kind].get(lang, ()), lang)


@lru_cache(maxsize=256)
def _class_pattern(name: str, lang: str) -> re.Pattern[str]:
    return _compiled(_WORDS["classes"][name].get(lang, ()), lang)


def _compiled(words_of_it: Sequence[str], lang: str) -> re.Pattern[str]:
    if not words_of_it:
        return re.compile(r"(?!)")
    longest_first = sorted(words_of_it, key=len, reverse=True)
    if lang == "zh":
        return re.compile("|".join(longest_first))
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=8)
def _and(lang: str) -> re.Pattern[str]:
    """Where a clause follows that has a subject of its own: "and I", not "Anna and I"."""
    if lang == "zh":
        return re.compile(r"(?!)")
    joins, goes_on = ("|".join(listed(kind, lang)) for kind in ("joins", "goes_on"))
    goes_on = goes_on.replace("(", "(?:")  # what a pattern captures would be among what it splits
    return re.compile(rf"\s(?:{joins})\s+(?=(?:{goes_on})(?!\w))", re.IGNORECASE)


@lru_cache(maxsize=8)
def _numbers(lang: str) -> dict[str, str]:
    return {word: str(number) for number, word in enumerate(listed("numbers", lang), 2)}


def _stop_words(lang: str) -> frozenset[str]:
    return stop_words_by_language()[lang]


@lru_cache(maxsize=8)
def _verbs(lang: str) -> frozenset[str]:
    return frozenset(word.removesuffix("?") for word in _WORDS["verbs"][lang])


@lru_cache(maxsize=65_536)
def _stemmed(word: str, lang: str) -> str:
    return str(_STEMMERS[lang].stemWord(word)) if lang in _STEMMERS else word
