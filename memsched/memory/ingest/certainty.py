"""Certainty: whether nothing of a later clause says anything but that an earlier one is so no more, or otherwise.

Revision.py tells what two sentences are about, by stems and frames; what it takes for a revision puts the earlier one
aside only where the plain words leave no room: the later one denies it with its own words, or has its words with one
value in the place of another. All other words that it may have are listed, for one more may be another meaning: "not
allergic" and "not just allergic", "my phone" and "my work phone".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from memsched.lexicon import NUMBER_WORDS, is_without_spaces
from memsched.memory.ingest.revision_words import pattern

_CUES = frozenset(
    """
    actually correction sorry oops wait no nope update fact in it that turns turned out i meant mean rather anymore any
    more longer now nowadays new currently instead is are was wrong my mistake changed mind scratch typo
    eigentlich korrektur entschuldigung moment nein doch jetzt nun inzwischen mittlerweile mehr neu neue neuer neues
    neuen stattdessen ich meinte meine falsch sondern
    realidad corrección perdón perdona espera ahora ya nuevo nueva actualmente quería decir digo sino resulta que en
    """.split()
)
"""Say that something is otherwise, and nothing else."""
_DENIALS = frozenset(
    """
    not no never don't doesn't didn't isn't aren't am i'm he's she's it's can't cannot haven't hasn't wasn't do
    does is are longer anymore any more that it turns out turned actually in fact found we're they're nor have has
    correction sorry oops wait update wrong korrektur entschuldigung eigentlich corrección perdón realidad nicht
    kein keine keinen keiner keinem nie mehr doch gar ya nunca ningún ninguna
    """.split()
)
_DROPPED = frozenset("am is are do does i'm he's she's it's a an the to have has ein eine einen un una".split())
"""What the earlier one may have besides: "I'm" where the later one has "I am"."""
_DENIALS_UNSPACED = re.compile(r"其实|现在|已经|不再|并|不|没有?|了|再|的|其實|現在|已經|沒|実は")
_CUES_UNSPACED = re.compile(
    r"其实|现在|已经|如今|更正|抱歉|不对|说错了|我说错了|改成|换成|变成|改到|改为|新的?|了|[，,。！!、：:]"
)
_NEGATION_UNSPACED = re.compile(r"不|没|沒|别|無|无")
_WORD = re.compile(r"[^\W_]+(?:['@.+:/-]+[^\W_]+)*")
_OPENERS = frozenset(
    """
    in im on at near with by for from to of as under next behind a an the my our his her their this that some
    am an auf bei mit von vom zu zum zur nach unter neben hinter ein eine einer einem einen der die das den dem
    mein meine
    \u5728 \u5f97 \u7740 \u8fc7 \u5f88 \u7684
    en a con de por para sin un una el la los las mi mis su sus
    """.split()
)
"""What begins one value, and not the other, makes it a value of another kind: Rome, and the third floor."""
_LIVES = re.compile(r"\b(?i:live[sd]?|reside[sd]?|wohn\w+|viv[oeia]\w*) (?:in|en) [^\W\d_a-zß-ÿ]\w+|\u4f4f\u5728")
_PLACE = r"[^\W\d_a-zß-ÿ][\w-]+(?: [^\W\d_a-zß-ÿ][\w-]+)?"
_WHEN = r"(?: (?:last|this|in|two|a|three|letzte[nrs]?|im|el|la|hace|en)(?: [\w-]+){1,3})?"
_MOVED_HOME = re.compile(
    rf"^(?:(?i:\w+(?:'ve|'s)? (?:have |has )?(?:just |recently )?(?:moved|relocated) (?:back )?to ){_PLACE}{_WHEN}"
    rf"|(?i:\w+ (?:bin|ist|sind) )(?:[\w ]{{1,20}} )?nach {_PLACE} (?:um)?gezogen"
    rf"|(?i:(?:me|nos|se)(?: he| hemos| ha| han)? mud\w+ a ){_PLACE}{_WHEN}"
    r"|\w{0,3}?(?:\u73b0\u5728|\u5df2\u7ecf|\u4e0a\u4e2a\u6708|\u4e0a\u5468)?\u642c\u5230(?:[^\W\d_]{2,4})"
    r"(?<![\u697c\u53f7\u53f8\u90e8\u5c42])\u4e86)$"
)
_AT_ALL = re.compile(r"\b(?:after|at) all\b")
_I_MEANT = re.compile(
    r"^\W*(?:(?:sorry|oops|no|perd[o\u00f3]n|entschuldigung|nein)\b\W*)?"
    r"(?:i meant?|ich meinte?|quer[i\u00ed]a decir|quise decir)\b\W*(?:that |dass |que )?",
    re.IGNORECASE,
)
_LONGEST_VALUE = 4
_LONGEST_VALUE_UNSPACED = 8
_NUMBER_UNSPACED = re.compile(r"[0-9零一二两三四五六七八九十百千万点号楼]")


def only_denies(newer: str, older: str) -> bool:
    """Whether a text says with an earlier one's own words that it is not so, and no more."""
    if is_without_spaces(newer) or is_without_spaces(older):
        if len(_NEGATION_UNSPACED.findall(newer)) != 1 or _NEGATION_UNSPACED.search(older):
            return False
        return _bare(newer, _DENIALS_UNSPACED) == _bare(older, _DENIALS_UNSPACED)
    new, old = (_words(each) for each in (newer, older))
    kept = set(old)
    if not {*new} - kept - _alike({*new}, kept) <= _DENIALS or not kept - {*new} <= _DROPPED | _alike(kept, {*new}):
        return False
    return [word for word in new if word in kept - _DENIALS] == [word for word in old if word in {*new} - _DENIALS]


