"""What is in a window, and whose windows change when something comes or goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.memories import memory

from memsched.memory.model import Memory
from memsched.memory.search.constants import REACH
from memsched.memory.search.window import Surroundings, name_stems, names_of

PLACES = st.tuples(st.integers(0, 5), st.integers(0, 6), st.sampled_from(["turn", "turn", "turn", "fact"]))


def at_places(places: list[tuple[int, int, str]]) -> list[Memory]:
    return [
        memory(f"word{number}", memory_id=f"m{number}", session_id="s", turn=turn, part=part, kind=kind)
        for number, (turn, part, kind) in enumerate(places)
    ]


@given(st.lists(PLACES, min_size=1, max_size=14), st.data())
def test_whose_window_changes_is_known_whatever_comes_or_goes(
    places: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    everything = at_places(places)
    gone = data.draw(st.sets(st.sampled_from([each.memory_id for each in everything])))
    left = [each for each in everything if each.memory_id not in gone]
    before, after = Surroundings(everything), Surroundings(left)

    known = {
        other.memory_id
        for each in everything
        if each.memory_id in gone
        for surroundings in (before, after)
        for other in surroundings.having(each)
    }

    for each in left:
        if before.words(each) != after.words(each):
            assert each.memory_id in known
        assert len(after.words(each)) <= 1 + 2 * REACH


def test_a_role_is_nobodys_name() -> None:
    assert name_stems("Ann Lee") == ("ann", "lee")
    assert name_stems("assistant") == ()
    assert list(names_of("", "My assistant is called Petra.")) == ["assist", "call", "petra"]


def test_what_is_not_known_lends_no_words_and_a_question_none_to_its_own_speaker_before_it() -> None:
    talk = [
        memory("Rain again.", memory_id="before", session_id="s", turn=0, speaker="Ann"),
        memory("Where is the car?", memory_id="question", session_id="s", turn=1, speaker="Ann"),
        memory("I don't know where the garage is.", memory_id="unknown", session_id="s", turn=2, speaker="assistant"),
        memory("Level 3.", memory_id="answer", session_id="s", turn=3, speaker="Ann"),
    ]
    words = {each.memory_id: Surroundings(talk).words(each).keys() for each in talk}

    assert "car" not in words["before"]
    assert "car" in words["answer"]
    assert not any("garag" in words[name] for name in ("before", "question", "answer"))
