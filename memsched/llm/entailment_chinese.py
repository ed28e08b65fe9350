"""Entailment in Chinese: the same rules as entailment.py, by signs in their order, for words have no borders."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise
from typing import Literal

from memsched.llm.entailment_words import CHINESE_FUNCTION_SIGNS, CHINESE_MARKERS, CHINESE_NO_MARKERS, Marker
from memsched.llm.quotations import without_quotations

ChineseDoubt = Literal["question", "negation", "supposed", "subject", "number", "words", "speaker"]
_WEAKENING = frozenset((Marker.FORMERLY, Marker.CONDITION, Marker.UNSURE, Marker.REPORTED, Marker.EXCEPT))
_HALF = 0.5
_SHARE = 0.85
"""Of a claim's signs, in their order, that the clause must have."""
_CHINESE_SENTENCE = re.compile(r"[^\u3002\uff01\uff1f!?\uff1b;\n]*[\u3002\uff01\uff1f!?\uff1b;\n]?")
_CHINESE_CLAUSE = re.compile(r"[\uff0c,\u3001\uff1a:]|但是|可是|而且|所以|不过(?!敏)|但")
_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {
    "两": 2,
    "\u3007": 0,
}
_DAY = re.compile(r"(?<=[\d一二三四五六七八九十])号(?!楼|线|店|机|码)")
_EACH = re.compile(
    r"(?:每个|每一|(?<![零一二两三四五六七八九十几半])一个?)(月|周|星期|年|天|晚)(?=[\d零一二两三四五六七八九十百千万])"
)
_WE = re.compile("我们?|咱们?")
_SUBJECT = re.compile(r"\W*(?:我|你|他|她|它|咱|大家|[^，。]{0,3}(?:妈|爸|哥|姐|弟|妹|儿|孩|老公|老婆|朋友|同事))")
"""With which a clause begins that has a subject of its own."""
_MONEY = re.compile(r"(?<=[\d百千万十一二三四五六七八九])块(?:钱)?(?![地石肉])")
_LONGEST_VALUE = 2
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
_NUMERAL = re.compile("[零\u3007一二两三四五六七八九十百千万]+")
_LONGEST_NUMERAL = 40
"""Signs: a longer run of them is no number."""
_LONGEST_COMPARED = 200
"""Signs of a claim, and of a clause, that are looked for in each other."""
_LONGEST_ALIGNED = 1000
"""Signs of a clause in which another value is looked for."""
_SPEAKER_SIGN = "\ue000"
"""Stands for the one who speaks, in a claim and in what was said."""


_TIME_FIRST = re.compile(
    r"^\s*((?:(?:这|下|上|每)?(?:周|星期|礼拜)[一二三四五六日天末]|[今明昨后前每]天|[今明去前]年|[早晚]上|[上下中]午|平时|现在"
    rf"|[\d一二三四五六七八九十]+[年月日号点]|的|和|到|从)+){_SPEAKER_SIGN}"
)


def chinese_number(written: str) -> str:
    """A numeral as digits: 两千三 is 2300."""
    total = section = digit = 0
    unit = 1
    for sign in written:
        if sign in _DIGITS:
            digit = _DIGITS[sign]
            continue
        unit = _UNITS[sign]
        if unit == 10_000:
            total, section = (total + section + digit) * unit, 0
        else:
            section += (digit or 1) * unit
        digit = 0
    tail = digit * unit // 10 if unit > 10 and "零" not in written else digit
    return str(total + section + tail)


def in_digits(text: str) -> str:
    """A Chinese text with its numerals as digits."""
    return _NUMERAL.sub(lambda match: chinese_number(match[0]) if len(match[0]) <= _LONGEST_NUMERAL else match[0], text)


def doubt_in_chinese(claim: str, said: ChineseText, speaker: str, *, by_user: bool) -> ChineseDoubt | None:
    """Why a text does not say what a claim says (a fixed word for a counter), or None."""
    names = [speaker] if speaker else []
    by = "|".join(map(re.escape, sorted({*names, "用户"}, key=len, reverse=True)))
    told = re.sub(by if by_user else "|".join(map(re.escape, names)) or r"(?!)", _SPEAKER_SIGN, claim)
    if "用户" in told:
        return "speaker"
    held = _HeldClaim(in_one_way(told))
    found: list[tuple[int, ChineseDoubt | None]] = []
    for part in said.parts_with(held.wanted):
        if part.halves and not any(_is_mostly_told(half, held.wanted) for half in part.halves):
            continue
        doubt, extra = _doubt_about_chinese(held, part)
        if doubt != "words":
            found.append((extra, doubt))
    # The clause that says least beside it is the one that it is about.
    return min(found, key=lambda each: each[0])[1] if found else "words"


