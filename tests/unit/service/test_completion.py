"""A client's request for a chat completion: what of it is new, and where the cube's text goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


SYSTEM = '{"role": "system", "content": %s, "weight": 1E5}'


@pytest.mark.parametrize(
    "written",
    [
        '{"messages":[‖{"role":"user","content":"\\u00e9 é"}], "n": 1E5, "big": 12345678901234567890.10}',
        '\n{ "seed": 1.0e-2,\t"messages" : [ %s ], "stop": null }' % (SYSTEM % '"‖Be \\u0062rief."'),
        '{"messages": [%s, {"role": "user", "content": 2E0}]}' % (SYSTEM % "[‖ ]"),
        '{"messages": [%s]}' % (SYSTEM % '[‖{"type": "text", "text": "x", "y": 1e1}]'),
    ],
)
def test_what_is_not_changed_goes_on_as_it_was_written(written: str) -> None:
    before, after = written.split("‖")

    found = Completion.read((before + after).encode()).with_memory(TEXT).decode()

    assert found.startswith(before)
    assert found.endswith(after)
    assert len(found) > len(before + after)
    assert json.loads(found)["messages"][0]["role"] == "system"


def test_of_two_members_of_one_name_the_last_one_counts_as_it_was_read() -> None:
    request = Completion.read(
        b'{"messages": [{"role": "user"}], "n": 1E2, "messages": [{"role": "user", "content": 1}]}'
    )

    assert sent(request) == {
        "n": 100,
        "messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": 1}],
    }


def test_instructions_without_words_have_the_text() -> None:
    assert sent(completion({"role": "system", "content": None}))["messages"] == [{"role": "system", "content": TEXT}]
    assert sent(completion({"role": "system"}))["messages"] == [{"role": "system", "content": TEXT}]
