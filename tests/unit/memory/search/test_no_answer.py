"""What only asks, or only says that it does not know; and what merely looks so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memsched.memory.search.no_answer import asks_about_asking, no_answer

FILE = Path(__file__).parents[3] / "data" / "decisions" / "answers_nothing.jsonl"
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_what_answers_nothing_is_told_from_what_states_something(case: dict[str, str]) -> None:
    speaker = "assistant" if case["speaker"] == "assistant" else ""

    assert (no_answer(case["text"], speaker) != "") == (case["label"] == "nothing")


@pytest.mark.parametrize(
    "text",
    [
        "Did you know that my sister is a pilot?",
        "Did I tell you that my sister moved to Rome?",
        "My car is red, isn't it?",
        "The meeting is on Monday, right?",
        "I'm allergic to nuts, can I eat this?",
        "Guess what? I got the job!",
        "Where is it? I need it tomorrow.",
        "\u6211\u5bf9\u82b1\u751f\u8fc7\u654f\uff0c\u665a\u996d\u5403\u4ec0\u4e48\uff1f",
        "",
        "...",
    ],
)
def test_a_question_that_says_something_is_a_statement(text: str) -> None:
    assert no_answer(text) == ""


def test_only_an_assistant_has_nothing_to_say_where_it_does_not_know() -> None:
    text = "I don't know who my father is."

    assert no_answer(text, "assistant") == "unknown"
    assert no_answer(text, "Anna") == ""
    assert no_answer("I'm not sure. Could you tell me?", "assistant") == "unknown"
    assert no_answer("Which colour is the car?", "assistant") == "asks"


@pytest.mark.parametrize(
    "query", ["What did I ask about the car?", "Was habe ich gefragt?", "\u6211\u95ee\u4e86\u4ec0\u4e48\uff1f"]
)
def test_a_query_about_what_was_asked(query: str) -> None:
    assert asks_about_asking(query)
    assert not asks_about_asking("Where is the car?")