class _HeldClaim:
    """A claim, in which a sign stands for the one who speaks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.wanted = meaning_signs(text)
        self.in_digits = in_digits(text)
        self.markers = _chinese_markers(text)


@dataclass(frozen=True, slots=True)
class ChineseClause:
    """A part between commas, with what changes its meaning."""

    text: str
    signs: str
    markers: frozenset[Marker]
    asks: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """A clause, or two in a row, as a claim is held against it.

    Args:
        has: the signs that mean something.
        halves: those of both, if it is two: the first may name what the second tells.
        is_implied: whether the one who speaks may be meant where nobody is named.
    """

    text: str
    has: str
    halves: tuple[str, ...]
    asks: bool
    markers: frozenset[Marker]
    is_implied: bool

    @property
    def with_speaker(self) -> str:
        return _SPEAKER_SIGN + self.has if self.is_implied and _SPEAKER_SIGN not in self.has else self.has


class ChineseText:
    """A text by its clauses, for many claims; a clause that is said again is held against a claim once."""

    def __init__(self, text: str) -> None:
        self._sentences = _CHINESE_SENTENCE.findall(in_one_way(without_quotations(text)))

    @cached_property
    def clauses(self) -> list[ChineseClause]:
        """Without what is quoted; a condition counts for its whole sentence."""
        return _clauses_of(self._sentences)

    @cached_property
    def _parts(self) -> list[_Part]:
        return list(dict.fromkeys(part for sentence in self._sentences for part in _parts(sentence)))

    @cached_property
    def _counts(self) -> Mapping[str, Mapping[int, int]]:
        """How often each sign is in which parts."""
        counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for number, part in enumerate(self._parts):
            for sign, count in Counter(part.with_speaker).items():
                counts[sign][number] = count
        return counts

    def parts_with(self, wanted: str) -> list[_Part]:
        """The parts that have so many signs of a claim that it may be said there, in order."""
        most = Counter[int]()
        for sign, count in Counter(wanted).items():
            for number, among in self._counts.get(sign, {}).items():
                most[number] += min(count, among)
        enough = _SHARE * len(wanted)
        return [part for number, part in enumerate(self._parts) if most[number] >= enough]


def _clauses_of(sentences: Iterable[str]) -> list[ChineseClause]:
    found = []
    for sentence in sentences:
        conditions = _chinese_markers(sentence) & {Marker.CONDITION}
        asks = _asks(sentence)
        found += [
            ChineseClause(part, meaning_signs(part), frozenset(_chinese_markers(part) | conditions), asks)
            for part in _CHINESE_CLAUSE.split(sentence)
            if part.strip()
        ]
    return found


def _asks(sentence: str) -> bool:
    return sentence.rstrip().endswith("?") or re.search(r"吗\W*$", sentence) is not None


def in_one_way(text: str) -> str:
    """Dates and money in one way, where there are two."""
    plain = _EACH.sub(r"每\1", unicodedata.normalize("NFKC", text))
    return _MONEY.sub("元", _DAY.sub("日", plain)).replace("于", "在")


def _parts(sentence: str) -> Iterator[_Part]:
    """Its clauses, and each two in a row that only state: the first may name what the second tells."""
    asks, names_speaker = _asks(sentence), "我" in sentence
    conditions = _chinese_markers(sentence) & {Marker.CONDITION}

    def part(text: str, *halves: str) -> _Part:
        said = _TIME_FIRST.sub(rf"{_SPEAKER_SIGN}\1", _WE.sub(_SPEAKER_SIGN, text))
        is_implied = names_speaker or not re.search("[他她它你]", said)
        signs = tuple(meaning_signs(_WE.sub("", half)) for half in halves)
        markers = frozenset(_chinese_markers(text) | conditions)
        return _Part(text, meaning_signs(said), signs, asks, markers, is_implied)

    clauses = [each for each in _CHINESE_CLAUSE.split(sentence) if each.strip()]
    yield from map(part, clauses)
    plain = [not _chinese_markers(each) for each in clauses]
    for at, (one, other) in enumerate(pairwise(clauses)):
        if plain[at] and plain[at + 1] and not _SUBJECT.match(other):
            yield part(f"{one}{other}", one, other)


def _is_mostly_told(half: str, wanted: str) -> bool:
    """Whether a claim tells most of a clause: of two in a row, it must not take a bit of each."""
    return _common(half, wanted)[0] > _HALF * len(half)


def _doubt_about_chinese(claim: _HeldClaim, part: _Part) -> tuple[ChineseDoubt | None, int]:
    """Why a clause does not say it, and how many signs it has beside what is claimed."""
    wanted = claim.wanted
    has = part.with_speaker if _SPEAKER_SIGN in wanted else part.has
    common, names_speaker = _common(wanted, has)
    extra = len(has) - common
    if common < _SHARE * len(wanted) or (_SPEAKER_SIGN in wanted and not names_speaker):
        return "words", extra
    if has.startswith(_SPEAKER_SIGN) and _SPEAKER_SIGN not in wanted and not wanted.startswith(has[1:3]):
        return "subject", extra
    said = in_digits(part.text)
    if set(re.findall(r"\d+", claim.in_digits)) - set(re.findall(r"\d+", said)):
        return "number", extra
    if not _counts_fit(claim.in_digits, said):
        return "number", extra
    if _is_another_value(wanted, has):
        return "words", 0
    if part.asks:
        return "question", extra
    if (claim.markers ^ part.markers) & {Marker.NEGATION, Marker.ALMOST, Marker.ENDED}:
        return "negation", extra
    if (part.markers - claim.markers) & _WEAKENING:
        return "supposed", extra
    return ("subject" if _is_of_kin(claim.text, part.text, has) else None), extra


def _is_of_kin(claim: str, part: str, has: str) -> bool:
    """Whether a clause says it of somebody of the speaker's, or of their home, who is not in the claim."""
    if any(each[1] in _KIN and each[1] in claim and each[2] not in claim for each in _OF_WHOM.finditer(part)):
        return True
    own = re.search(f"{_SPEAKER_SIGN}的?(..)", claim)
    if own and own[1] in _KIN and re.search(f"[^我{_SPEAKER_SIGN}们咱]的{own[1]}", part) and f"我{own[1]}" not in part:
        return True
    at_home = re.match(f"{_SPEAKER_SIGN}的?家(.)", has)
    if at_home and "家" not in claim and at_home[1] not in claim:
        return True  # "my family's dog"
    owned = re.search(f"{_SPEAKER_SIGN}的?([^{_SPEAKER_SIGN}]{{1,2}})", part.replace("我", _SPEAKER_SIGN))
    if owned and owned[1] in _KIN and owned[1] not in claim:
        return True
    return bool(owned and owned[1][0] in _KIN_SIGNS and owned[1][0] not in claim)


