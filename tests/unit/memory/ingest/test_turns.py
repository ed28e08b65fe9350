"""What was said, taken out of messages of many forms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel, Field
from support.messages import message

from memsched import ScheduleMessageItem
from memsched.errors import InvalidMessage
from memsched.memory.ingest.captions import MAX_CAPTION_CHARACTERS, plain_caption
from memsched.memory.ingest.turns import MAX_UTTERANCE_CHARACTERS, Talk, Turn, entries_of, read, reading_of, turns_of
from memsched.memory.ingest.turns.forms import FIELDS
from memsched.memory.ingest.turns.wordless import without_files

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def turns(*history: Any, **fields: Any) -> list[Turn]:
    return turns_of(message("", timestamp=AT, chat_history=list(history), **{"user_name": "Alice", **fields}))


def test_content_alone_is_one_utterance_of_the_user() -> None:
    (turn,) = turns_of(message("I like tea. ", timestamp=AT, user_name="Alice", session_id="s"))

    assert turn == Turn(0, "I like tea.", "Alice", by_user=True, at=AT, session_id="s", reference="")
    assert turns_of(message("  \n")) == []


def test_what_a_model_thought_is_no_part_of_what_it_said() -> None:
    (said,) = turns({"role": "assistant", "content": "<think>\nHard to please.\n</think>\n\nHello."})

    assert said.text == "Hello."
    assert turns({"role": "assistant", "content": "<think>\nHard to"}) == []
    assert turns({"role": "user", "content": "<think>Is that a tag?</think>"})[0].text.startswith("<think>")


def test_a_conversation_has_speakers_times_sessions_and_ids() -> None:
    one, two, three = turns(
        {"role": "user", "content": "Hello", "timestamp": "2026-01-05T10:00:00+01:00", "id": 7},
        {"role": "assistant", "text": "Hi", "chat_time": 1_767_603_600},
        {"speaker": "Bob", "message": "Hey", "session_id": "s2", "dia_id": "D1:3", "time": "2026-01-05T09:30:00"},
        session_id="s1",
    )

    assert (one.speaker, one.by_user, one.at, one.session_id, one.reference) == ("Alice", True, AT, "s1", "7")
    assert (two.speaker, two.by_user, two.at, two.session_id) == ("assistant", False, AT, "s1")
    assert (three.speaker, three.by_user, three.session_id, three.reference) == ("Bob", False, "s2", "D1:3")
    assert three.at == datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def test_a_clock_that_is_ahead_counts_as_now() -> None:
    ahead = datetime(2999, 1, 1, tzinfo=UTC)
    history = [{"content": "Hello", "timestamp": ahead.isoformat()}, {"content": "Hi"}]

    alone, together = message(timestamp=ahead), message(timestamp=ahead, chat_history=history)

    before = datetime.now(UTC)
    times = [turn.at for turn in (*turns_of(alone), *turns_of(together))]
    assert len(times) == 3
    assert all(before <= at <= datetime.now(UTC) for at in times)


def test_what_no_person_said_is_left_out_and_the_others_keep_their_positions() -> None:
    said = turns(
        {"role": "system", "content": "Be nice."},
        "I like tea.",
        {"role": "tool", "content": "{}"},
        {"role": "user", "content": " "},
        {"role": "user", "content": "And cake."},
    )

    assert [(turn.position, turn.text) for turn in said] == [(1, "I like tea."), (4, "And cake.")]
    assert all(turn.by_user and turn.speaker == "Alice" for turn in said)


def test_the_text_parts_of_a_multimodal_turn_are_its_text() -> None:
    content = [
        {"type": "text", "text": "Look,"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "a cat"},
    ]

    assert [turn.text for turn in turns({"role": "user", "content": content})] == ["Look,\na cat"]


def picture(**fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}, **fields}


@pytest.mark.parametrize(
    ("fields", "caption"),
    [
        ({"blip_caption": "a dog\n on a  beach "}, "a dog on a beach"),
        ({"caption": "a dog", "alt": "a dog", "alt_text": "at noon"}, "a dog; at noon"),
        ({"image_caption": ["a dog", "a cat"]}, "a dog; a cat"),
        (
            {"content": [{"type": "text", "text": "Look!"}, picture(alt="a dog"), picture(caption="a cat")]},
            "a dog; a cat",
        ),
        (
            {"content": [{"type": "input_text", "text": "Look!"}, {"type": "input_image", "description": "a dog"}]},
            "a dog",
        ),
        ({"content": [{"type": "text", "text": "Look!"}, {"type": "image", "image": {"alt": "a dog"}}]}, "a dog"),
        ({"content": [{"type": "text", "text": "Look!", "description": "not of a picture"}, picture()]}, ""),
        ({"caption": {"text": "a dog"}, "alt": 7, "alt_text": None, "blip_caption": ["", [], "a cat"]}, "a cat"),
        ({"caption": "data:image/png;base64,iVBORw0KGgo="}, ""),
        ({"caption": "a dog https://cdn.example.org/x.png?signature=abc"}, "a dog"),
        ({"alt": "QUJD" * 40}, ""),
    ],
)
def test_the_captions_of_its_pictures_belong_to_a_turn_and_what_is_no_words_does_not(
    fields: dict[str, Any], caption: str
) -> None:
    (turn,) = turns({"content": "Look!", **fields})

    assert (turn.text, turn.caption) == ("Look!", caption)


@pytest.mark.parametrize("fields", [{}, {"content": None}, {"content": ""}, {"content": [picture()]}])
def test_a_picture_alone_says_what_is_seen_on_it(fields: dict[str, Any]) -> None:
    (turn,) = turns({"caption": "a dog on a beach", **fields})

    assert (turn.text, turn.caption) == ("[picture: a dog on a beach]", "")
    assert turns({"content": [picture()]}) == []


@given(st.text(max_size=2000))
def test_a_caption_is_one_short_line_that_can_be_stored(text: str) -> None:
    caption = plain_caption(text)

    assert len(caption) <= MAX_CAPTION_CHARACTERS
    assert "\n" not in caption
    assert caption.encode() is not None
    assert plain_caption(caption) == caption


@pytest.mark.parametrize(
    "entry",
    [
        7,
        None,
        ["a"],
        {},
        {"content": 5},
        {"content": {"a": "text"}},
        {"content": [{"type": "text", "text": 5}]},
        {"content": "a", "timestamp": "yesterday"},
        {"content": "a", "timestamp": 1e30},
        {"content": "a", "timestamp": True},
    ],
)
def test_what_is_no_utterance_is_refused_by_its_place(entry: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"chat_history\[1\]"):
        turns("Hello", entry)


def test_text_is_kept_to_the_letter() -> None:
    code = "    def f():\n\n        return 1"
    (turn,) = turns_of(message(f"\n \n{code} \n\n", timestamp=AT))

    assert turn.text == code
    assert [turn.text for turn in turns(f"\n{code}\n", {"content": f" a\n{code}\n"})] == [code, f" a\n{code}"]


def test_nul_is_no_letter() -> None:
    assert [turn.text for turn in turns("Rex\0 barks.\0", {"content": "\0"}, "Max barks.")] == [
        "Rex barks.",
        "Max barks.",
    ]


def test_a_text_that_is_too_long_is_refused_by_its_place() -> None:
    long = "a" * (MAX_UTTERANCE_CHARACTERS + 1)

    with pytest.raises(InvalidMessage, match=r"chat_history\[1\] has 500,001 characters, the limit is 500,000"):
        turns("Hello", long)
    with pytest.raises(InvalidMessage, match=r"content has 500,001 characters"):
        turns_of(message(long, timestamp=AT))
    assert turns_of(message(long[1:], timestamp=AT))


FORMS = json.loads(Path(__file__).parents[3].joinpath("data", "conversations", "forms.json").read_text())
TALK = Talk(AT, "Una", ("una", "una-17"), called="messages")


@pytest.mark.parametrize("row", FORMS, ids=[row["form"] for row in FORMS])
def test_each_turn_of_each_form_is_kept_passed_over_or_refused(row: dict[str, Any]) -> None:
    reading = read(row["messages"], TALK)

    kept = [(turn.position, turn.text, turn.speaker, who(turn)) for turn in reading.turns]
    assert kept == [(each["turn"], each["text"], each["speaker"], each["who"]) for each in row["kept"]]
    assert {str(each.position): each.why for each in reading.passed} == row["passed"]
    assert {str(each.position): each.why for each in reading.refused} == row["refused"]
    for turn, each in zip(reading.turns, row["kept"], strict=True):
        assert turn.reference == each.get("reference", turn.reference)
        assert turn.at == (datetime.fromisoformat(each["at"]) if "at" in each else turn.at)


def test_the_documentation_has_a_row_for_each_form() -> None:
    page = Path(__file__).parents[4].joinpath("docs", "conversations.md").read_text()

    assert [row for row in FORMS if f"\n| {row['form']} |" not in page] == []


def who(turn: Turn) -> str:
    assert not (turn.by_user and turn.by_assistant)
    return "user" if turn.by_user else "assistant" if turn.by_assistant else "person"


TIMES = [
    ("2024-03-01T10:00:00Z", "2024-03-01T10:00:00+00:00"),
    ("2024-03-01T10:00:00.250-08:00", "2024-03-01T10:00:00.250-08:00"),
    ("2024-03-01 10:00", "2024-03-01T10:00:00+00:00"),
    ("2024-03-01 10:00:00 +0530", "2024-03-01T10:00:00+05:30"),
    ("2024-03-01T10:00+01", "2024-03-01T10:00:00+01:00"),
    ("2024/3/1 9:05", "2024-03-01T09:05:00+00:00"),
    ("2024-03-01", "2024-03-01T00:00:00+00:00"),
    ("20240301", "2024-03-01T00:00:00+00:00"),
    ("20240301T100000Z", "2024-03-01T10:00:00+00:00"),
    ("Fri, 01 Mar 2024 10:00:00 +0100", "2024-03-01T10:00:00+01:00"),
    ("1 Mar 2024 10:00 PST", "2024-03-01T10:00:00-08:00"),
    ("Fri, 01 Mar 2024 10:00:00 GMT", "2024-03-01T10:00:00+00:00"),
    ("Fri, 01 Mar 2024 10:00:00 -0000", "2024-03-01T10:00:00+00:00"),
    ("Friday, March 1, 2024 at 12:05:00\u202fAM UTC", "2024-03-01T00:05:00+00:00"),
    ("Mar 1, 2024, 1:05 PM", "2024-03-01T13:05:00+00:00"),
    (1711121210, "2024-03-22T15:26:50+00:00"),
    (1711121210.5, "2024-03-22T15:26:50.500+00:00"),
    (1711121210456, "2024-03-22T15:26:50.456+00:00"),
    ("1711121210", "2024-03-22T15:26:50+00:00"),
    (" 1711121210456 ", "2024-03-22T15:26:50.456+00:00"),
    ("1711121210.456", "2024-03-22T15:26:50.456+00:00"),
    (datetime(2024, 3, 1, 10, tzinfo=timezone(timedelta(hours=2))), "2024-03-01T10:00:00+02:00"),
]
NO_TIMES = [
    *(0, 1, 2024, -1711121210, 202403011000, 1e18, 1e30, 1711121210456000, float("nan"), float("inf"), True, False),
    *("2024", "03/01/2024", "01.03.2024", "2024-13-01", "2024-02-30", "2024-03-01 25:00", "2024-03-01T10:00+99:00"),
    *("2024-W09-5", "2024-061", "yesterday", "10:00", "2024-03-01 10:00 PM", "2024-03-01T10:00 CET", "nan", "1e9"),
    *("Thu, 01 Mar 2024 10:00:00 +0000", "Fri, 01 Mar 24 10:00:00 +0000", "0001-01-01T00:00:00+01:00", "-1711121210"),
    *({"$date": 1711121210456}, [2024, 3, 1], b"2024-03-01", "\u0662\u0660\u0662\u0664-03-01", "202403011000"),
]


@pytest.mark.parametrize(("given", "meant"), TIMES, ids=repr)
def test_a_time_is_the_one_that_is_meant_in_the_zone_that_it_is_told_in(given: Any, meant: str) -> None:
    (turn,) = turns({"content": "Hello", "createdAt": given})

    assert turn.at.isoformat() == datetime.fromisoformat(meant).isoformat()


@pytest.mark.parametrize("given", NO_TIMES, ids=repr)
def test_what_may_be_another_time_or_none_is_refused(given: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"chat_history\[0\].date has a time that is not understood"):
        turns({"content": "Hello", "date": given})


@pytest.mark.parametrize("name", ["timestamp", "create_time", "created_at", "createdAt", "date"])
def test_the_names_that_a_time_has_and_the_zone_beside_it(name: str) -> None:
    fields = [
        {name: "2026-01-01T20:30:00", "timezone": "America/Los_Angeles"},
        {name: "2026-01-02T04:30:00Z", "tz": "-08:00"},
        {"date": "2026-01-02", "time": "04:30"},
    ]
    said = turns(*({"content": "Hello", **each} for each in fields))

    beside = [("tz", "PST"), ("timeZone", "UTC-8"), ("utc_offset", "-08:00"), ("Time_Zone", "GMT-08:00"), ("TZ", "-8")]
    for called, zone in beside:
        said += turns({"content": "Hello", name: "2026-01-01T20:30:00", called: zone})
    said.append(said.pop(2))
    assert {turn.at for turn in said} == {datetime(2026, 1, 2, 4, 30, tzinfo=UTC)}
    assert [turn.at.isoformat()[:16] for turn in said] == ["2026-01-01T20:30"] * 7 + ["2026-01-02T04:30"]
    for wrong in ("Mars/Olympus", "../etc/passwd", 5):
        with pytest.raises(InvalidMessage, match=r"chat_history\[0\].tz is no time zone"):
            turns({"content": "Hello", name: "2026-01-01", "tz": wrong})


WORDS = [
    *("<https://example.org/me>", "<bob@example.org>", "<Berlin>", "<@U123>", "-_-", ">_<", "=_=", "___foo", "<3 <3"),
    *("<img src='http://x/y.png' alt='my cat Tom'>", "We store data:users/names,addresses in Oslo", "data:text/a,b"),
    "see /home/alice/" + "Documents2024/" * 20 + "file.txt",
    "My-Long-Title-Of-2024/" * 20,
]


@pytest.mark.parametrize("text", WORDS)
def test_words_that_look_like_markup_or_bytes_are_kept_to_the_letter(text: str) -> None:
    assert [turn.text for turn in turns(text)] == [text]


@pytest.mark.parametrize(
    "text", ["| | |\n|---|:-:|", "***", "- - -", "> >\n>", "<p></p><BR>", "<b class='x'></b>", "```\n```"]
)
def test_markup_alone_is_no_words(text: str) -> None:
    assert turns(text) == []


@pytest.mark.parametrize(
    "head", ["data:text/plain;base64,SGVsbG8=", "data:image/gif,xyz", "data:text/html," + "%3Cp%3E" * 9]
)
def test_a_data_url_within_a_sentence_is_a_file(head: str) -> None:
    (turn,) = turns(f"See {head} there.")

    assert turn.text in ("See [file] there.", "See [picture] there.")


RUNS = ["code", "link", "bold", "mention", "text_link", "phone", "hashtag"]


@pytest.mark.parametrize("kind", RUNS)
def test_rich_text_is_joined_as_it_was(kind: str) -> None:
    rich = ["My wifi password is ", {"type": kind, "text": "trout-77"}, " ok"]

    assert [turn.text for turn in turns({"text": rich})] == ["My wifi password is trout-77 ok"]


@pytest.mark.parametrize(
    ("content", "parts", "text"),
    [
        ("summary", ["I live in Oslo"], "summary\nI live in Oslo"),
        ("I live\nin Oslo", ["I live", "in Oslo"], "I live\nin Oslo"),
        ("", ["I live in Oslo"], "I live in Oslo"),
        ("I live", ["I live in Oslo"], "I live in Oslo"),
    ],
)
def test_content_and_parts_that_differ_are_both_kept(content: str, parts: list[str], text: str) -> None:
    fields = {"content": content, "parts": [{"type": "text", "text": part} for part in parts]}

    assert [turn.text for turn in turns({"role": "user", **fields})] == [text]


SENDERS = [
    *(
        ({name: "Bob"}, "Bob")
        for name in ("Speaker", "Name", "nick", "nickname", "senderName", "sender_id", "FromName")
    ),
    *(({name: "Ai"}, "Ai") for name in ("speaker", "name", "from", "author", "sender_name")),
    *(
        ({name: {inner: "Bob"}}, "Bob")
        for name in ("from", "author")
        for inner in ("first_name", "displayName", "login")
    ),
    ({"source": "weather_agent", "type": "TextMessage"}, "weather_agent"),
    ({"from": {"user": {"displayName": "Bob", "id": "7"}}}, "Bob"),
    ({"from": None, "from_id": "user5"}, "user5"),
    ({"from": None}, "unknown"),
    ({"speaker": "Bing"}, "Bing"),
    ({"message_author": "Bob"}, "Bob"),
    *(({"role": "user", "name": name}, name) for name in ("System", "Tool", "Bing")),
    *(({"role": "user", name: "Bob"}, "Bob") for name in ("sender", "displayName", "sender_id")),
]


@pytest.mark.parametrize(("fields", "speaker"), SENDERS, ids=repr)
def test_only_the_user_is_the_user(fields: dict[str, Any], speaker: str) -> None:
    (turn,) = turns({"content": "I am another.", **fields})

    assert (turn.speaker, who(turn)) == (speaker, "person")


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "user"},
        {"sender": "human"},
        {"Speaker": "alice"},
        {"sender_name": "Alice"},
        {"from": {"user": {"displayName": "Alice"}}},
        {"role": "user", "source": "web", "agent": "x", "user_id": "42", "name": None, "sender": None},
        {"Role": "user"},
        {"author": {"role": "user", "name": None, "metadata": {}}},
    ],
    ids=repr,
)
def test_the_user_is_known_by_role_and_by_name(fields: dict[str, Any]) -> None:
    assert [who(turn) for turn in turns({"content": "I am I.", **fields})] == ["user"]


ASSISTANTS: list[dict[str, Any]] = [
    *({name: False} for name in ("is_user", "isUser", "isCreatedByUser", "fromUser", "is_human")),
    *({name: True} for name in ("isBot", "is_bot", "bot", "isAI", "is_assistant", "from_bot")),
    {"isBot": "true"},
    *({name: "assistant_message"} for name in ("message_type", "messageType", "msg_type")),
    *({name: "bot"} for name in ("event", "by", "sent_by", "who", "side", "user_type", "actor_type", "owner")),
    *({"type": kind} for kind in ("apiMessage", "agent_message")),
    {"role": "assistant", "type": "answer"},
    {"role": "Max", "role_type": "assistant"},
    {"sender": "GPT-4", "isCreatedByUser": False},
    {"from": {"is_bot": True, "username": "max"}},
    {"author": {"bot": True, "username": "max"}},
    {"senderInfo": {"role": "bot", "name": "Max"}},
    *({"role": role} for role in ("MessageRole.ASSISTANT", "ChatRole.assistant", "ROLE_ASSISTANT")),
    *({"role": role} for role in ("<|assistant|>", "助手")),
]


@pytest.mark.parametrize("fields", ASSISTANTS, ids=repr)
def test_whoever_is_told_to_be_the_assistant_is_not_the_user(fields: dict[str, Any]) -> None:
    (turn,) = turns({"text": "I am a vegan.", **fields})

    assert (turn.by_user, turn.by_assistant) == (False, True)


@pytest.mark.parametrize(
    ("fields", "speaker"),
    [
        ({"role": "Bob", "role_type": "user"}, "Bob"),
        ({"role": "Bob", "role_type": "norole"}, "Bob"),
        ({"fromMe": False, "name": "Bob"}, "Bob"),
        ({"is_user": True, "name": "Bob"}, "Bob"),
        *(({name: given}, "unknown") for name in ("fromMe", "is_from_me", "outgoing") for given in (False, 0)),
        ({"sender_info": {"name": "Bob"}}, "Bob"),
        ({"character": "Max"}, "Max"),
    ],
    ids=repr,
)
def test_whoever_is_told_to_be_somebody_else_is_not_the_user(fields: dict[str, Any], speaker: str) -> None:
    (turn,) = turns({"text": "I am a vegan.", **fields})

    assert (turn.speaker, who(turn)) == (speaker, "person")


@pytest.mark.parametrize(
    "fields",
    [
        *({name: True} for name in ("is_user", "isCreatedByUser", "fromMe", "is_from_me")),
        {"fromMe": True, "name": "Alice Miller"},
        {"is_bot": False},
        {"sender": "me"},
        {"role": "Alice", "role_type": "user"},
        {"message_type": "user_message"},
        {"event": "user"},
        *({"role": role} for role in ("MessageRole.USER", "userRole", "<|user|>", "prompter", "用户", "usuario")),
    ],
    ids=repr,
)
def test_whoever_is_told_to_be_the_user_is(fields: dict[str, Any]) -> None:
    (turn,) = turns({"text": "I am a vegan.", **fields})

    assert (turn.by_user, turn.speaker) == (True, "Alice")


@pytest.mark.parametrize(
    "fields",
    [
        {"message_type": "system_message", "content": "Be Max."},
        {"role": "instructions of the team", "role_type": "system", "content": "Be Max."},
        {"role": "ChatRole.SYSTEM", "content": "Be Max."},
        {"role": "系统", "content": "Be Max."},
        {"is_system": True, "content": "Be Max."},
        {"message_type": "reasoning_message", "reasoning": "Hard to please."},
        {"role": "thought", "content": "Hard to please."},
        {"message_type": "tool_return_message", "tool_return": "ok"},
        {"message_type": "tool_call_message", "tool_call": {"name": "send", "arguments": "{}"}},
        {"role": "lookup", "role_type": "tool", "content": "{}"},
        {"event": "slot", "name": "city", "value": "Oslo"},
        {"event": "action", "name": "action_listen"},
        {"role": "user", "tool_call_id": "t1", "content": "3 degrees"},
        *(
            {"role": "assistant", "type": kind, "content": "{}"}
            for kind in ("function_call", "tool_response", "verbose")
        ),
    ],
    ids=repr,
)
def test_what_is_told_to_be_of_nobody_is_passed_over(fields: dict[str, Any]) -> None:
    assert [turn.text for turn in turns(fields, "I live in Oslo.")] == ["I live in Oslo."]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "token_budget"},
        {"type": "flag", "flag": "x"},
        {"content_type": "super_widget", "widget": {}},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "Not said."}},
        {"type": "resource_link", "uri": "file:///x", "name": "x"},
    ],
    ids=repr,
)
def test_parts_of_newer_programs_cost_a_turn_none_of_its_words(part: dict[str, Any]) -> None:
    (turn,) = turns({"role": "user", "content": [{"type": "text", "text": "I live in Oslo."}, part]})

    assert turn.text == "I live in Oslo."


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "Hard to please.", "metadata": {"title": "Thinking", "id": 1, "status": "done"}},
        {"content": '<details type="reasoning" done="true" duration="2">\n<summary>x</summary>\nHard.\n</details>\n'},
    ],
    ids=["gradio", "open webui"],
)
def test_thoughts_as_front_ends_show_them_are_passed_over(fields: dict[str, Any]) -> None:
    assert turns({"role": "assistant", **fields}) == []
    (turn,) = turns(
        {"role": "assistant", **fields, "content": f"{fields['content']}Noted.", "metadata": {"title": None}}
    )
    assert turn.text.endswith("Noted.")
    assert turns({"role": "user", "content": "Hello", "metadata": {"title": "Hi"}})[0].text == "Hello"


def test_what_an_answer_folds_away_is_no_part_of_it() -> None:
    folded = '<details type="tool_calls" done="true" name="f">\n<summary>Ran</summary>\n</details>\n'
    (turn,) = turns({"role": "assistant", "content": f"Let me see.\n{folded}It rains."})

    assert turn.text == "Let me see.\nIt rains."
    assert "Sum" in turns({"role": "assistant", "content": "<details><summary>Sum</summary>More.</details>"})[0].text


def test_parts_may_stand_within_the_content() -> None:
    assert turns({"role": "user", "content": {"parts": ["I live", {"text": "in Oslo."}]}})[0].text == "I live\nin Oslo."


def test_a_direction_alone_does_not_say_who_it_was() -> None:
    for way in ("inbound", "outgoing"):
        with pytest.raises(InvalidMessage, match="give the role"):
            turns({"direction": way, "text": "I am a vegan."})
    assert turns({"direction": "inbound", "role": "user", "text": "I am a vegan."})[0].by_user


def test_a_pair_that_names_no_role_is_refused_with_what_a_pair_is() -> None:
    with pytest.raises(InvalidMessage, match="a pair is a role and a text"):
        turns(["I live in Oslo.", "Noted."])


def test_a_number_beside_a_local_time_is_no_zone() -> None:
    for name in ("utc_offset", "utcOffset", "timezoneOffset"):
        with pytest.raises(InvalidMessage, match="may be hours, minutes or seconds"):
            turns({"content": "Hello", "timestamp": "2024-03-22T20:26:50", name: -8})
    (turn,) = turns({"content": "Hello", "timestamp": "2024-03-22T20:26:50Z", "utc_offset": -480})
    assert turn.at.isoformat() == "2024-03-22T20:26:50+00:00"


@pytest.mark.parametrize("beside", ["metadata", "additional_kwargs"])
def test_a_time_may_stand_beside_the_message(beside: str) -> None:
    (turn,) = turns({"content": "Hello", beside: {"timestamp": "2024-03-22T20:26:50-08:00", "date": "soon"}})

    assert turn.at.isoformat() == "2024-03-22T20:26:50-08:00"
    assert turns({"content": "Hello", beside: {"timestamp": "soon"}})[0].at == AT


def test_a_sender_that_tells_no_name_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"chat_history\[0\].from tells no name that is known: it has team"):
        turns({"from": {"team": 7.5}, "content": "Hello"})


@pytest.mark.parametrize(
    "name",
    [
        "ts",
        "Timestamp",
        "sentAt",
        "createdDateTime",
        "inserted_at",
        "createdTimestamp",
        "message_time",
        "sent",
        "Posted-At",
    ],
)
def test_a_time_of_a_message_is_known_by_its_name(name: str) -> None:
    fields = [{name: "1711121210.0002"}, {name: "2024-03-22T15:26:50.0002Z"}]

    said = turns(*({"content": "Hello", **each} for each in fields))

    assert {turn.at for turn in said} == {datetime(2024, 3, 22, 15, 26, 50, 200, tzinfo=UTC)}


@pytest.mark.parametrize(
    "fields",
    [
        {"edited_timestamp": "2024-03-22T15:26:50Z", "update_time": 1711121210, "thread_ts": "1711121210.0002"},
        {
            "response_time": 0.35,
            "sent": True,
            "time_zone_name": "x",
            "birth_date": "1990-01-01",
            "lastReadAt": 1711121210,
        },
    ],
)
def test_times_of_other_things_are_not_when_it_was_said(fields: dict[str, Any]) -> None:
    assert [turn.at for turn in turns({"content": "Hello", **fields})] == [AT]


class Speaker(Enum):
    HUMAN = "human"


class Number(IntEnum):
    USER = 1
    ASSISTANT = 2


def test_a_role_that_is_a_number_is_read_by_its_name_or_refused() -> None:
    given = entries_of(
        [{"role": Number.ASSISTANT, "content": "Hi"}, {"role": Number.USER, "content": "Ho"}], "messages"
    )

    assert [(turn.speaker, turn.by_user) for turn in read(given, TALK).turns] == [("assistant", False), ("Una", True)]
    with pytest.raises(InvalidMessage, match=r"\[0\]\.role must be a text, not int"):
        read([{"role": 2, "content": "Hi"}], TALK).or_refuse()


@pytest.mark.parametrize("name", ["assistant", "Assistant", "SYSTEM", " tool"])
def test_no_user_is_called_as_a_role_of_others(name: str) -> None:
    item = message("I have asthma.", user_name=name)

    with pytest.raises(InvalidMessage, match="user_name is .*, which is a role"):
        reading_of(item)
    assert not Talk(AT, known_as=(name,)).is_user(name)


@dataclass
class Said:
    role: Speaker
    content: str
    created_at: datetime


class Pair(NamedTuple):
    role: str
    content: str


class Model(BaseModel):
    type: str = "ai"
    content: list[dict[str, str]] = Field(default_factory=lambda: [{"type": "text", "text": "Noted."}])


OBJECTS = [
    Said(Speaker.HUMAN, "I live in Oslo.", AT),
    ChatCompletionMessage(role="assistant", content="Noted."),
    Pair("user", "I work at a bank."),
    Model(),
    SimpleNamespace(role="user", content=("I", "sing.")),
    MappingProxyType({"role": "user", "content": "I dance."}),
    ChatCompletionMessage(role="assistant", content=None),
]


def test_messages_may_be_objects_as_sdks_have_them() -> None:
    item = ScheduleMessageItem.from_wire("add", wire_of(chat_history=(each for each in OBJECTS)), **IDENTITY)

    texts = ["I live in Oslo.", "Noted.", "I work at a bank.", "Noted.", "I\nsing.", "I dance."]
    assert [turn.text for turn in turns_of(item)] == texts
    assert [turn.by_assistant for turn in turns_of(item)] == [False, True, False, True, False, False]
    assert item.chat_history == entries_of(OBJECTS, "messages")
    assert turns_of(item)[0].at == AT


IDENTITY: dict[str, Any] = {"default_id": "m", "default_ms": 0}


def wire_of(**fields: Any) -> dict[str, str]:
    flat = message("", **fields).to_wire()
    return dict(zip(flat[::2], flat[1::2], strict=True))


ONE = {"role": "user", "content": "I live in Oslo."}


@pytest.mark.parametrize(
    "given",
    [
        ONE,
        Pair("user", "I live in Oslo."),
        [ONE],
        (ONE,),
        iter([ONE]),
        {"messages": [ONE], "model": "m"},
        {"id": "c", "conversations": [{"from": "human", "value": "I live in Oslo."}]},
        {"contents": [{"role": "user", "parts": [{"text": "I live in Oslo."}]}]},
        {"type": "human", "data": {"content": "I live in Oslo."}},
    ],
)
def test_one_message_or_one_conversation_need_not_be_in_a_list(given: Any) -> None:
    assert [turn.text for turn in turns(*entries_of(given, "messages"))] == ["I live in Oslo."]


@pytest.mark.parametrize("given", [7, b"text", {"title": "Oslo", "topic": "x"}, object(), "text"])
def test_what_is_no_conversation_is_refused(given: Any) -> None:
    with pytest.raises(InvalidMessage, match="messages (must be|is neither)"):
        entries_of(given, "messages")


class Broken:
    content = "Hello"

    @property
    def role(self) -> str:
        raise RuntimeError("no role here")


class BrokenModel:
    def model_dump(self, **_: Any) -> dict[str, Any]:
        raise KeyError("field")


@pytest.mark.parametrize("broken", [Broken(), BrokenModel()], ids=["object", "model"])
def test_an_object_that_cannot_be_read_is_refused_by_its_place(broken: Any) -> None:
    with pytest.raises(InvalidMessage, match=rf"messages\[1\]: {type(broken).__name__} cannot be read: "):
        entries_of(["Hello", broken], "messages")


def test_an_object_has_the_attributes_that_are_really_there() -> None:
    mocked = entries_of([MagicMock(role="user", content="Hello")], "messages")

    assert mocked == [{"role": "user", "content": "Hello"}]
    with pytest.raises(InvalidMessage, match="must be a text or an object"):
        turns(*entries_of([MagicMock()], "messages"))


def test_a_field_that_nobody_reads_does_not_refuse_a_message() -> None:
    extra = {"x": {1}, "y": b"b", "z": float("nan"), "w": [object()], "v": {"deep": float("inf"), "kept": 1}}

    (entry,) = entries_of([{"role": "user", "content": "Hello", **extra, "ref": np.float32(0.5)}], "messages")

    assert entry == {"role": "user", "content": "Hello", "v": {"kept": 1}, "ref": 0.5}
    (turn,) = turns(*entries_of([{"content": "Hi", "timestamp": np.int64(1711121210), "id": np.int64(7)}], "messages"))
    assert (turn.at.year, turn.reference) == (2024, "7")


def test_what_is_no_json_is_named_by_its_place() -> None:
    with pytest.raises(InvalidMessage, match=r"must be JSON \(chat_history\[1\].content\[0\] is bytes\)"):
        wire_of(chat_history=["Hello", {"content": [b"bytes"]}])
    with pytest.raises(InvalidMessage, match=r"must be JSON \(info.a is nan\)"):
        wire_of(info={"a": float("nan")})
    with pytest.raises(InvalidMessage, match=r"not understood: \{'\$date': 5\}"):
        turns({"content": "Hello", "date": {"$date": 5}})


CALLS = ["mcp_call", "custom_tool_call", "custom_tool_call_output", "mcp_approval_request", "compaction"]
CALLS += ["item_reference", "shell_call", "shell_call_output", "reasoning", "apply_patch_call", "mcp_list_tools"]


@pytest.mark.parametrize("kind", CALLS)
def test_items_between_the_messages_are_passed_over(kind: str) -> None:
    item = {"type": kind, "id": "x", "name": "send", "arguments": "{}", "output": "y", "encrypted_content": "z"}

    reading = read([item, {"role": "assistant", "tool_calls": []}], TALK)

    assert [each.position for each in reading.passed] == [0, 1]


@pytest.mark.parametrize(
    ("given", "text", "by"),
    [
        (("human", "I like tea."), "I like tea.", "user"),
        (("ai", [{"type": "text", "text": "Noted."}]), "Noted.", "assistant"),
        ({"role": "user", "content": [{"guardContent": {"text": {"text": "Hi."}}}]}, "Hi.", "user"),
        ({"role": "user", "content": [{"type": "media", "data": "x"}, {"type": "text", "text": "Hi."}]}, "Hi.", "user"),
    ],
)
def test_short_and_guarded_forms(given: Any, text: str, by: str) -> None:
    assert [(turn.text, who(turn)) for turn in turns(*entries_of([given], "messages"))] == [(text, by)]


def test_more_turns_than_a_conversation_may_have_are_refused_by_the_limit() -> None:
    with pytest.raises(InvalidMessage, match="chat_history has 10,001 turns, the limit of one call is 10,000"):
        turns(*["Hi."] * 10_001)
    with pytest.raises(InvalidMessage, match=r"chat_history\[0\].content has 1,001 parts, the limit is 1,000"):
        turns({"content": ["Hi."] * 1_001})


def test_all_refused_turns_are_named_as_far_as_a_line_can() -> None:
    with pytest.raises(InvalidMessage, match=r"chat_history\[0\] .*; chat_history\[2\] .*; and 2 more$"):
        turns({}, "Hi.", *[{}] * 6)


NAMES = sorted({name for names in FIELDS.values() for name in names} | {"metadata", "channel", "recipient", "caption"})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["user", "ai", "text", "image"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6) | VALUES, max_size=4))
def test_whatever_is_given_each_turn_has_one_answer(entries: list[Any]) -> None:
    reading = read(entries, TALK)

    answers = [each.position for each in (*reading.turns, *reading.passed, *reading.refused)]
    assert sorted(answers) == list(range(len(entries)))
    assert all(turn.text.strip() and turn.at.tzinfo for turn in reading.turns)
    assert all(each.why.startswith(f"messages[{each.position}]") for each in reading.refused)


def test_the_bytes_of_files_do_not_travel() -> None:
    photo = "data:image/png;base64," + "aB3/" * 1_000
    parts = [{"type": "image_url", "image_url": {"url": photo}}, {"type": "text", "text": "Hi."}]
    given = [{"role": "user", "content": parts}, {"role": "user", "content": f"See {photo} there."}]

    light = without_files(given)

    assert len(json.dumps(light)) < 500
    assert turns(*light) == turns(*given)
    assert [turn.text for turn in turns(*given)] == ["Hi.", "See [picture] there."]
    assert without_files({"text": "word " * 1_000}) == {"text": "word " * 1_000}


QUOTE = '<blockquote itemtype="http://schema.skype.com/Reply"><b>Bob</b><p>I am allergic to nuts.</p></blockquote>'


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"messageType": "message", "body": {"contentType": "html", "content": f"{QUOTE}<p>Ow!</p>"}}, "Ow!"),
        ({"source": "planner", "type": "ThoughtEvent", "content": "The user is lonely."}, ""),
        ({"source": "planner", "type": "ModelClientStreamingChunkEvent", "content": "You sh"}, ""),
        ({"type": "m.room.member", "sender": "@a:x", "content": {"membership": "join"}}, ""),
        ({"type": "m.reaction", "sender": "@a:x", "content": {"m.relates_to": {"key": "+1"}}}, ""),
        ({"type": "typing", "from": {"id": "u"}}, ""),
        ({"role": "user", "content": ["Hi.", {"kind": "image-url", "url": "https://x.org/y.png"}]}, "Hi."),
        (
            {
                "Role": {"Label": "user"},
                "Items": [{"$type": "TextContent", "Text": "Hi."}, {"$type": "AnnotationContent", "FileId": "x"}],
            },
            "Hi.",
        ),
        ({"type": "human", "content": [{"type": "text", "text": "Hi."}, {"type": "non_standard", "value": {}}]}, "Hi."),
    ],
)
def test_events_quotes_and_parts_of_no_words_refuse_nothing(message: dict[str, Any], said: str) -> None:
    found = read([message], Talk(datetime.now(UTC), called="messages"))

    assert [each.text for each in found.turns] == ([said] if said else [])
    assert not found.refused
