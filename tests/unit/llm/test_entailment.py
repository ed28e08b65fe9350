"""Entailment: what a turn says is kept, what it does not say is not, in four languages and many forms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.claims import Claim, judged
from memsched.llm import entailment, entailment_subjects, said_turn, tokens
from memsched.llm.clauses import Clause, clauses_of
from memsched.llm.entailment import doubt_about
from memsched.llm.entailment_chinese import chinese_number
from memsched.llm.extraction import verified
from memsched.llm.open_claims import is_open
from memsched.llm.quotations import without_quotations
from memsched.llm.said_turn import SaidTurn
from memsched.llm.schemas import ExtractedMemory, Extraction

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


def test_of_claims_that_turn_what_was_said_none_is_stored_unasked_and_no_true_one_refused() -> None:
    """Another's kin and words, denials, exchanged things, former times, and what a question tells by the way."""
    lines = _FILE.with_name("claims_doubted.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [judged(Claim(**json.loads(line))) for line in lines]
    false = [each for each in outcomes if each.claim.label == "unsupported"]

    assert [each.claim.id for each in false if each.kept] == []
    assert sum(each.is_open for each in false) <= 0.2 * len(false)
    assert [each.claim.id for each in outcomes if each not in false and not (each.kept or each.is_open)] == []


def test_none_is_stored_of_a_season_or_a_person_that_nobody_named() -> None:
    """Answers to questions about others, what else than was said, and what is told as a question: five languages."""
    lines = _FILE.with_name("claims_forms.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [judged(Claim(**json.loads(line))) for line in lines]
    false = [each for each in outcomes if each.claim.label == "unsupported"]
    refused = [each for each in outcomes if each not in false and not (each.kept or each.is_open)]

    assert [each.claim.id for each in false if each.kept] == []
    assert len(refused) <= 0.1 * (len(outcomes) - len(false)), refused


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
        ("你多大了？", "三十四", "用户34岁。", True),
        ("您多大年纪了？", "六十", "用户今年六十岁。", True),
        ("你多大了？", "三十四", "用户35岁。", False),
        ("你儿子几岁了？", "四", "用户的儿子4岁。", True),
        ("你儿子几岁了？", "四", "用户4岁。", False),
        ("你多高？", "一米八", "用户身高1米8。", True),
    ],
)
def test_a_short_answer_says_what_it_was_asked(asked: str, answer: str, claim: str, *, believed: bool) -> None:
    assert (doubt_about(claim, SaidTurn(answer, asked=asked)) is None) == believed


NOT_SO = [
    ("Ann owes me 5", "I owe Ann 5"),
    ("Ann owes me 5 euros.", "The user owes Ann 5 euros."),
    ("Ann owes me 5 euros.", "The user is in debt to Ann for 5 euros."),
    ("I owe Ann 5 euros", "Ann owes the user 5 euros"),
    ("Ann lent me 50 euros.", "The user lent Ann 50 euros."),
    ("I lent Ann 50 euros.", "The user owes Ann 50 euros."),
    ("Ben gave me a bike.", "The user gave Ben a bike."),
    ("Ann schuldet mir 5 Euro.", "Der Nutzer schuldet Ann 5 Euro."),
    ("Ann me debe 5 euros.", "El usuario le debe 5 euros a Ann."),
    ("小王欠我五百块", "用户欠小王五百块"),
    ("pretend you are a doctor", "The user is a doctor."),
    ("Let's play: I am a pirate", "The user is a pirate."),
    ("Let's role-play: I'm a nurse and you are my patient.", "The user is a nurse."),
    ("In this game I am a wizard.", "The user is a wizard."),
    ("Lass uns spielen: ich bin ein Pirat.", "Der Nutzer ist ein Pirat."),
    ("Tu so, als wärst du Arzt.", "Der Nutzer ist Arzt."),
    ("Juguemos: yo soy un pirata.", "El usuario es un pirata."),
    ("我们来玩角色扮演：我是海盗", "用户是海盗"),
    ("妹は東京に住んでいる", "ユーザーは東京に住んでいる"),
    ("うちの妹は東京に住んでいる", "The user lives in Tokyo."),
    ("田中さんは東京に住んでいる", "用户住在东京。"),
    ("友達の犬は五歳です", "ユーザーの犬は五歳です"),
    ("妹は東京に住んでいる。私は大阪に住んでいる。", "ユーザーは東京に住んでいる"),
    ("You know I'm not a vegetarian, don't you?", "The user is a vegetarian."),
    ("Do you know if I'm a vegetarian?", "The user is a vegetarian."),
    ("You know Ann is a vegetarian, don't you?", "The user is a vegetarian."),
]
MAY_BE_SO = [
    ("Ann lent me 50 euros.", "The user borrowed 50 euros from Ann."),
    ("Ann lent me 50 euros.", "The user owes Ann 50 euros."),
    ("Ann helped me move.", "The user was helped by Ann."),
    ("I visited Ann and Ann visited me.", "Ann visited the user."),
    ("Seit Mai pendle ich nach Kassel.", "Der Nutzer pendelt seit Mai nach Kassel."),
    ("I like role-playing games.", "The user likes role-playing games."),
    ("妹は東京に住んでいる", "ユーザーの妹は東京に住んでいる"),
    ("東京に住んでいます。", "ユーザーは東京に住んでいます。"),
    ("私は妹と東京に住んでいる", "ユーザーは東京に住んでいる"),
    ("You know I'm a vegetarian, don't you?", "The user is a vegetarian."),
    ("You remember I'm allergic to nuts, don't you?", "The user is allergic to nuts."),
    ("你知道我吃素，对吧？", "用户吃素。"),
]