def _is_another_value(wanted: str, has: str) -> bool:
    """Whether something else stands where the clause has its value (Xining, where it was Xi'an), or elsewhere."""
    if wanted[-_LONGEST_VALUE:] not in has and not set(wanted[-_LONGEST_VALUE:]) & set(has):
        return True  # a claim ends with what it says of somebody
    has = has[:_LONGEST_ALIGNED]
    for kind, begin, end, at, until in SequenceMatcher(None, wanted, has, autojunk=False).get_opcodes():
        run = wanted[begin:end]
        if kind == "replace" and len(run) == until - at <= _LONGEST_VALUE and _SPEAKER_SIGN not in run:
            return True
        if kind in ("replace", "delete") and len(run) >= _LONGEST_VALUE and run in has:
            return True
    return False


def _counts_fit(claim: str, part: str) -> bool:
    """Whether each number counts the same thing on both sides, where the clause has several."""
    said = [(match[0], _counted(part[match.end() :])) for match in re.finditer(r"\d+", part)]
    if len(said) < 2:
        return True
    return all(
        not (thing := _counted(claim[match.end() :])) or (match[0], thing) in said
        for match in re.finditer(r"\d+", claim)
    )


def _counted(after: str) -> str:
    return next((sign for sign in after if sign.isalnum() and sign not in CHINESE_FUNCTION_SIGNS), "")


_OF_WHOM = re.compile("(?=(..)的(..))")
_KIN_SIGNS = frozenset("妈爸哥姐弟妹爷奶叔姨舅姑嫂")
_KIN = frozenset(
    """
    姐姐 哥哥 妹妹 弟弟 妈妈 爸爸 女儿 儿子 老公 老婆 丈夫 妻子 朋友 同事 奶奶 爷爷 外婆 母亲 父亲 男友 女友
    老板 邻居 表姐 表哥 堂妹 室友
    """.split()
)


KIN = _KIN | _KIN_SIGNS
"""Whom somebody may be asked about instead of themselves."""


def meaning_signs(text: str) -> str:
    """The signs that mean something, with numerals as one sign each."""
    for word in CHINESE_NO_MARKERS:
        text = text.replace(word, "")
    for pattern in CHINESE_MARKERS.values():
        text = pattern.sub("", text)
    digits = re.sub(r"\d+", "\ue001", in_digits(text))
    return "".join(
        sign for sign in digits if (sign.isalnum() or sign in "\ue000\ue001") and sign not in CHINESE_FUNCTION_SIGNS
    )


def _chinese_markers(text: str) -> set[Marker]:
    for word in CHINESE_NO_MARKERS:
        text = text.replace(word, "")
    return {marker for marker, pattern in CHINESE_MARKERS.items() if pattern.search(text)}


def _common(one: str, other: str) -> tuple[int, bool]:
    """How long their longest common subsequence is, and whether the one who speaks is in it."""
    other = other[:_LONGEST_COMPARED]
    last = [(0, False)] * (len(other) + 1)
    for sign in one[:_LONGEST_COMPARED]:
        row = [(0, False)]
        for at, against in enumerate(other):
            if sign == against:
                length, names_speaker = last[at]
                row.append((length + 1, names_speaker or sign == _SPEAKER_SIGN))
            else:
                row.append(last[at + 1] if last[at + 1][0] >= row[at][0] else row[at])
        last = row
    return last[-1]
