"""A client's request for a chat completion: what of it is new, and where the cube's text goes."""

from __future__ import annotations

import json
from typing import Any

from memsched.service.proxy import Completion

USER = {"role": "user", "content": "What does Rex eat?"}
TEXT = "salt\nhead\n"


def completion(*messages: dict[str, Any], **more: Any) -> Completion:
    return Completion.read(json.dumps({"model": "m", "messages": messages, **more}).encode())


def sent(request: Completion) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.with_memory(TEXT))
    return found


def test_the_text_is_a_message_of_its_own_where_the_client_has_no_instructions() -> None:
    assert sent(completion(USER, tools=[1], n=2))["messages"] == [{"role": "system", "content": TEXT}, USER]
    assert sent(completion(USER, tools=[1], n=2)) | {"messages": 0} == {
        "model": "m",
        "messages": 0,
        "tools": [1],
        "n": 2,
    }


def test_the_clients_instructions_stand_behind_it_in_one_message() -> None:
    plain = {"role": "developer", "content": "Be brief.", "name": "app"}
    parts = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    later = {"role": "system", "content": "Now in French."}

    assert sent(completion(plain, USER))["messages"] == [{**plain, "content": f"{TEXT}\n\nBe brief."}, USER]
    assert sent(completion(parts, USER))["messages"][0]["content"] == [
        {"type": "text", "text": f"{TEXT}\n\n"},
        {"type": "text", "text": "Be brief."},
    ]
    assert sent(completion(USER, later))["messages"][1:] == [USER, later]


def test_new_is_what_stands_behind_the_assistants_last_message() -> None:
    answer, result = {"role": "assistant", "content": "Carrots."}, {"role": "tool", "content": "3"}
    other = {"role": "user", "content": [{"type": "text", "text": "And Max?"}]}

    assert completion(USER).new == [USER]
    assert completion(USER, answer, other).new == [other]
    assert completion(USER, answer, result).new == [result]
    assert completion(USER, answer).new == []
    assert completion(USER, answer, other).question == "And Max?"
    assert completion(USER, answer, result).question == "What does Rex eat?"
    assert completion({"role": "user", "content": [{"type": "hologram"}]}).question == ""
    assert completion({"role": "user", "content": "\ud800"}).question == ""


def test_a_talk_has_one_name_however_long_it_gets() -> None:
    instructions = {"role": "system", "content": "Be brief."}
    longer = completion(instructions, USER, {"role": "assistant", "content": "Carrots."}, USER)

    assert completion(USER).session == longer.session
    assert completion({**USER, "content": "Hi"}).session != longer.session
