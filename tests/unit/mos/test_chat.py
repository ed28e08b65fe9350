"""What a session's own copy of its turns says after something was deleted."""

from __future__ import annotations

import pytest

from memsched import AsyncMemScheduler
from memsched.llm.prompts import Message
from memsched.mos.chat import Chat
from memsched.mos.options import MosOptions

TALK: list[Message] = [
    {"role": "user", "content": "My code is 4711. What is the weather?"},
    {"role": "assistant", "content": "Sunny."},
    {"role": "user", "content": "And tomorrow?"},
    {"role": "assistant", "content": "Rain."},
]


@pytest.mark.parametrize(("texts", "left"), [(["My code is 4711."], TALK[2:]), (["Rain."], TALK[:2]), (None, [])])
def test_what_was_deleted_is_not_told_again(texts: list[str] | None, left: list[Message]) -> None:
    chat = Chat(AsyncMemScheduler(redis_url="memory://forgets"), MosOptions())
    chat._said["alice", "s", "home"] = list(TALK)
    chat._said["alice", "s", "work"] = list(TALK)

    chat.forget("home", texts)

    assert chat._said["alice", "s", "home"] == left
    assert chat._said["alice", "s", "work"] == TALK
