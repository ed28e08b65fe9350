"""Entailment: what a turn says is kept, what it does not say is not, in four languages and many forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.claims import Claim, judged
from memsched.llm.entailment import SaidTurn, doubt_about
from memsched.llm.entailment_chinese import chinese_number
from memsched.llm.open_claims import is_open

_FILE = Path(__file__).parents[2] / "data" / "decisions" / "claims.jsonl"
CASES = [json.loads(line) for line in _FILE.read_text(encoding="utf-8").splitlines()]


def doubts(case: dict[str, Any]) -> list[str | None]:
    """Of each turn, why it does not say what is claimed."""
    found: list[str | None] = []
    for turn in case["source"]:
        speaker = "" if turn["speaker"] == "user" else turn["speaker"]
        said = SaidTurn(turn["text"], speaker, not speaker, speaker == "assistant")
        found.append(doubt_about(case["claim"], said))
    return found


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_claim_is_believed_if_a_turn_says_it(case: dict[str, Any]) -> None:
    assert (None in doubts(case)) == (case["label"] == "supported"), case


def test_few_claims_are_judged_wrongly_that_were_written_before_the_rule() -> None:
    """Cases of many forms in four languages; ``python -m benchmarks decisions`` tells them by form and language."""
    more = [json.loads(line) for line in _FILE.with_name("claims_more.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong = {"supported": 0, "unsupported": 0}
    for case in more:
        wrong[case["label"]] += (None in doubts(case)) != (case["label"] == "supported")

    assert wrong["supported"] <= 0.1 * sum(case["label"] == "supported" for case in more)
    assert wrong["unsupported"] <= 0.1 * sum(case["label"] == "unsupported" for case in more)


def test_of_claims_that_say_it_otherwise_few_are_stored_wrongly_and_half_are_believed() -> None:
    """Paraphrases, short answers, several clauses: whoever wrote them did not know the rules."""
    fresh = [
        json.loads(line) for line in _FILE.with_name("claims_fresh.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    wrong = {"supported": 0, "unsupported": 0}
    for case in fresh:
        wrong[case["label"]] += judged(Claim(**case)).is_wrong

    assert wrong["supported"] <= 0.5 * sum(case["label"] == "supported" for case in fresh)
    assert wrong["unsupported"] <= 0.03 * sum(case["label"] == "unsupported" for case in fresh)


CLAIMS = ("claims", "claims_more", "claims_fresh", "claims_plain", "claims_turns")


def test_what_is_stated_is_believed_or_asked_about_and_of_the_rest_little() -> None:
    asked_of = unsupported = 0
    for name in CLAIMS:
        lines = _FILE.with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        outcomes = [judged(Claim(**json.loads(line))) for line in lines]
        true = [each for each in outcomes if each.claim.label == "supported"]
        false = [each for each in outcomes if each.claim.label == "unsupported"]
        assert sum(not each.kept and not each.is_open for each in true) <= 0.03 * len(true), name
        assert sum(each.kept for each in false) <= 0.05 * len(false), name
        asked_of += sum(each.is_open for each in false)
        unsupported += len(false)

    assert asked_of <= 0.27 * unsupported


@given(claim=st.text(max_size=40), said=st.text(max_size=40), before=st.text(max_size=20))
@example(claim=f"The user owes {'9' * 5000}.", said=f"I owe {'9' * 5000} at 7.", before="")
@example(claim="The user leaves at ²:00.", said="Leaving at ²:00, ٣.", before="")
def test_of_any_claim_it_can_be_told_whether_it_is_open(claim: str, said: str, before: str) -> None:
    assert is_open(claim, SaidTurn(said, before=before), "words") in (True, False)


@pytest.mark.parametrize(
    ("asked", "answer", "claim", "believed"),
    [
        ("What are the last four digits?", "0736", "The user's last four digits are 0736.", True),
        ("What are the last four digits?", "0736", "The user's last four digits are 0737.", False),
        ("Wann hast du Geburtstag?", "am 7.11.", "Der Nutzer hat am 7. November Geburtstag.", True),
        ("Do you smoke?", "no", "The user does not smoke.", True),
        ("Do you smoke?", "no", "The user smokes.", False),
        ("Where do you live?", "maybe Rome one day", "The user lives in Rome.", False),
        ("你住在哪里？", "北京", "用户住在北京。", True),
        ("你住在哪里？", "北京", "用户住在南京。", False),
    ],
)
def test_a_short_answer_says_what_it_was_asked(asked: str, answer: str, claim: str, *, believed: bool) -> None:
    assert (doubt_about(claim, SaidTurn(answer, asked=asked)) is None) == believed


@pytest.mark.parametrize(
    ("said", "claim"),
    [
        ("It turns out I am not allergic to nuts.", "Ann is not allergic to nuts."),
        ("Turns out that the shop is closed on Mondays.", "The shop is closed on Mondays."),
        ("I live in Rome and I don't like tea.", "Ann lives in Rome."),
        ("I live in Rome and I don't like tea.", "Ann doesn't like tea."),
        ("I'm vegetarian, I don't eat fish.", "Ann is vegetarian."),
        ("I have a cat named Tom, not a dog.", "Ann has a cat named Tom."),
        ("I never smoke, I run marathons and my son Leo plays chess.", "Ann runs marathons."),
        ("I never smoke, I run marathons and my son Leo plays chess.", "Ann's son Leo plays chess."),
        ("I'm 34, not married, and I teach maths in Graz.", "Ann is 34."),
        ("I'm 34, not married, and I teach maths in Graz.", "Ann teaches maths in Graz."),
        ("We fly to Lisbon on 3 May and can't wait.", "Ann flies to Lisbon on 3 May."),
        ("We got a puppy, Rex, on Sunday!", "Ann got a puppy named Rex."),
        ("I'm 34 and I've two kids.", "Ann is 34 years old."),
        ("my flight is at 9 on monday", "Ann's flight is on Monday at 9."),
        ("Das Auto habe ich verkauft.", "Ann hat das Auto verkauft."),
        ("The wedding is on 3 May.", "The wedding is on May 3rd."),
        ("婚礼定在6月18号。", "婚礼定于6月18日。"),
        ("I used to live in Bath but now I'm in Leeds.", "Ann lives in Leeds."),
        ("Our son Max just turned five.", "Ann's son Max is five years old."),
        ("I get up at half past five.", "Ann gets up at 5:30."),
        ("Den Führerschein habe ich mit dreißig gemacht.", "Ann hat den Führerschein mit 30 gemacht."),
    ],
)
def test_a_not_about_something_else_and_other_small_differences_do_no_harm(said: str, claim: str) -> None:
    assert doubt_about(claim, SaidTurn(said, "Ann")) is None


@pytest.mark.parametrize(
    ("said", "claim", "doubt"),
    [
        ("My brother's car is red.", "The user's car is red.", "subject"),
        ("El coche de mi hermano es rojo.", "El coche del usuario es rojo.", "subject"),
        ("You are a great help.", "The user is a great help.", "subject"),
        ("Do you like jazz?", "The user likes jazz.", "question"),
        ("Ich esse keine Nüsse.", "Der Nutzer isst Nüsse.", "negation"),
        ("My boss says I am lazy.", "The user is lazy.", "supposed"),
        ("Please translate: I live in a tower.", "The user lives in a tower.", "words"),
        ("I live in a tower. Can you translate this into French?", "The user lives in a tower.", "words"),
        ("Yeah sure, and I'm the queen of Spain.", "The user is the queen of Spain.", "supposed"),
        ("The boiler will be replaced in May.", "The boiler was replaced in May.", "supposed"),
        ("我妈住在武汉，我住在长沙。", "用户住在武汉。", "subject"),
        ("晓琳下周去西安。", "晓琳下周去西宁。", "words"),
        ("Antes vivía en Bilbao, ahora vivo en Lugo.", "El usuario vive en Bilbao.", "negation"),
        ("Estamos pensando en abrir una quesería.", "El usuario abrió una quesería.", "supposed"),
        ("I pretended to like the soup.", "The user likes the soup.", "supposed"),
        ("The rent went up to 900 euros.", "The rent went down to 900 euros.", "negation"),
    ],
)
def test_why_a_claim_is_doubted(said: str, claim: str, doubt: str) -> None:
    assert doubt_about(claim, SaidTurn(said)) == doubt


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("两千三", "2300"),
        ("十五", "15"),
        ("五", "5"),
        ("一万二", "12000"),
        ("三百零五", "305"),
    ],
)
def test_chinese_numerals(written: str, number: str) -> None:
    assert chinese_number(written) == number
