"""Dates in a question: the month, the day or the year that it names, as stretches of time.

Names of months in English, German and Spanish; Chinese dates; and those of numbers alone. What a question may write:

- "5/8/2023" is the 5th of August or the 8th of May: nobody says which, so it is both. With dots the day is first.
- A day that its month does not have (31 February) names the month; a month that there is not (2023-13) the year.
- Of days the first and the last count ("3 to 5 May"), of months all from the first to the last ("March to June").
- A year counts alone only where no month is named.
"""

from __future__ import annotations

import json
import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from importlib.resources import files
from itertools import islice, pairwise
from typing import Any
from unicodedata import normalize

from memsched.memory.search.constants import DAY, MONTH, ONLY_YEAR

_DATA: dict[str, Any] = json.loads(files("memsched.memory.search").joinpath("dates.json").read_text(encoding="utf-8"))
_MONTHS: dict[str, int] = {
    name: number
    for listed in _DATA["months"].values()
    for number, names in enumerate(listed, 1)
    for name in names.split()
}
_TIME_WORDS: dict[str, frozenset[str]] = {
    name: frozenset(
        word
        for language, listed in _DATA["months"].items()
        if any(name in names.split() for names in listed)
        for word in _DATA["time_words"][language].split()
    )
    for name in _MONTHS
}
"""What stands before a month, by its language: mayo is a sauce too, but not in Spanish."""
_WORDS, _FIRST_NAMES, _ONLY_AFTER_TIME_WORDS, _NAMES_WITH_A_CAPITAL, _ONLY_DATED, _BETWEEN, _BEFORE_A_NAME = (
    frozenset(_DATA[name].split())
    for name in (
        "words",
        "first_names",
        "only_after_time_words",
        "names_with_a_capital",
        "only_dated",
        "between",
        "before_a_name",
    )
)
_ARTICLES = frozenset(("the", "st", "nd", "rd", "th"))
_COUNTED = "|".join(map(re.escape, _DATA["counted"].split()))

_YYYY = r"(?:19|20)\d\d(?!\d)"
_ORDINAL = r"(?:st|nd|rd|th|er|o|\.)?"
_TO = r"(?:-|\u2013|\u2014|~|to|until|till|through|thru|bis|al|a|hasta|\u5230|\u81f3)"
_AND = r"(?:,?\s*(?:and|or|und|oder|y|e|o|\u548c|\u6216)|,)"
_WORD = re.compile("[A-Za-z\u00c0-\u024f]+")
_DIGIT = re.compile(r"\d")
_ENDS_SENTENCE = re.compile(r"(?:^|[.!?:;\u00bf\u00a1\n\"\u201c\u201e(])\s*$")
_LEFT = re.compile(
    rf"(?<![\w.,:/$\u20ac\u00a3#-])(?:(?P<year>{_YYYY}),?\s"
    rf"|(?:(?P<first>\d{{1,2}}){_ORDINAL}\s*(?:{_TO}|{_AND})\s*(?:the\s|el\s|den\s|dem\s|zum\s)?)?"
    rf"(?P<day>\d{{1,2}}){_ORDINAL}\s*(?P<of>of|day of|de)?\s?)$",
    re.IGNORECASE,
)
_RIGHT = re.compile(
    rf"\.?(?:\s(?:the\s)?(?P<day>\d{{1,2}}){_ORDINAL}(?![\d:%]|[.,]\d{{1,3}}(?!\d)|\s?(?:am|pm|uhr)\b)"
    rf"(?:\s?(?:{_TO}|{_AND})\s?(?:the\s)?(?P<last>\d{{1,2}}){_ORDINAL}(?![\d:]))?)?"
    rf"(?:,?\s?(?:of\s|in\s|del?\s(?:a\u00f1o\s)?|des\sjahres\s)?(?P<year>{_YYYY})|\s['\u2019](?P<yy>\d\d)(?!\d))?",
    re.IGNORECASE,
)
_NOTHING_MORE = re.compile(r"\s*(?:[.,;:!?)]|$)")
_LINK = re.compile(
    rf"\s*(?:(?P<to>{_TO})|{_AND})\s*(?:(?:the|el|in|im|en|on|am|de|dem|zum|von|vom)\s+)?", re.IGNORECASE
)
_NEAR = 32
_CHINESE_DIGITS = "\u3007\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d"
_CHINESE_NUMBER = r"\d{1,2}|[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341]{1,3}"
_CHINESE_YEAR = rf"(?<!\d)(?:(?:19|20)\d\d|[\u4e00\u4e8c][{_CHINESE_DIGITS}\u96f6]{{3}})\s?\u5e74"
_CHINESE = re.compile(
    rf"(?:(?P<year>{_CHINESE_YEAR})\s?)?(?<!\d)(?P<month>{_CHINESE_NUMBER})\s?\u6708\u4efd?"
    rf"(?:\s?(?P<day>{_CHINESE_NUMBER})\s?[\u65e5\u53f7\u865f])?"
)
_NUMERIC = re.compile(
    r"(?<![\w./-])(?:(?P<y1>(?:19|20)\d\d)(?P<sep>[-/.])(?P<m1>\d{1,2})(?:(?P=sep)(?P<d1>\d{1,2}))?"
    r"|(?P<d2>\d{1,2})\.\s?(?P<m2>\d{1,2})\.\s?(?P<y2>(?:19|20)\d\d)"
    r"|(?P<d3>\d\d)\.(?P<m3>\d\d)\.(?P<y3>\d\d)"
    r"|(?P<a>\d{1,2})(?P<sep2>[-/])(?P<b>\d{1,2})(?P=sep2)(?P<y4>(?:19|20)\d\d|\d\d))(?![\d/]|[.-]\d)"
)
_NUMBERS = re.compile(r"\d[-/.]\s?\d")
_YEAR = re.compile(
    r"(?<![A-Za-z\d.,$\u20ac\u00a3\u00a5#:/])(?<!\d-)(?P<year>(?:19|20)\d\d)(?:\s?[-\u2013/]\s?(?P<last>(?:19|20)\d\d))?"
    rf"(?![A-Za-z\d%$\u20ac\u00a3\u00a5]|[.,:]\d|\s?(?:{_COUNTED})(?![A-Za-z]))|{_CHINESE_YEAR}",
    re.IGNORECASE,
)

