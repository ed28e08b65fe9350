"""Questions and their answers, whatever came first."""

from __future__ import annotations

from random import Random

from memsched.policy.talk import Answered, TalkEvent, exchanges, latest, paired


def question(at: int, thread: str = "") -> TalkEvent:
    return TalkEvent(event_id=f"q{at}", at=at, text=f"question {at}", thread=thread)


def answer(at: int, thread: str = "") -> TalkEvent:
    return TalkEvent(event_id=f"a{at}", kind="answer", at=at, text=f"answer {at}", thread=thread)


def pairs(*talk: TalkEvent) -> list[tuple[str, str | None]]:
    found = exchanges(talk)
    return [(asked.event_id, None if given is None else given.event_id) for asked, given in found]


def test_an_answer_belongs_to_the_question_before_it() -> None:
    assert pairs(question(1), answer(2), question(3), question(4), answer(5)) == [
        ("q1", "a2"),
        ("q3", None),
        ("q4", "a5"),
    ]


def test_conversations_at_once_are_not_mixed_up() -> None:
    assert pairs(question(1, "x"), question(2, "y"), answer(3, "x"), answer(4)) == [("q1", "a3"), ("q2", "a4")]


def test_an_answer_to_no_question_stands_for_itself_and_the_last_of_several_counts() -> None:
    assert pairs(answer(1), question(2), answer(3), answer(4)) == [("a1", "a1"), ("q2", "a4")]
    assert pairs(question(2, "x"), answer(3, "y")) == [("q2", None), ("a3", "a3")]


def test_the_order_of_arrival_makes_no_difference() -> None:
    talk = [question(1), answer(2), question(3, "x"), answer(4, "x"), question(5), answer(6)]
    expected = pairs(*talk), latest(talk, 2)

    for seed in range(10):
        Random(seed).shuffle(talk)
        assert (pairs(*talk), latest(talk, 2)) == expected


def test_the_last_questions_stay_and_the_answers_of_their_time() -> None:
    talk = [event for at in range(0, 20, 2) for event in (question(at), answer(at + 1))]

    assert [event.event_id for event in latest(talk, 2)] == ["q16", "a17", "q18", "a19"]
    assert latest([answer(1), answer(2), answer(3)], 2) == [answer(2), answer(3)]


def test_of_several_answers_to_a_question_the_one_that_counts_stays_with_it() -> None:
    talk = [event for at in range(0, 30, 3) for event in (question(at), answer(at + 1), answer(at + 2))]

    assert [event.event_id for event in latest(talk, 2)] == ["q24", "a26", "q27", "a29"]


def test_what_the_log_tells_of_may_still_be_paired() -> None:
    talk = [event for at in range(0, 300, 3) for event in (question(at), answer(at + 1), answer(at + 2))]

    assert paired([*talk, *talk]) == talk[-192:]


def test_an_event_of_the_log_forgets_what_is_deleted() -> None:
    assert Answered(event_id="e", at=1, credited=["m", "n"]).without({"m"}).credited == ["n"]
