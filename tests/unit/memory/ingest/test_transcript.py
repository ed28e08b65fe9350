"""A chat pasted as one text, and what looks like one."""

from __future__ import annotations

import time

import pytest

from memsched.memory.ingest.turns import transcript_of


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        (
            "User: I love jazz.\nAssistant: Nice.\nWhich band?\n\nUser: Please forget that I love jazz.",
            [
                ("user", "I love jazz."),
                ("assistant", "Nice.\nWhich band?"),
                ("user", "Please forget that I love jazz."),
            ],
        ),
        ("**Human:** I like tea.\n**AI:** So do I.", [("user", "I like tea."), ("assistant", "So do I.")]),
        (
            "ASSISTANT: Hello there!\nUSER: I live in Oslo.",
            [("assistant", "Hello there!"), ("user", "I live in Oslo.")],
        ),
        ("Nutzer: Ich mag Tee.\nAssistent: Ich auch.", [("user", "Ich mag Tee."), ("assistant", "Ich auch.")]),
        (
            "Usuario: Me gusta el té.\nAsistente: A mí también.",
            [("user", "Me gusta el té."), ("assistant", "A mí también.")],
        ),
        ("用户：我喜欢茶。\n助手：我也喜欢。", [("user", "我喜欢茶。"), ("assistant", "我也喜欢。")]),
        (
            "\u7528\u6237:\u6211\u559c\u6b22\u8336\u3002\n\u52a9\u624b:\u6211\u4e5f\u559c\u6b22\u3002",
            [("user", "\u6211\u559c\u6b22\u8336\u3002"), ("assistant", "\u6211\u4e5f\u559c\u6b22\u3002")],
        ),
        (
            "User: Look at this:\n> Alice: hi\n> Bob: hello\nAI: A short talk.",
            [("user", "Look at this:\n> Alice: hi\n> Bob: hello"), ("assistant", "A short talk.")],
        ),
    ],
    ids=["en", "human-ai", "assistant-first", "de", "es", "zh", "zh-ascii", "quoted-within"],
)
def test_a_pasted_chat_is_read_as_its_turns(text: str, turns: list[tuple[str, str]]) -> None:
    assert [(turn["role"], turn["content"]) for turn in transcript_of(text)] == turns


@pytest.mark.parametrize(
    "text",
    [
        "I love jazz.",
        "User: I love jazz.",
        "Alice: I love jazz.\nBob: So do I.",
        "Look at this chat:\nUser: I love jazz.\nAssistant: So do I.",
        "user: alice\nbot: true",
        "user: una\nassistant: v2\nuser: olga",
        "User: all of you\nUser: none of you\nAssistant: one of you",
        "Pancakes\nUser: stir the flour.\nAI: none at all.",
        "Human: a short story. He sat there.\nDog: he barked at him.",
        "12:01 User: logged in again\n12:02 Assistant: logged out again",
        "User story: I want tea.\nAI strategy: none yet.",
        "user:alice smith\nbot:big one",
        "Model: a big car.\nRequest: a new one.",
        'She wrote "User: I love jazz.\nAssistant: So do I."',
        "",
    ],
)
def test_what_only_looks_like_one_stays_one_text(text: str) -> None:
    assert transcript_of(text) == []


def test_a_long_text_is_read_in_no_time() -> None:
    began = time.perf_counter()

    transcript_of("User: a b\nAI: " * 20_000)
    transcript_of("User" + " " * 100_000)

    assert time.perf_counter() - began < 1