_BEFORE, _AFTER = timedelta(days=1.5), timedelta(days=8)
"""What happened on a day is told from a little before it to a week after."""
_MOST = 16
"""Dates of a question that count."""
_STRETCHES = 4
_READ = 20_000
"""Characters of a question that are looked at."""


@dataclass(frozen=True, slots=True)
class Named:
    """A date that a question names: each part is None where it does not say."""

    year: int | None
    month: int | None = None
    day: int | None = None

    @property
    def begin(self) -> datetime:
        return datetime(self.year or 1, self.month or 1, self.day or 1, tzinfo=UTC)

    @property
    def stretch(self) -> tuple[datetime, datetime] | None:
        """From and until; None for a month without a year."""
        if self.year is None:
            return None
        if self.day is not None:
            return self.begin - _BEFORE, self.begin + _AFTER
        if self.month is None:
            return self.begin, datetime(self.year + 1, 1, 1, tzinfo=UTC)
        return self.begin, datetime(self.year + self.month // 12, self.month % 12 + 1, 1, tzinfo=UTC)

    def score(self, said: datetime) -> float:
        if self.month is None:
            return MONTH * ONLY_YEAR if said.year == self.year else 0.0
        score = MONTH if said.month == self.month and self.year in (None, said.year) else 0.0
        if self.day is None:
            return score
        for year in (said.year - 1, said.year, said.year + 1) if self.year is None else (self.year,):
            if MINYEAR <= year <= MAXYEAR and self.day <= monthrange(year, self.month)[1]:
                begin = datetime(year, self.month, self.day, tzinfo=UTC)
                if -_BEFORE <= said - begin < _AFTER:
                    return score + DAY
        return score


@dataclass(frozen=True, slots=True)
class Dates:
    """What a question says of when: a month without a year may be of any."""

    named: tuple[Named, ...] = ()

    def score(self, at_ms: int) -> float:
        """What a memory said then gets for it."""
        if not self.named:
            return 0.0
        try:
            said = datetime.fromtimestamp(at_ms / 1000, UTC)
        except (OverflowError, ValueError, OSError):  # no time that a calendar knows
            return 0.0
        return max(each.score(said) for each in self.named)

    def stretches(self) -> Iterator[tuple[datetime, datetime]]:
        """Where to look, from and until: at most four, the earliest, and those that touch are one."""
        spans = sorted(each for each in (named.stretch for named in self.named) if each is not None)
        merged: list[tuple[datetime, datetime]] = []
        for since, until in spans:
            if merged and since <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(until, merged[-1][1])
            else:
                merged.append((since, until))
        return iter(merged[:_STRETCHES])


@dataclass(slots=True)
class _Said:
    """A month as it stands in the question, and the link ("to", "and") to the one before it, if they are one."""

    start: int
    end: int
    year: int | None
    month: int
    days: tuple[int, ...]
    between: bool = False
    link: str = ""


def dates_in(question: str) -> Dates:
    """The dates that a question names."""
    text = question[:_READ]
    if not text.isascii():
        text = normalize("NFKC", text)
    has_digits = _DIGIT.search(text) is not None
    found = list(_joined(text, islice(_by_name(text, has_digits=has_digits), _MOST)))
    if "\u6708" in text:
        found += _joined(text, islice(_in_chinese(text), _MOST))
    if has_digits and _NUMBERS.search(text) is not None:
        found += islice(_by_numbers(text), _MOST)
    if not any(each.month for each in found) and (has_digits or "\u5e74" in text):
        found += islice(_years(text), _MOST)
    return Dates(tuple(dict.fromkeys(found))[:_MOST])


def _by_name(text: str, *, has_digits: bool) -> Iterator[_Said]:
    before, near, last = "", -_NEAR, len(text)
    for match in _WORD.finditer(text):
        word = match[0].lower()
        month = _MONTHS.get(word)
        if month is None:
            if word in _BETWEEN:
                near = match.end()
            if word not in _ARTICLES:
                before = word
            continue
        start, end = match.span()
        left = _LEFT.search(text[max(0, start - _NEAR) : start]) if has_digits else None
        right = _RIGHT.match(text, end) if has_digits else None
        days = [each for found, names in ((left, ("first", "day")), (right, ("day", "last"))) if found
                for each in found.group(*names) if each]  # fmt: skip
        year = (right and right["year"]) or (left and left["year"]) or (right and right["yy"] and "20" + right["yy"])
        begin = start - len(left[0]) if left else start
        end = right.end() if right else end
        is_linked = (0 <= begin - last < _NEAR and _LINK.fullmatch(text, last, begin) is not None) or (
            match[0][0].isupper() and _goes_on(text, end)
        )
        sure = bool(year or (left and left["of"]) or is_linked)
        if sure or _is_month(text, match[0], before, start, end, dated=bool(days)):
            yield _Said(
                begin, end, int(year) if year else None, month, tuple(map(int, days)), 0 <= begin - near < _NEAR // 4
            )
            last = end
        before = word


def _is_month(text: str, word: str, before: str, start: int, end: int, *, dated: bool) -> bool:
    """Whether a word that may be another one, or a first name, is a month here."""
    name = word.lower()
    timed = before in _TIME_WORDS[name]
    capital = word[0].isupper() and (len(word) == 1 or not word.isupper())
    if name in _WORDS:
        if dated:
            return capital or timed or _NOTHING_MORE.match(text, end) is not None
        return capital and before not in _BEFORE_A_NAME and not _is_first(text, start)
    if dated or name in _ONLY_DATED:
        return dated
    if name in _ONLY_AFTER_TIME_WORDS:
        return timed
    if name in _NAMES_WITH_A_CAPITAL:
        return timed or not capital
    if name in _FIRST_NAMES:
        return timed or (capital and before not in _BEFORE_A_NAME and not _is_first(text, start))
    return True


def _goes_on(text: str, end: int) -> bool:
    """Whether another month is linked to the one that ends there: "March to June"."""
    link = _LINK.match(text, end, end + _NEAR)
    following = _WORD.match(text, link.end()) if link else None
    return following is not None and following[0].lower() in _MONTHS


def _is_first(text: str, start: int) -> bool:
    return start == 0 or _ENDS_SENTENCE.search(text[max(0, start - 4) : start]) is not None


def _in_chinese(text: str) -> Iterator[_Said]:
    for match in _CHINESE.finditer(text):
        month, day = _chinese_int(match["month"]), match["day"]
        if month and 1 <= month <= 12:
            year = _chinese_year(match["year"]) if match["year"] else None
            days = (_chinese_int(day) or 0,) if day else ()
            yield _Said(*match.span(), year, month, days)


def _joined(text: str, said: Iterable[_Said]) -> Iterator[Named]:
    """The dates of months that were found in order: those that are linked share a year, and a range is all of them."""
    listed = list(said)
    for one, next_one in pairwise(listed):
        link = _LINK.fullmatch(text, one.end, next_one.start) if next_one.start - one.end < _NEAR else None
        if link is not None:
            next_one.link = "to" if link["to"] or one.between else "and"
    for one, next_one in reversed(list(pairwise(listed))):
        if next_one.link and one.year is None and next_one.year is not None:
            one.year = next_one.year - (next_one.link == "to" and one.month > next_one.month)
    for one, next_one in pairwise(listed):
        if next_one.link and next_one.year is None and one.year is not None:
            next_one.year = one.year + (next_one.link == "to" and one.month > next_one.month)
    last: _Said | None = None
    for each in listed:
        if last is not None and each.link == "to" and not (last.days or each.days):
            yield from _months_between(last, each)
        for day in each.days or (0,):
            named = _date(each.year, each.month, day)
            if named is not None:
                yield named
        last = each


def _months_between(one: _Said, other: _Said) -> Iterator[Named]:
    years = 0 if one.year is None or other.year is None else other.year - one.year
    months = 12 * years + other.month - one.month
    if one.year is None:
        months %= 12
    for each in range(one.month, one.month + months - 1) if months <= 12 else ():
        yield Named(None if one.year is None else one.year + each // 12, each % 12 + 1)


def _by_numbers(text: str) -> Iterator[Named]:
    for match in _NUMERIC.finditer(text):
        year = int(match["y1"] or match["y2"] or match["y3"] or match["y4"])
        year += 2000 if year < 100 else 0
        if match["a"]:
            a, b = int(match["a"]), int(match["b"])
            orders = [(a, b), (b, a)]
        else:
            month, day = match["m1"] or match["m2"] or match["m3"], match["d1"] or match["d2"] or match["d3"]
            orders = [(int(month), int(day) if day else 0)]
        found = [each for month, day in orders if (each := _date(year, month, day)) is not None]
        exact = [each for each in found if each.day is not None]
        yield from exact or found or [Named(year)]


def _years(text: str) -> Iterator[Named]:
    for match in _YEAR.finditer(text):
        if match["year"]:
            first = int(match["year"])
            last = int(match["last"] or first)
            for year in range(first, last + 1) if last - first < _MOST else (first, last):
                yield Named(year)
        elif (chinese := _chinese_year(match[0])) is not None:
            yield Named(chinese)


def _date(year: int | None, month: int, day: int) -> Named | None:
    """That date; its month if there is no such day; None if there is no such month."""
    if not 1 <= month <= 12:
        return None
    last = monthrange(2000 if year is None else year, month)[1]
    return Named(year, month, day if 1 <= day <= last else None)


def _chinese_int(text: str) -> int | None:
    """Of "12" or its Chinese numeral, up to 99; None if it is none."""
    if text.isdecimal():
        return int(text)
    tens, ten, ones = text.rpartition("\u5341")
    if len(tens) > 1 or len(ones) > 1 or "\u5341" in tens or (not ten and len(text) > 1):
        return None
    return (_CHINESE_DIGITS.index(tens) if tens else int(bool(ten))) * (10 if ten else 0) + (
        _CHINESE_DIGITS.index(ones) if ones else 0
    )


def _chinese_year(text: str) -> int | None:
    digits = text.replace("\u5e74", "").strip().replace("\u96f6", "\u3007")
    year = int("".join(each if each.isdecimal() else str(_CHINESE_DIGITS.index(each)) for each in digits))
    return year if 1900 <= year < 2100 else None
