"""What is told as a question, and what is asked."""

from __future__ import annotations

import pytest

from memsched.told_as_question import as_told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Did you know that I'm allergic to nuts?", "I'm allergic to nuts."),
        ("Hi. Have I told you we moved? It is nice.", "Hi. we moved. It is nice."),
        ("Wusstest du, dass ich Z\xf6liakie habe?", "ich Z\xf6liakie habe."),
        ("\xbfSab\xedas que soy cel\xedaca?", "soy cel\xedaca."),
        ("Did you know what I like?", None),
        ("Do you know if I'm allergic to nuts?", None),
        ("Did you know?", None),
    ],
)
def test_what_is_told_as_a_question_is_told(text: str, told: str | None) -> None:
    assert as_told(text) == (told or text)
