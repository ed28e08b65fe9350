"""Requests to forget something, and what they mean."""

from __future__ import annotations

import pytest

from memsched.memory.ingest.forget_requests import forget_request, named_among

MEMORIES = [
    "I like jazz.",
    "I like jazz clubs in Berlin and old trains from the north.",
    "I don't like jazz.",
    "My sister likes opera.",
    "Ich mag Jazz.",
    "Me gusta el jazz.",
    "\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002",
]


@pytest.mark.parametrize(
    ("request_", "meant"),
    [
        ("Please forget that I like jazz.", [0]),
        ("Can you forget that my sister likes opera?", []),
        ("forget everything about opera", [3]),
        ("Bitte vergiss, dass ich Jazz mag.", [4]),
        ("Por favor, olvida que me gusta el jazz.", [5]),
        ("\u8bf7\u5fd8\u8bb0\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002", [6]),
    ],
)
def test_only_what_is_named_is_meant(request_: str, meant: list[int]) -> None:
    request = forget_request(request_)

    assert (named_among(request, MEMORIES) if request else []) == meant


@pytest.mark.parametrize(
    "text",
    [
        "Forget it.",
        "Don't forget that I am allergic to nuts.",
        "I always forget that I like jazz.",
        "Vergiss nicht, dass ich Jazz mag.",
        "No olvides que soy alérgica.",
        "\u522b\u5fd8\u4e86\u6211\u5bf9\u82b1\u751f\u8fc7\u654f\u3002",
        "I like jazz.",
    ],
)
def test_what_is_no_such_request(text: str) -> None:
    assert forget_request(text) is None
