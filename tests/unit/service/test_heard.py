"""What a model's answer says, read from the bytes that pass through the proxy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memsched.memory.ingest.turns import MAX_UTTERANCE_CHARACTERS
from memsched.service.heard import Heard


def delta(text: Any, index: int = 0, finish: str | None = None, **more: Any) -> str:
    choice = {"index": index, "delta": {"content": text, **more}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


DONE = "data: [DONE]\n\n"
STREAMS = {
    "in pieces": (delta("Rex ") + delta("barks.") + DONE, "Rex barks.", True),
    "ended by a reason alone": (delta("Rex barks.", finish="stop"), "Rex barks.", True),
    "with other line ends and comments": (
        ": hello\r\n" + delta("Rex barks.").replace("\n", "\r\n") + DONE,
        "Rex barks.",
        True,
    ),
    "with usage behind it": (
        delta("Rex barks.", finish="stop") + 'data: {"choices": [], "usage": {}}\n\n' + DONE,
        "Rex barks.",
        True,
    ),
    "without a line end": (delta("Rex barks.") + DONE.strip(), "Rex barks.", True),
    "whose last piece has no line end": (delta("Rex barks.") + delta("", finish="stop").strip(), "Rex barks.", True),
    "with thoughts": (delta("<think>A dog") + delta("?</think>Rex barks.") + DONE, "Rex barks.", True),
    "with what no text holds": (delta("Rex\0 \ud83d") + delta("\ude00 barks.") + DONE, "Rex \ufffd\ufffd barks.", True),
    "in parts": (delta([{"type": "text", "text": "Rex barks."}]) + DONE, "Rex barks.", True),
    "that only calls a tool": (delta(None, tool_calls=[{"index": 0}]) + delta(None, finish="tool_calls"), "", True),
    "with a second choice": (delta("Rex") + delta("Max", index=1) + DONE, "", True),
    "that is a refusal": (delta(None, refusal="No.") + DONE, "", True),
    "without an end, in a piece": (delta("Rex bar") + delta("ks.", finish="stop")[:-9], "", False),
    "without an end": (delta("Rex bar"), "", False),
    "with an error in it": (delta("Rex bar") + 'data: {"error": {"message": "boom"}}\n\n' + DONE, "", False),
    "with an error of vLLM in it": (
        delta("Rex bar") + 'data: {"object": "error", "message": "x"}\n\n' + DONE,
        "",
        False,
    ),
    "that an error ended": (delta("Rex bar") + delta("", finish="error") + DONE, "", False),
    "with a piece without choices": (
        delta("Rex ") + 'data: {"choices": null}\n\n' + delta("barks.") + DONE,
        "Rex barks.",
        True,
    ),
    "of something else": ("data: hello\n\n" + DONE, "", False),
    "of nothing": ("", "", False),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_of_a_stream_that_is_heard_which_came_to_its_end(name: str, size: int) -> None:
    text, said, whole = STREAMS[name]
    heard, sent = Heard(streamed=True), text.encode()

    for at in range(0, len(sent), size):
        heard.feed(sent[at : at + size])

    assert (heard.said(), heard.is_whole) == (said, whole)


def message(content: Any, **more: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": "stop"}


BODIES = {
    "plain": ({"choices": [message("Rex barks.")]}, "Rex barks.", True),
    "with thoughts": ({"choices": [message("<think>a dog</think>\n\nRex barks.")]}, "Rex barks.", True),
    "what no text holds": ({"choices": [message("Rex\0 \ud83d barks.")]}, "Rex \ufffd barks.", True),
    "a call of a tool": ({"choices": [message(None, tool_calls=[{"id": "1"}])]}, "", True),
    "a refusal": ({"choices": [message(None, refusal="No.")]}, "", True),
    "two choices": ({"choices": [message("Rex"), message("Max")]}, "", True),
    "no choice": ({"choices": []}, "", True),
    "something else": ({"hello": 1}, "", True),
    "no object": ([], "", False),
}


@pytest.mark.parametrize("name", BODIES)
def test_of_a_whole_answer_the_one_choice_is_heard(name: str) -> None:
    body, said, whole = BODIES[name]
    heard, sent = Heard(streamed=False), json.dumps(body).encode()

    heard.feed(sent[:5])
    assert not heard.is_whole or body == []
    heard.feed(sent[5:])

    assert (heard.said(), heard.is_whole) == (said, whole)


def test_what_is_too_long_to_be_remembered_is_not_kept() -> None:
    heard = Heard(streamed=False)

    for _ in range(18):
        heard.feed(b"x" * 1024 * 1024)

    assert (heard.said(), heard.is_whole) == ("", False)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_that_nobody_can_say_is_whole_and_says_nothing(streamed: bool) -> None:
    long = "x" * (MAX_UTTERANCE_CHARACTERS + 1)
    heard = Heard(streamed=streamed)
    heard.feed((delta(long) + DONE if streamed else json.dumps({"choices": [message(long)]})).encode())

    assert (heard.said(), heard.is_whole) == ("", True)
