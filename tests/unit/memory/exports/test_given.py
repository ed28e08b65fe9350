"""What is given as messages may be one conversation of an export."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from memsched.errors import InvalidMessage
from memsched.memory.exports.formats import conversations_of
from memsched.memory.exports.given import conversation_given
from memsched.memory.ingest.turns import Talk, read
from memsched.memory.ingest.turns.times import moment_of


def node(name: str, parent: str | None, **message: Any) -> dict[str, Any]:
    return {"id": name, "parent": parent, "children": [], "message": message or None}


def said(role: str, text: str) -> dict[str, Any]:
    return {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}}


CHATGPT = {
    "conversation_id": "c-1",
    "create_time": 1700000000.0,
    "current_node": "n3",
    "mapping": {
        "n1": node("n1", None),
        "old": node("old", "n1", **said("user", "I live in Bergen.")),
        "n2": node("n2", "n1", **said("user", "I live in Oslo."), create_time=1700000001.5),
        "n3": node("n3", "n2", **said("assistant", "Noted.")),
    },
}
LOCOMO = {
    "conversation": {f"session_{n}": [] for n in (1, 2)}
    | {f"session_{n}_date_time": "1:56 pm on 8 May, 2023" for n in (1, 2)}
}


def test_a_conversation_of_chatgpt_is_its_current_branch_with_its_id_and_times() -> None:
    talk = conversation_given(CHATGPT, "messages")
    began = moment_of(talk.began, "messages")

    turns = read(talk.messages, Talk(began)).or_refuse().turns

    assert [(turn.text, turn.by_user) for turn in turns] == [("I live in Oslo.", True), ("Noted.", False)]
    assert talk.key == "c-1"
    assert turns[0].at.timestamp() == 1700000001.5


@pytest.mark.parametrize("given", [{"title": "Oslo", "mapping": 5}, LOCOMO, {"title": "Oslo"}, 7])
def test_what_is_no_conversation_or_several_is_refused(given: Any) -> None:
    with pytest.raises(InvalidMessage, match="^A message cannot be understood. messages "):
        conversation_given(given, "messages")


ANSWER = {"id": "a", "created": 1711121210, "choices": [{"message": {"role": "assistant", "content": "Noted."}}]}


class Completion(BaseModel):
    """As an SDK gives an answer."""

    choices: list[dict[str, Any]]


@pytest.mark.parametrize("answer", [ANSWER, Completion(choices=ANSWER["choices"])], ids=["object", "model"])
@pytest.mark.parametrize("before", [[], ["I live in Oslo."]])
def test_a_whole_answer_is_a_turn_by_the_assistant(answer: Any, before: list[str]) -> None:
    talk = conversation_given([*before, answer] if before else answer, "messages")

    *_, turn = read(talk.messages, Talk(datetime.now(UTC))).or_refuse().turns

    assert (turn.text, turn.by_assistant) == ("Noted.", True)


def test_a_list_that_ends_with_an_answer_is_a_conversation_of_an_export() -> None:
    (found,) = conversations_of([ANSWER, {"role": "user", "content": "I live in Oslo."}])

    assert not found.refused
    assert len(found.messages) == 2
