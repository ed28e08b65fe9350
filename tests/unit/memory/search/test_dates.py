"""Dates in a question, in four languages, and what a memory gets for having been said then."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from memsched.memory.search.constants import DAY, MONTH, ONLY_YEAR
from memsched.memory.search.dates import dates_in


def said(question: str) -> str:
    """The dates of a question, as "2023-5-8", with "?" for what it does not say."""
    return " ".join(
        "-".join("?" if part is None else str(part) for part in (each.year, each.month, each.day))
        for each in dates_in(question).named
    )


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What did she do on the 8th of May 2023?", "2023-5-8"),
        ("May 8, 2023", "2023-5-8"),
        ("What happened on may 8 with Anna?", "?-5-8"),
        ("Where was she in May?", "?-5-?"),
        ("IN MARCH 2023", "2023-3-?"),
        ("2023-05-08 or 2023/05", "2023-5-8 2023-5-?"),
        ("Was war am 8. Mai 2023?", "2023-5-8"),
        ("Was war am 08.05.2023?", "2023-5-8"),
        ("Was war im J\u00e4nner, was im Ma\u0308rz?", "?-1-? ?-3-?"),
        ("\u00bfQu\u00e9 hizo el 8 de mayo de 2023?", "2023-5-8"),
        ("\u00bfQu\u00e9 hizo en sept. de 2023 o en julio?", "2023-9-? 2023-7-?"),
        ("2023\u5e745\u67088\u65e5\u505a\u4e86\u4ec0\u4e48", "2023-5-8"),
        ("\u4e8c\u3007\u4e8c\u4e09\u5e74\u5341\u4e8c\u6708\u4e09\u5341\u4e00\u65e5", "2023-12-31"),
        ("\uff12\uff10\uff12\uff13\u5e74\uff15\u6708", "2023-5-?"),
        ("Where did they go in 2022?", "2022-?-?"),
        ("2022\u5e74\u53bb\u4e86\u54ea\u91cc", "2022-?-?"),
        # nobody says whether the day or the month is first
        ("5/8/2023", "2023-5-8 2023-8-5"),
        ("25/8/2023", "2023-8-25"),
        # what there is not
        ("31 Feb 2023", "2023-2-?"),
        ("2023-13-01", "2023-?-?"),
        # several
        ("March to June 2023", "2023-3-? 2023-4-? 2023-5-? 2023-6-?"),
        ("December to February 2023", "2022-12-? 2023-1-? 2023-2-?"),
        ("between March and May", "?-3-? ?-4-? ?-5-?"),
        ("3-5 May 2023", "2023-5-3 2023-5-5"),
        ("3\u6708\u52305\u6708", "?-3-? ?-4-? ?-5-?"),
    ],
)
def test_dates_that_a_question_names(question: str, expected: str) -> None:
    assert said(question) == expected


@pytest.mark.parametrize(
    "question",
    [
        "May I ask what she did?",
        "I wonder. May I ask?",
        "MAY I ASK",
        "Who took part in the march for peace?",
        "How many may 20 people bring?",
        "Of those 3 may leave?",
        "What did April say to June?",
        "Does Jan like the august museum?",
        "\u00bfDe qu\u00e9 color es el mar?",
        "\u00bfQu\u00e9 dijo Julio?",
        "What is in mayo?",
        "Who paid 2000 euros, and who $2000?",
        "\u4e24\u4e2a\u6708, 5\u4e2a\u6708",
        "Version 1.2.3 at 10:30",
        "9999-99-99",
    ],
)
def test_what_only_looks_like_a_date_is_none(question: str) -> None:
    assert said(question) == ""


def test_a_memory_gets_something_for_the_month_the_day_and_less_for_the_year() -> None:
    day = dates_in("on the 30th of May 2023")

    assert day.score(ms("2023-05-28T12:00")) == MONTH + DAY
    assert day.score(ms("2023-05-28T11:59")) == MONTH
    assert day.score(ms("2023-06-06T23:59")) == DAY
    assert day.score(ms("2023-06-07T00:00")) == 0
    assert dates_in("in 2023").score(ms("2023-01-01")) == MONTH * ONLY_YEAR
    assert dates_in("in May").score(ms("1999-05-31")) == MONTH
    assert dates_in("on 1 January").score(ms("2022-12-31")) == DAY
    assert dates_in("in what?").score(ms("2023-01-01")) == 0


def test_stretches_have_a_year_and_are_few() -> None:
    assert list(dates_in("in May").stretches()) == []
    assert list(dates_in("December 2023").stretches()) == [
        (datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    ]
    assert list(dates_in("8 May 2023").stretches()) == [
        (datetime(2023, 5, 8, tzinfo=UTC) - timedelta(days=1.5), datetime(2023, 5, 16, tzinfo=UTC))
    ]
    assert list(dates_in("from 2021 or 2022").stretches()) == [
        (datetime(2021, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC))
    ]
    assert len(list(dates_in("".join(f"{year}-01-01, " for year in range(1900, 2099, 2))).stretches())) == 4


@pytest.mark.parametrize("at", [0, 10**30, -(10**30), -62_135_596_800_000, 253_402_300_799_000])
@pytest.mark.parametrize("question", ["29 Feb", "31 Dec", "1 January", "1 January 1900", "31 Dec 2099", "2099"])
def test_no_time_is_too_far_away(question: str, at: int) -> None:
    assert dates_in(question).score(at) >= 0
    assert len(list(dates_in(question).stretches())) <= 1


@pytest.mark.parametrize("unit", ["may ", "May and ", "1 ", "5/", "2023-", " ", "\u6708", "\u4e94", "8 to ", "\ufdfa"])
def test_a_question_of_any_length_takes_no_time(unit: str) -> None:
    began = time.perf_counter()
    dates_in(unit * (100_000 // len(unit)))
    assert time.perf_counter() - began < 1  # 0.06 s; quadratic time would be minutes
