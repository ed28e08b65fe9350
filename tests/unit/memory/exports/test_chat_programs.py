"""Files of chat programs, as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from memsched.importing import judge
from memsched.memory.exports.formats import conversations_of

TEAMS = {
    "messageType": "message",
    "createdDateTime": "2024-05-01T10:00:00Z",
    "from": {"user": {"displayName": "Bob"}},
    "body": {"contentType": "html", "content": "<p>I like tea.</p>"},
}
JOINED = {"messageType": "systemEventMessage", "createdDateTime": "2024-05-01T09:00:00Z", "from": None}
SLACK = {"type": "message", "user": "U7", "ts": "1714550000.000200", "text": "I like tea."}
MESSENGER = {"sender_name": "Bob", "timestamp_ms": 1714550000000, "content": "I like tea."}
AUTOGEN = {"source": "user", "content": "I like tea.", "type": "TextMessage"}
KERNEL = {"Role": {"Label": "user"}, "Items": [{"$type": "TextContent", "Text": "I like tea."}]}


@pytest.mark.parametrize(
    "file",
    [
        pytest.param([JOINED, TEAMS], id="teams"),
        pytest.param({"@odata.context": "chats", "value": [TEAMS]}, id="graph"),
        pytest.param([SLACK], id="slack"),
        pytest.param({"participants": [{"name": "Bob"}], "messages": [MESSENGER]}, id="messenger"),
        pytest.param([AUTOGEN], id="autogen"),
        pytest.param([KERNEL], id="semantic-kernel"),
    ],
)
def test_a_file_of_a_chat_program_is_a_conversation(file: Any) -> None:
    (found,) = conversations_of(file)

    judged = judge(replace(found, began=datetime(2024, 5, 1, tzinfo=UTC)), "alice", "home")
    assert judged.refused == []
    assert len(judged.kept) == 1
