"""Secrets over the turns of one call: what answers a question for one, and one that is said again without its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.counts import read_cases, wrong_of
from memsched import secrets_in_text
from memsched.messages import ScheduleMessageItem
from memsched.redaction import redacted, redacted_fields, redacted_message
from memsched.secret_values import RULES

CASES = read_cases(Path(__file__).parents[1] / "data/decisions/secrets.jsonl")
WRONG = frozenset(("secrets-h119", "secrets-i010"))
"""A story's password is taken for one, and "name:word" is none where only "login" is said after it."""
TUNED = [case for case in CASES if not case.is_aside and case.id not in WRONG]


@pytest.mark.parametrize("form", sorted({case.form for case in TUNED}))
def test_the_kinds_that_people_send_are_found_and_what_looks_alike_stays(form: str) -> None:
    wrong = wrong_of("secrets", [case for case in TUNED if case.form == form])

    assert [case.id for case in wrong] == []


def test_what_is_passed_over_because_a_word_is_not_there_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [case.text for case in CASES]
    texts += [text.upper() for text in texts[::3]]
    quickly = [secrets_in_text.mask(text) for text in texts]
    monkeypatch.setattr(secrets_in_text, "_NEEDS", {kind: [""] for kind in secrets_in_text._NEEDS})

    assert [text for text, shown in zip(texts, quickly, strict=True) if secrets_in_text.mask(text) != shown] == []


@pytest.mark.parametrize("kind", ["tokens", "glued"])
def test_no_token_is_shorter_than_what_is_looked_for_first(kind: str) -> None:
    for pattern in RULES[kind]:
        assert re._parser.parse(pattern).getwidth()[0] >= secrets_in_text.SHORTEST_TOKEN, pattern  # type: ignore[attr-defined]


def turns(*texts: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def message(**fields: Any) -> ScheduleMessageItem:
    return ScheduleMessageItem(**{"user_id": "u", "mem_cube_id": "c", "label": "add", "content": ""} | fields)


def test_a_secret_of_one_turn_is_hidden_in_the_turns_before_and_after_and_in_metadata() -> None:
    said = turns("Is kestrel88 long enough?", "For what?", "For my login, the password is kestrel88.", "Rather short.")
    given = message(
        content="kestrel88, as I said",
        user_name="kestrel88",
        chat_history=said,
        info={"metadata": {"note": "kestrel88!", "kestrel88": 1, "tags": ["x", "kestrel88"]}, "memory_id": "kestrel88"},
    )

    plain, dropped = redacted_message(given, "mask"), redacted_message(given, "drop")

    assert plain.chat_history[0]["content"] == "Is [password] long enough?"
    assert plain.info == {
        "metadata": {"note": "[password]!", "[password]": 1, "tags": ["x", "[password]"]},
        "memory_id": "kestrel88",
    }
    assert (plain.content, plain.user_name) == ("[password], as I said", "[password]")
    assert [each["content"] for each in dropped.chat_history] == ["", "For what?", "", "Rather short."]
    assert redacted_message(given, "keep") is given
    assert redacted_message(plain, "mask") is plain


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (turns("My PIN is 1984.", "Were you born in 1984?"), "Were you born in 1984?"),
        (turns("user: postgres, password: postgres", "postgres 16 is out"), "postgres 16 is out"),
        (turns("My PIN is 7531.", "That is 7531.50 euros"), "That is 7531.50 euros"),
        (turns("the password is swordfish", "swordfishes swim"), "swordfishes swim"),
    ],
)
def test_a_year_a_word_of_every_day_and_a_part_of_something_else_stay(said: Any, left: str) -> None:
    assert redacted_fields(said, "mask")[1]["content"] == left


def test_secrets_of_one_call_are_not_known_in_the_next() -> None:
    assert redacted("my password is swordfish, and swordfish it stays") == (
        "my password is [password], and [password] it stays"
    )
    assert redacted("swordfish is good with lemon") == "swordfish is good with lemon"


def test_a_letter_of_full_width_that_is_no_secret_stays_as_it_was() -> None:
    wide = "".join(chr(0xFEE0 + ord(each)) for each in "ABC7:hunter22x")

    assert redacted(f"{wide[:4]}\u7684\u5bc6\u7801\uff1a{wide[5:]}\uff0c\u597d") == (
        f"{wide[:4]}\u7684\u5bc6\u7801\uff1a[password]\uff0c\u597d"
    )
