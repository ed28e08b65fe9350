"""What was said, taken out of messages of many forms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import message

from memsched.errors import InvalidMessage
from memsched.memory.ingest.captions import MAX_CAPTION_CHARACTERS, plain_caption
from memsched.memory.ingest.turns import MAX_UTTERANCE_CHARACTERS, Turn, turns_of

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def turns(*history: Any, **fields: Any) -> list[Turn]:
    return turns_of(message("", timestamp=AT, chat_history=list(history), **{"user_name": "Alice", **fields}))


def test_content_alone_is_one_utterance_of_the_user() -> None:
    (turn,) = turns_of(message("I like tea. ", timestamp=AT, user_name="Alice", session_id="s"))

    assert turn == Turn(0, "I like tea.", "Alice", by_user=True, at=AT, session_id="s", reference="")
    assert turns_of(message("  \n")) == []


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
        {"content": None},
        {"content": 5},
        {"content": {"text": "a"}},
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


def test_a_text_that_is_too_long_is_refused_by_its_place() -> None:
    long = "a" * (MAX_UTTERANCE_CHARACTERS + 1)

    with pytest.raises(InvalidMessage, match=r"chat_history\[1\] has 500,001 characters, the limit is 500,000"):
        turns("Hello", long)
    with pytest.raises(InvalidMessage, match=r"content has 500,001 characters"):
        turns_of(message(long, timestamp=AT))
    assert turns_of(message(long[1:], timestamp=AT))