def only_another_value(newer: str, older: str) -> bool:
    """Whether a clause is an earlier one with one value, of the same kind, in the place of another."""
    if is_without_spaces(newer) or is_without_spaces(older):
        one, other = (_bare(each, _CUES_UNSPACED) for each in (newer, older))
        return _is_one_value(one, other, _LONGEST_VALUE_UNSPACED, least=2)
    new, old = (_said(each) for each in (newer, older))
    return _is_one_value(new, old, _LONGEST_VALUE, least=1)


def moved_home(newer: str, older: str) -> bool:
    """Whether somebody moved to another town, by a clause that says nothing else, where he lived in one."""
    return bool(_LIVES.search(older) and _MOVED_HOME.match(newer.strip(" .!\u3002\uff01")))


def _is_one_value(new: Sequence[str], old: Sequence[str], longest: int, *, least: int) -> bool:
    folded = [[each.casefold() for each in side] for side in (new, old)]
    begin = 0
    while begin < min(len(new), len(old)) and folded[0][begin] == folded[1][begin]:
        begin += 1
    end = 0
    while end < min(len(new), len(old)) - begin and folded[0][-1 - end] == folded[1][-1 - end]:
        end += 1
    values = new[begin : len(new) - end], old[begin : len(old) - end]
    if begin < least or not all(0 < len(each) <= longest for each in values):
        return False
    if {values[0][0], values[1][0]} & _OPENERS or {*values[0]} & {*values[1]}:
        return False
    return _kind(values[0]) == _kind(values[1])


def _kind(value: Sequence[str]) -> str:
    """What a value is: a number, a name, or a word; in Chinese also a kind of place (a hotel), or an act."""
    text = value if isinstance(value, str) else " ".join(value)
    if any(map(str.isdigit, text)) and not is_without_spaces(text):
        return " ".join(["number", *(word.casefold() for word in value if word.isalpha())])
    if any(map(str.isdigit, text)) or (value and is_without_spaces(text) and _NUMBER_UNSPACED.search(text)):
        return "number"
    if any(word.casefold() in NUMBER_WORDS for word in value):
        return "number"
    if is_without_spaces(text):
        kinds = (kind for kind in ("places", "acts") if pattern(kind, "zh").search(text))
        return next(kinds, "word")
    return "name" if any(word[:1].isupper() for word in value) else "word"


def _said(text: str) -> list[str]:
    """The words without cues, and without what it was before: ", not on Monday"."""
    text = _I_MEANT.sub("", text)
    text = re.sub(r",? (?:and )?(?:not|nicht|no) [^,.;]{1,40}$", "", text.strip(" .!"))
    found = _WORD.findall(text.replace("\u2019", "'"))
    return [word for word in found if word.casefold() not in _CUES - _KEPT]


_KEPT = frozenset("is are was my i in it that en meine".split())
"""Cues that are words of a statement as well: they must stand in both."""


def _words(text: str) -> list[str]:
    return _split(_AT_ALL.sub("", text.casefold().replace("\u2019", "'")))


@lru_cache(maxsize=4096)
def _split(text: str) -> list[str]:
    return _WORD.findall(text)


def _alike(old: set[str], new: set[str]) -> frozenset[str]:
    """Words of the earlier one that the later one has in another form: eats and eat."""
    return frozenset(word for word in old - new if any(_is_form(word, other) for other in new))


def _is_form(one: str, other: str) -> bool:
    return one != other and min(len(one), len(other)) > 2 and one.removesuffix("s") == other.removesuffix("s")


def _bare(text: str, left_out: re.Pattern[str]) -> str:
    return re.sub(r"[\s，,。！!、：:；;.~]", "", left_out.sub("", text))
