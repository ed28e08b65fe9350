"""The running theme as a mode of the mixture, and which request lets it speak alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from support.memories import FIRST, memory
from support.stories import HOUSE, RENOVATION

from memsched.memory.model import to_ms
from memsched.policy.running_theme import RUNNING_THEME, RunningTheme, vague_requests, with_running_theme
from memsched.policy.talk import Answered, TalkEvent
from memsched.policy.theme_cache import ThemeCache
from memsched.policy.themes import WINDOW, Told
from memsched.policy.value import MODES, Columns, Moment, Used, Valuation
from memsched.tiers.cube_cache import CubeCache

DAY = 86_400_000
TOLD = [Told(f"{number:03}", text, day * DAY) for number, (day, text) in enumerate([*HOUSE["en"], *RENOVATION["en"]])]


def columns(count: int) -> Columns:
    return Columns(np.zeros(count), np.zeros(count, dtype=np.int64), np.arange(count))


def question(number: int) -> TalkEvent:
    return TalkEvent(event_id=f"q{number}", at=number, text="?")


def answer(number: int) -> TalkEvent:
    return TalkEvent(event_id=f"a{number}", kind="answer", at=number, text="!")


def test_every_request_without_an_answer_is_vague_until_a_clear_one_has_none_either() -> None:
    def vague(*talk: TalkEvent, clear: Sequence[int] = (), log: Sequence[Answered] = ()) -> list[str]:
        return [each.event_id for each in vague_requests(talk, log, lambda asked, _: asked.at in clear)]

    def entry(number: int, credited: Sequence[str] = (), basis: str = "1.0.0") -> Answered:
        return Answered(event_id=f"q{number}", at=number, credited=list(credited), basis=basis)

    assert vague() == []
    assert vague(question(1)) == ["q1"]
    assert vague(question(1), clear=[1]) == []
    assert vague(question(1), answer(2)) == []
    assert vague(question(1), answer(2), question(3)) == ["q3"]
    assert vague(answer(1), question(3)) == ["q3"]
    assert vague(*map(question, range(1, 7))) == [f"q{number}" for number in range(1, 7)], "however many in a row"
    assert vague(question(1), question(2), answer(3), question(4)) == ["q1", "q4"]
    assert vague(*map(question, (1, 2, 3)), clear=[2]) == ["q1"], "who tells no answers would never be rid of it"
    many = [question(1), answer(2), *map(question, range(3, 15))]
    assert vague(*many[:5], clear=[3, 4]) == ["q5"], "who told answers is believed to tell the next"
    assert vague(*many, clear=range(3, 14)) == [], "but not for ever"
    assert vague(question(5), log=[entry(1), entry(4)]) == ["q5"], "the one before was vague too"
    assert vague(question(5), log=[entry(4, ["m"])]) == []
    assert vague(question(5), log=[entry(4, ["m"], "1.0.a5")]) == ["q5"], "it had an answer"


def test_it_knows_only_what_was_there_at_the_moment_and_puts_what_is_older_last() -> None:
    many = [*TOLD, *(Told(f"x{number}", f"The club needs {number} chairs.", 50 * DAY) for number in range(WINDOW))]
    of = columns(len(many))
    before, after = Moment(of, [], len(TOLD)), Moment(of, [Used("e", (3,), len(many), 50 * DAY)], len(many))
    rows, nothing = np.arange(len(TOLD)), np.empty((0, 8))

    then = RunningTheme(ThemeCache(many)).scores(before, rows, nothing)
    now = RunningTheme(ThemeCache(many)).scores(after, np.arange(len(many)), nothing)

    assert then.tolist() == RunningTheme(ThemeCache(TOLD)).scores(before, rows, nothing).tolist()
    assert len({round(each, 9) for each in now[: len(TOLD)]}) == 1
    assert now[: len(TOLD)].max() < now[-50:].min()


def test_it_takes_its_share_from_all_modes_and_gains_where_answers_use_the_running_theme() -> None:
    modes, of = with_running_theme(MODES, ThemeCache(TOLD)), columns(len(TOLD))
    may = np.ones(len(of), dtype=np.bool_)
    used = [Used(f"e{place}", (place,), len(TOLD), 33 * DAY) for place in (12, 10, 9, 7)]

    unasked, asked = (Valuation(modes).values(of, log, may) for log in ([], used))

    assert unasked.shares[RUNNING_THEME] == pytest.approx(0.3)
    assert sum(unasked.shares.values()) == sum(asked.shares.values()) == pytest.approx(1)
    assert asked.shares[RUNNING_THEME] > 0.3
    alone = asked.under(RUNNING_THEME)
    assert alone.best(4).tolist() == sorted([7, 9, 10, 12], reverse=True)
    assert alone.value.sum() == pytest.approx(1)
    assert alone.parts([12]) == [{RUNNING_THEME: asked.by_mode[-1][12]}]


def test_the_order_in_which_memories_come_changes_no_theme() -> None:
    memories = [memory(each.text, each.at / 60_000, session_id=f"day {each.at}") for each in TOLD]
    log = [Answered(event_id="e", at=to_ms(FIRST) + 32 * DAY, credited=[memories[7].memory_id])]
    found = []
    for order in (memories, memories[::-1], memories[5:] + memories[:5]):
        cube = CubeCache()
        for each in order:
            cube.put([each])
            cube.themes(log)
        values = cube.valuation.values(cube.columns(), cube.used(log), cube.available(), cube.generation)
        found.append((cube.themes(log).themes, values.value.tolist(), values.shares))

    assert found[0] == found[1] == found[2]