@pytest.mark.parametrize(
    ("said", "claim", "may_be"), [*((*each, False) for each in NOT_SO), *((*each, True) for each in MAY_BE_SO)]
)
def test_who_does_it_to_whom_in_earnest_and_of_whom_it_is_said(said: str, claim: str, *, may_be: bool) -> None:
    turn = SaidTurn(said)
    doubt = doubt_about(claim, turn)

    assert (doubt is None or is_open(claim, turn, doubt)) == may_be


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


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often a text is taken apart, and two words are compared."""
    done: Counter[str] = Counter()

    def read(text: str, *args: Any, **more: Any) -> Iterator[Clause]:
        done["texts"] += 1
        return clauses_of(text, *args, **more)

    def is_same(one: tokens.Token, other: tokens.Token) -> bool:
        done["words"] += 1
        return compared(one, other)

    compared = tokens.is_same
    monkeypatch.setattr(said_turn, "clauses_of", read)
    monkeypatch.setattr(tokens, "is_same", is_same)
    monkeypatch.setattr(entailment, "is_same", is_same)
    monkeypatch.setattr(entailment_subjects, "is_same", is_same)
    return done


LIST = "I like nuts and Ann plays the piano in Rome, "
CLAIMS_OF_ONE_TURN = [
    f"The user {does} {what} in {where}."
    for does in ("likes", "sold")
    for what in ("nuts", "pianos")
    for where in ("Rome", "Oslo", "May", "2024", "spring")
]


def test_a_turn_is_taken_apart_once_for_all_that_is_claimed_of_it(work: Counter[str]) -> None:
    turn = (LIST * 150)[:6000]
    extraction = Extraction(
        memories=[ExtractedMemory(kind="fact", text=text, quote=LIST, source_turns=[0]) for text in CLAIMS_OF_ONE_TURN]
    )

    verified(extraction, [turn], speakers=["Ann"], unsure=[])

    assert 1 <= work["texts"] <= 2, "its text, and its text with what stands before it"


@pytest.mark.parametrize(
    "piece",
    [
        LIST,
        "I like nuts. ",
        "and leave, ",
        "and not nuts, ",
        "7 7 nuts 7 ",
        "nuts ",
        "\u6211\u559c\u6b22\u575a\u679c\uff0c\u6211\u5988\u4f4f\u5728\u6b66\u6c49\u3002",
    ],
    ids=["clauses", "sentences", "verbs", "denials", "numbers", "word", "chinese"],
)
def test_the_work_for_a_claim_grows_no_faster_than_its_turn(piece: str, work: Counter[str]) -> None:
    """At most so many comparisons as the turn has characters, and in twice the turn twice as many."""
    claim = "The user likes 7 nuts and leaves Rome on Sunday."
    needed = []
    for size in (6_000, 12_000, 24_000):
        turn = SaidTurn((piece * size)[:size], "Ann")
        doubt = doubt_about(claim, turn)
        work.clear()
        assert doubt_about(claim.replace("Sunday", "Monday"), turn) == doubt
        needed.append(work["words"])
        assert needed[-1] <= size

    assert all(later <= 2.2 * earlier + 200 for earlier, later in pairwise(needed))


@pytest.mark.parametrize(
    "piece",
    [
        "translate this ",
        "please translate ",
        "\u300c",
        "\u628a\u8fd9\u7ffb\u8bd1",
        "translat",
        "a'",
        "it turns out ",
        "and not nuts, ",
        "and leave ",
        "write a story ",
        "\u5199\u4e00\u9996",
    ],
)
def test_a_text_of_100_kb_is_read_to_its_end_however_it_repeats_itself(piece: str) -> None:
    """Quadratic, each of these would take minutes: the test's own limit of time tells."""
    turn = SaidTurn((piece * 100_000)[:100_000], "Ann")
    assert doubt_about("The user likes jazz.", turn) is not None


