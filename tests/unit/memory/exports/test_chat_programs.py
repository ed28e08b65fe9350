"""Files of chat programs, as they are."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memsched.importing import judge
from memsched.memory.exports.conversation import told_of
from memsched.memory.exports.formats import conversations_of
from memsched.memory.exports.read import conversations_in
from memsched.memory.ingest.turns import Talk, read

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
GOOGLE = {
    "creator": {"name": "Bob"},
    "created_date": "Wednesday, May 1, 2024 at 10:00:00 AM UTC",
    "text": "I like tea.",
}
AGENT = {
    "author": "helper",
    "content": {"role": "model", "parts": [{"text": "I like tea."}]},
    "timestamp": 1714550000.0,
}
INTERCOM = {
    "type": "conversation",
    "created_at": 1714550000,
    "source": {"type": "email", "author": {"type": "user", "name": "Bob"}, "body": "<p>I like tea.</p>"},
    "conversation_parts": {"type": "conversation_part.list", "conversation_parts": []},
}
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
        pytest.param({"messages": [GOOGLE]}, id="google-chat"),
        pytest.param({"app_name": "a", "events": [AGENT]}, id="google-adk"),
        pytest.param(INTERCOM, id="intercom"),
    ],
)
def test_a_file_of_a_chat_program_is_a_conversation(file: Any) -> None:
    (found,) = conversations_of(file)

    judged = judge(replace(found, began=datetime(2024, 5, 1, tzinfo=UTC)), "alice", "home")
    assert judged.refused == []
    assert len(judged.kept) == 1


def test_the_zone_of_a_conversation_is_that_of_its_messages() -> None:
    talk = {"tz": "America/Los_Angeles", "messages": [{"role": "user", "content": "Hi", "date": "2024-05-01 22:00"}]}

    (found,) = conversations_of(talk)

    judged = judge(replace(found, began=datetime(2024, 5, 1, tzinfo=UTC)), "alice", "home")
    assert str(judged.began) == "2024-05-01 22:00:00-07:00"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "folder"])
def test_slack_s_export_has_the_names_of_its_people(tmp_path: Path, *, zipped: bool) -> None:
    files = {
        "users.json": [
            {"id": "U7", "name": "bob", "profile": {"real_name": "Bob Roe"}},
            {"id": "U8", "real_name": "Ann"},
        ],
        "channels.json": [{"id": "C1", "name": "general"}],
        "general/2024-05-01.json": [SLACK, {**SLACK, "text": "Does <@U8> know <@U9>?"}],
        "general/2024-05-02.json": [{**SLACK, "user": "U9"}],
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    export = tmp_path
    if zipped:
        export = tmp_path / "export.zip"
        with zipfile.ZipFile(export, "w") as archive:
            for name in files:
                archive.write(tmp_path / name, name)

    one, two = (judge(found, "alice", "home") for found in conversations_in(export))

    assert (one.conversation.key, two.conversation.key) == ("general/2024-05-01", "general/2024-05-02")
    assert (one.speakers, two.speakers) == (["Bob Roe"], ["U9"])
    assert [each["text"] for each in one.kept.values()] == ["I like tea.", "Does <@U8|Ann> know <@U9|U9>?"]


def said_in(value: Any) -> list[tuple[str, str]]:
    """Who said what, in the turns that are kept."""
    (found,) = conversations_of(value)
    reading = read(found.messages, Talk(datetime(2024, 5, 1, tzinfo=UTC)))
    assert reading.refused == []
    by = {(True, False): "user", (False, True): "assistant", (False, False): "person"}
    return [(by[turn.by_user, turn.by_assistant], turn.text) for turn in reading.turns]


def deepseek(**second: Any) -> dict[str, Any]:
    nodes: dict[str, Any] = {"1": {"fragments": [{"type": "REQUEST", "content": "I like tea."}]}, "2": second}
    return {
        "id": "d1",
        "mapping": {
            name: {"id": name, "parent": {"2": "1"}.get(name, "root"), "message": {"model": "m", **message}}
            for name, message in nodes.items()
        },
    }


def test_deepseek_s_fragments_say_who_said_them() -> None:
    thought = {"type": "THINK", "content": "Hard to please."}
    answer = {"type": "RESPONSE", "content": "Noted."}
    talk = deepseek(fragments=[thought, {"type": "SEARCH", "results": []}, answer])

    assert said_in(talk) == [("user", "I like tea."), ("assistant", "Noted.")]
    assert said_in(deepseek(fragments=[thought])) == [("user", "I like tea.")]


def test_what_a_tree_does_not_say_whose_it_is_is_not_the_user_s() -> None:
    assert said_in(deepseek(content="I am a vegan."))[1] == ("person", "I am a vegan.")


def test_librechat_s_answers_stand_below_what_they_answer() -> None:
    first = {"text": "Not this.", "sender": "GPT", "isCreatedByUser": False, "children": []}
    last = {"text": "I love tea.", "sender": "User", "isCreatedByUser": True, "children": []}
    answer = {"text": "Noted.", "sender": "GPT", "isCreatedByUser": False, "children": [last]}
    begin = {"text": "I like tea.", "sender": "User", "isCreatedByUser": True, "children": [first, answer]}

    assert said_in({"conversationId": "c", "messages": [begin]}) == [
        ("user", "I like tea."),
        ("assistant", "Noted."),
        ("user", "I love tea."),
    ]


def test_open_webui_s_branch_is_the_one_that_is_shown() -> None:
    nodes = {
        "a": {"id": "a", "parentId": None, "role": "user", "content": "I like tea.", "timestamp": 1714550000},
        "b": {"id": "b", "parentId": "a", "role": "assistant", "content": "Not this."},
        "c": {"id": "c", "parentId": "a", "role": "assistant", "content": "Noted."},
    }
    talk = {"id": "o1", "chat": {"title": "Tea", "history": {"messages": nodes, "currentId": "c"}, "messages": []}}

    assert said_in(talk) == [("user", "I like tea."), ("assistant", "Noted.")]


@pytest.mark.parametrize("field", ["speaker", "user", "by", "event", "message_type"])
def test_what_else_tells_the_speaker_makes_no_other_message_of_one_that_was_brought_in(field: str) -> None:
    assert told_of({field: "Bob", "text": "I like tea."})[0] is None
