"""What strangers wrote is shown as it is, but for what cannot be seen: that is escaped."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsched.escaping import json_data, plain

HIDDEN = (
    *"\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u200b\u200c\u200d\u200e\u202e\u2060\u2064\u2800\u3164\ufe00\ufe0f\ufeff",
    *"\uffa0\U000e0100\U000e01ef\U000e0041\U0001d159\U0001d173",
)
LEGIBLE = [
    "Zo\u00eb: \u5b89\u5a1c\uff1a\u559c\u6b22\u8336",
    "I \u2764\ufe0f tea \u2615\ufe0e, room 7\ufe0f\u20e3",
    "\U0001f469\u200d\U0001f4bb \U0001f469\U0001f3fd\u200d\u2695\ufe0f \U0001f3f3\ufe0f\u200d\U0001f308",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: I want
    "\u0915\u094d\u200d\u0937 \u0d9a\u0dca\u200d\u0dbb",  # Devanagari and Sinhala: joined consonants
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_what_is_not_seen_is_escaped(hidden: str) -> None:
    for text in (
        f"pay{hidden}pal",
        f"a {hidden} b",
        hidden,
        f"\u5b89{hidden}{hidden}",
        f"\u0645{hidden}{hidden}\u0645",
    ):
        assert hidden not in plain(text)
        assert hidden not in json_data(text)
        assert json.loads(json_data({"text": text})) == {"text": text}


@pytest.mark.parametrize("text", LEGIBLE)
def test_what_is_part_of_an_emoji_or_of_how_a_word_is_written_stays(text: str) -> None:
    assert plain(text) == text
    assert json_data(text) == json.dumps(text, ensure_ascii=False)


def test_a_run_of_what_is_not_seen_stays_nowhere() -> None:
    for run in ("\U0001f469\u200d\u200d\U0001f4bb", "\u0645\u200c\u200c\u062e", "\u2764\ufe0f\ufe0f"):
        assert run not in plain(run)


@given(st.one_of(st.text(), st.text("".join(HIDDEN) + 'a<>\u0645\u2764\n\\"')))
def test_json_for_a_prompt_says_the_same_in_one_line(text: str) -> None:
    encoded = json_data(text)

    assert json.loads(encoded) == text
    assert len(encoded.splitlines()) == 1
    assert not {"<", ">"} & set(encoded)
    assert encoded.encode()
