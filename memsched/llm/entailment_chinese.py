"""Entailment in Chinese: the same rules as entailment.py, by signs in their order, for words have no borders."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Literal

from memsched.llm.clauses import without_quotations
from memsched.llm.entailment_words import CHINESE_FUNCTION_SIGNS, CHINESE_MARKERS, CHINESE_NO_MARKERS, Marker

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
_SUBJECT = re.compile(r"\W*(?:我|你|他|她|它|咱|大家|[^，。]{0,3}(?:妈|爸|哥|姐|弟|妹|儿|孩|老公|老婆|朋友|同事))")
"""With which a clause begins that has a subject of its own."""
_MONEY = re.compile(r"(?<=[\d百千万十一二三四五六七八九])块(?:钱)?(?![地石肉])")
_LONGEST_VALUE = 2
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
_NUMERAL = re.compile("[零\u3007一二两三四五六七八九十百千万]+")
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
    return _NUMERAL.sub(lambda match: chinese_number(match[0]), text)


def doubt_in_chinese(claim: str, text: str, speaker: str, *, by_user: bool) -> ChineseDoubt | None:
    """Why a text does not say what a claim says (a fixed word for a counter), or None."""
    names = [speaker] if speaker else []
    by = "|".join(map(re.escape, sorted({*names, "用户"}, key=len, reverse=True)))
    told = re.sub(by if by_user else "|".join(map(re.escape, names)) or r"(?!)", _SPEAKER_SIGN, claim)
    if "用户" in told:
        return "speaker"
    found: list[tuple[int, ChineseDoubt | None]] = []
    told = in_one_way(told)
    for sentence in _CHINESE_SENTENCE.findall(in_one_way(without_quotations(text))):
        asks = _asks(sentence)
        conditions = _chinese_markers(sentence) & {Marker.CONDITION}
        for part, halves in _parts(sentence):
            if halves and not any(_is_mostly_told(half, told) for half in halves):
                continue
            doubt, extra = _doubt_about_chinese(told, part, asks, conditions, sentence)
            if doubt != "words":
                found.append((extra, doubt))
    # The clause that says least beside it is the one that it is about.
    return min(found, key=lambda each: each[0])[1] if found else "words"


@dataclass(frozen=True, slots=True)
class ChineseClause:
    """A part between commas, with what changes its meaning."""

    text: str
    markers: frozenset[Marker]
    asks: bool = False


def chinese_clauses(text: str) -> list[ChineseClause]:
    """The clauses of a text, without what is quoted; a condition counts for its whole sentence."""
    found = []
    for sentence in _CHINESE_SENTENCE.findall(in_one_way(without_quotations(text))):
        conditions = _chinese_markers(sentence) & {Marker.CONDITION}
        found += [
            ChineseClause(part, frozenset(_chinese_markers(part) | conditions), _asks(sentence))
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


def _parts(sentence: str) -> list[tuple[str, tuple[str, ...]]]:
    """Its clauses, and each two in a row that only state, with these two: the first may name what the second tells."""
    clauses = [part for part in _CHINESE_CLAUSE.split(sentence) if part.strip()]
    plain = [not _chinese_markers(part) for part in clauses]
    pairs = [
        (f"{one}{other}", (one, other))
        for at, (one, other) in enumerate(pairwise(clauses))
        if plain[at] and plain[at + 1] and not _SUBJECT.match(other)
    ]
    return [*((clause, ()) for clause in clauses), *pairs]


def _is_mostly_told(clause: str, claim: str) -> bool:
    """Whether a claim tells most of a clause: of two in a row, it must not take a bit of each."""
    has = meaning_signs(re.sub("我们?|咱们?", "", clause))
    return len(_longest_common(has, meaning_signs(claim))) > _HALF * len(has)


def _doubt_about_chinese(
    claim: str, part: str, asks: bool, conditions: set[Marker], sentence: str
) -> tuple[ChineseDoubt | None, int]:
    """Why a clause does not say it, and how many signs it has beside what is claimed."""
    said = re.sub("我们?|咱们?", _SPEAKER_SIGN, part)
    said = _TIME_FIRST.sub(rf"{_SPEAKER_SIGN}\1", said)
    wanted, has = meaning_signs(claim), meaning_signs(said)
    implied = "我" in sentence or not re.search("[他她它你]", said)
    if _SPEAKER_SIGN in wanted and _SPEAKER_SIGN not in has and implied:
        has = _SPEAKER_SIGN + has
    common = _longest_common(wanted, has)
    extra = len(has) - len(common)
    if len(common) < _SHARE * len(wanted) or (_SPEAKER_SIGN in wanted and _SPEAKER_SIGN not in common):
        return "words", extra
    if has.startswith(_SPEAKER_SIGN) and _SPEAKER_SIGN not in wanted and not wanted.startswith(has[1:3]):
        return "subject", extra
    if set(re.findall(r"\d+", in_digits(claim))) - set(re.findall(r"\d+", in_digits(part))):
        return "number", extra
    if not _counts_fit(in_digits(claim), in_digits(part)):
        return "number", extra
    if _is_another_value(wanted, has):
        return "words", 0
    if asks:
        return "question", extra
    says, found = _chinese_markers(claim), _chinese_markers(part) | conditions
    if Marker.NEGATION in says ^ found or Marker.ALMOST in says ^ found or Marker.ENDED in says ^ found:
        return "negation", extra
    if (found - says) & _WEAKENING:
        return "supposed", extra
    if any(each[1] in _KIN and each[1] in claim and each[2] not in claim for each in _OF_WHOM.finditer(part)):
        return "subject", extra
    at_home = re.match(f"{_SPEAKER_SIGN}的?家(.)", has)
    if at_home and "家" not in claim and at_home[1] not in claim:
        return "subject", extra  # "my family's dog"
    owned = re.search(f"{_SPEAKER_SIGN}的?([^{_SPEAKER_SIGN}]{{1,2}})", part.replace("我", _SPEAKER_SIGN))
    if owned and owned[1] in _KIN and owned[1] not in claim:
        return "subject", extra
    if owned and owned[1][0] in _KIN_SIGNS and owned[1][0] not in claim:
        return "subject", extra
    return None, extra


def _is_another_value(wanted: str, has: str) -> bool:
    """Whether something else stands where the clause has its value (Xining, where it was Xi'an), or elsewhere."""
    if wanted[-_LONGEST_VALUE:] not in has and not set(wanted[-_LONGEST_VALUE:]) & set(has):
        return True  # a claim ends with what it says of somebody
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


def _longest_common(one: str, other: str) -> str:
    """The longest common subsequence."""
    rows: list[list[str]] = [[""] * (len(other) + 1)]
    for sign in one[:200]:
        row = [""]
        for at, against in enumerate(other[:200]):
            row.append(rows[-1][at] + sign if sign == against else max(rows[-1][at + 1], row[at], key=len))
        rows.append(row)
    return rows[-1][-1] if len(other) <= 200 else rows[-1][min(len(other), 200)]
