"""What of a conversation is kept, told apart, and never lost for being odd."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memsched.importing import judge
from memsched.memory.exports.conversation import Conversation
from memsched.memory.exports.read import conversations_in

DATA = Path(__file__).parents[1] / "data" / "exports"


def langchain(text: str) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": text}}


MESSAGES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a class as id": langchain,
    "parts": lambda text: {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]},
    "a value": lambda text: {"id": "m1", "from": "human", "value": text},
    "nested data": lambda text: {"type": "human", "data": {"content": text, "id": "m1"}},
    "no id": lambda text: {"role": "user", "content": text},
    "one id for all": lambda text: {"id": "same", "role": "user", "content": text},
}


@pytest.mark.parametrize("form", MESSAGES)
def test_what_is_said_tells_messages_apart(form: str) -> None:
    made = MESSAGES[form]
    before = judge(
        Conversation("c", began=1700000000, messages=[made(text) for text in ("I ski.", "I ski.", "I swim.")]),
        "ann",
        "home",
    )
    known = set(before.kept)

    again = judge(
        Conversation("c", began=1700000000, messages=[made("I ski."), made("I swim."), made("I sail.")]),
        "ann",
        "home",
        known,
    )

    assert len(known) == 3
    assert (again.known, len(again.kept)) == (2, 1)


ODD: tuple[Any, ...] = (
    None,
    "",
    "odd",
    0,
    1,
    -1,
    True,
    10**30,
    float("nan"),
    float("inf"),
    [],
    ["x"],
    {},
    {"a": 1},
    [[]],
    "\ud83d",
)


def changed(value: Any) -> Iterator[Any]:
    """The value with each of its parts, in turn, made odd or left out."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: odd} for odd in (*ODD, *changed(each)))
    if isinstance(value, list):
        for number, each in enumerate(value[:3]):
            yield from ([*value[:number], odd, *value[number + 1 :]] for odd in (*ODD, *changed(each)))


@pytest.mark.parametrize("name", ["chatgpt", "claude", "langchain", "locomo", "gemini"])
def test_no_odd_value_ends_an_import(tmp_path: Path, name: str) -> None:
    whole = json.loads((DATA / f"{name}.json").read_text())
    cases = list(changed(whole[0] if isinstance(whole, list) else whole))
    file = tmp_path / "export.json"
    file.write_text(json.dumps(cases[:: len(cases) // 150 or 1]))

    judged = [judge(found, "ann", "home") for found in conversations_in(file)]

    assert judged


def test_a_time_that_is_not_understood_refuses_only_what_has_none_of_its_own() -> None:
    timed = {"role": "user", "content": "I ski.", "timestamp": "2024-03-01T10:00:00Z"}
    untimed = {"role": "user", "content": "I swim."}

    judged = judge(Conversation("c", began="March 5", messages=[untimed, timed]), "ann", "home")

    assert list(judged.kept.values()) == [timed]
    assert len(judged.refused) == 1
    assert judged.refused[0].startswith("message 1: the conversation has a time that is not understood: 'March 5'")