@pytest.mark.parametrize("said", [f"half past {'9' * 5000}", "\u4e07" * 5000, "half past \U00010a40"])
def test_numbers_that_are_none_are_read_as_words(said: str) -> None:
    assert doubt_about("The user gets up at half past 9.", SaidTurn(said)) is not None


@pytest.mark.parametrize(
    ("said", "claim"),
    [
        ("Write a poem in which I am a pirate.", "User is a pirate."),
        ("Please draft a letter saying that I quit my job.", "User quit their job."),
        ("Make up a dialogue where I work as a spy.", "User works as a spy."),
        ("Give me a scene in which I own a castle.", "User owns a castle."),
        ("In the game I am a wizard.", "User is a wizard."),
        ("For this exercise I'm a customer.", "User is a customer."),
        ("Schreib ein Gedicht, in dem ich Pirat bin.", "Der Nutzer ist Pirat."),
        ("Im Spiel bin ich Pirat.", "Der Nutzer ist Pirat."),
        ("Escribe un cuento en el que soy pirata.", "El usuario es pirata."),
        (
            "\u5199\u4e00\u9996\u8bd7\uff0c\u91cc\u9762\u6211\u662f\u6d77\u76d7\u3002",
            "\u7528\u6237\u662f\u6d77\u76d7\u3002",
        ),
        (
            "\u5199\u4e00\u4e2a\u6211\u4f4f\u5728\u706b\u661f\u4e0a\u7684\u6545\u4e8b\u3002",
            "\u7528\u6237\u4f4f\u5728\u706b\u661f\u4e0a\u3002",
        ),
    ],
)
def test_what_is_to_stand_in_a_text_or_is_so_in_a_game_is_not_so_of_oneself(said: str, claim: str) -> None:
    assert doubt_about(claim, SaidTurn(said)) is not None


@pytest.mark.parametrize(
    ("said", "claim"),
    [
        ("I write a blog where I review restaurants in Rome.", "User reviews restaurants in Rome."),
        ("Write to my landlord; I live at 5 Elm Street.", "User lives at 5 Elm Street."),
        ("Write a poem in which I am a pirate. I live in Rome.", "User lives in Rome."),
        ("I work for a company where I am a manager.", "User is a manager."),
    ],
)
def test_what_stands_beside_an_order_for_a_text_is_said(said: str, claim: str) -> None:
    assert doubt_about(claim, SaidTurn(said)) is None


@pytest.mark.parametrize(
    ("said", "stated"),
    [
        ("I live in Rome. Translate! This!", " Translate! This!"),
        ("I live in Rome. Can you translate both of this? \n", " Can you translate both of this? \n"),
        ("Translate this. I live in Rome.", "Translate this. I live in Rome."),
        ("Please translate: I live in Rome.", "Please translate:"),
        ("It is so: I live in Rome.", "It is so: I live in Rome."),
        ("He said \u201eI live in Rome\u201c, and \u300copened", "He said  , , and \u300copened"),
    ],
)
def test_what_is_given_to_be_worked_on_or_quoted_is_left_out(said: str, stated: str) -> None:
    assert without_quotations(said) == stated
