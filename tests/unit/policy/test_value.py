"""The value of memories: a function of memories and log, that learns which mode foresees the answers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsched.policy.value import (
    FEATURES,
    MODES,
    Columns,
    Floats,
    LinearMode,
    Moment,
    Ordinals,
    Used,
    Valuation,
    Values,
    credited_by,
    mixture_of,
)


def columns(count: int, session_length: int = 20, seed: int = 0) -> Columns:
    chance = np.random.default_rng(seed)
    ordinals = np.arange(count)
    return Columns(np.round(chance.normal(size=count), 3), ordinals // session_length, ordinals % session_length)


def part(of: Columns, count: int) -> Columns:
    return Columns(of.value[:count], of.session[:count], of.place[:count])


def valued(of: Columns, log: Sequence[Used], may: Sequence[int] | None = None) -> Values:
    allowed = np.ones(len(of), dtype=np.bool_) if may is None else np.isin(np.arange(len(of)), may)
    return Valuation().values(of, log, allowed)


def walk(of: Columns, step: int, count: int) -> list[Used]:
    """Answers that use one memory after the other."""
    return [Used(f"e{number}", (number * step,), len(of)) for number in range(count)]


def feature(name: str, moment: Moment, row: int) -> float:
    return float(moment.features(np.array([row]))[0, FEATURES.index(name)])


def test_the_features_are_those_of_the_page() -> None:
    cube = columns(100)
    moment = Moment(cube, [Used("a", (10,), 50), Used("b", (41, 50), 100)], 100)

    assert feature("content", moment, 7) == cube.value[7]
    assert feature("age", moment, 99) == pytest.approx(-np.log(4))
    assert (feature("current", moment, 80), feature("current", moment, 79)) == (1, 0)
    near = 0.6 * (2**-0.6) + 0.6 / 2 * (9**-0.6) + 0.36 * 0.7 * (33**-0.6)  # 42: beside 41, 8 from 50, 32 from 10
    assert feature("near", moment, 42) == pytest.approx(np.log(0.05 + near))
    slow = 2**-0.6 + 0.5 * 9**-0.6 + 0.9 * 0.7 * 33**-0.6
    assert feature("slow", moment, 42) == pytest.approx(np.log(0.2 + slow))
    assert feature("use", moment, 10) == pytest.approx(np.log(1 + 3 * 2**-0.5))
    assert feature("drift", moment, 42) == pytest.approx(2**-0.5 - 0.5 * 9**-0.5)
    weights = np.array([1.0, 0.5, 0.85])
    back = np.array([2, 2, 2])  # 41 and 50 are two sessions back at 100, and 10 was at 50
    expected = np.log(0.05 + (weights * np.exp(-np.abs(2 - back))).sum() / weights.sum())
    assert feature("distance", moment, 42) == pytest.approx(expected)


def test_before_any_answer_content_and_age_decide() -> None:
    cube = columns(60)
    values = valued(cube, [])

    assert values.value.sum() == pytest.approx(1, abs=1e-6)
    assert values.shares == pytest.approx(
        {"continuing": 0.3, "anything": 0.6, "habitual distance": 0.05, "walking through": 0.05}
    )
    nothing = valued(columns(0), [])
    assert (nothing.best(9).tolist(), nothing.parts([])) == ([], [])


def test_what_may_not_be_near_is_worth_nothing() -> None:
    values = valued(columns(30), walk(columns(30), 1, 5), may=[3, 4])

    assert {int(ordinal) for ordinal in np.flatnonzero(values.value)} == {3, 4}
    assert valued(columns(30), [], may=[]).value.sum() == 0


@pytest.mark.parametrize(
    ("mode", "log"),
    [
        ("walking through", [Used(f"e{n}", (100 + n,), 400) for n in range(30)]),
        ("continuing", [Used(f"e{n}", (20 * n + 15,), 20 * n + 20) for n in range(20)]),
        ("habitual distance", [Used(f"e{n}", (20 * n + 3 * n % 20,), 20 * n + 100) for n in range(15)]),
    ],
)
def test_it_learns_which_mode_foresees_the_answers(mode: str, log: list[Used]) -> None:
    shares = valued(columns(400), log).shares

    assert max(shares, key=lambda name: shares[name]) == mode
    assert sum(shares.values()) == pytest.approx(1)


def test_where_answers_walk_through_the_talk_the_next_is_near_before_it_is_asked_for() -> None:
    log = [Used(f"e{n}", (100 + n,), 400) for n in range(30)]

    assert 130 in valued(columns(400), log).best(5)


def test_what_was_used_is_worth_more_than_its_like() -> None:
    cube = Columns(np.zeros(9), np.zeros(9, dtype=np.int64), np.arange(9))

    values = valued(cube, [Used("a", (4,), 9)])

    assert values.best(1).tolist() == [4]


EVENTS = st.lists(st.tuples(st.integers(0, 119), st.integers(0, 119)), max_size=12)


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(0, 5))
def test_what_was_computed_before_changes_no_value(drawn: list[tuple[int, int]], seed: int) -> None:
    cube, chance = columns(120, seed=seed), random.Random(seed)
    log = [Used(f"e{n}", (a, b) if a != b else (a,), 120) for n, (a, b) in enumerate(drawn)]
    may = np.ones(120, dtype=np.bool_)
    kept = Valuation()
    for known in sorted(chance.sample(range(1, 121), 5)):  # as the talk went on, answer by answer
        for so_far in range(len(log)):
            past = [Used(e.event_id, e.credited, known) for e in log[:so_far] if max(e.credited) < known]
            kept.values(part(cube, known), past, may[:known], "same")

    at_once, after_all = Valuation().values(cube, log, may), kept.values(cube, log, may, "same")

    assert np.array_equal(at_once.value, after_all.value)
    assert at_once.shares == after_all.shares


def test_equal_values_are_ranked_newer_first() -> None:
    values = Values(np.array([0.1, 0.2, 0.2, 0.1]), {}, np.zeros((0, 4)))

    assert values.best(4).tolist() == [2, 1, 3, 0]
    assert [values.best(count, np.array([1, 1, 1, 0]) > 0).tolist() for count in (1, 2)] == [[2], [2, 1]]


def test_the_parts_of_a_value_add_up_to_it() -> None:
    values = valued(columns(50), walk(columns(50), 2, 6))

    for ordinal, parts in zip((0, 10, 49), values.parts([0, 10, 49]), strict=True):
        assert parts.keys() == values.shares.keys()
        assert sum(parts.values()) == pytest.approx(float(values.value[ordinal]), abs=1e-8)


def test_a_fifth_mode_of_any_form_takes_its_part() -> None:
    class Oldest:
        name, prior = "oldest", 0.3

        def scores(self, moment: Moment, rows: Ordinals, features: Floats) -> Floats:
            result: Floats = -1.0 * rows
            return result

    may, log = np.ones(200, dtype=np.bool_), [Used(f"e{n}", (n % 2,), 200) for n in range(20)]

    values = Valuation([*MODES, Oldest()]).values(columns(200), log, may)

    assert max(values.shares, key=lambda name: values.shares[name]) == "oldest"
    assert set(values.best(2).tolist()) == {0, 1}


def test_a_mode_or_a_feature_can_be_left_out() -> None:
    assert [mode.name for mode in mixture_of(without="anything")] == [
        "continuing",
        "habitual distance",
        "walking through",
    ]
    for mode in mixture_of(blind_to="use"):
        assert isinstance(mode, LinearMode)
        assert mode.weights[FEATURES.index("use")] == 0
    assert len(mixture_of()) == 4


def test_an_answer_is_credited_to_what_it_shares_words_with() -> None:
    hits = [("a", 1.0), ("b", 0.9), ("c", 0.5)]

    assert credited_by(hits, {}) == ["a", "b"]
    assert credited_by(hits, {"c": 1.0}) == ["c"]
    assert credited_by(hits, {"b": 0.8, "c": 1.0}) == ["b"], "1.7 and 1.5"
    assert credited_by(hits, {"a": 0.5, "b": 0.5}) == ["a", "b"]
    assert credited_by([], {"a": 1.0}) == []
