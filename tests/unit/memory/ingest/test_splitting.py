"""Long texts are cut where sentences, paragraphs and code blocks end."""

from __future__ import annotations

import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from memsched.memory.ingest.splitting import MAX_TEXT_CHARACTERS, parts_of

PIECES = st.sampled_from(
    [
        *(
            "a",
            "B",
            " ",
            "\n",
            "\n\n",
            ".",
            "!",
            "?",
            "3.5",
            "Dr. ",
            "\u2026",
            "\u3002",
            "\uff1f",
            "\u0964 ",
            "\u061f ",
            "\u1362",
        ),
        *(
            "\u4f60\u597d",
            "\u092e\u0948\u0902",
            "\u0645\u0631\u062d\u0628\u0627",
            "e\u0301",
            "\u0301",
            "\r\n",
            "```\n",
            "~~~",
            "    x = 1\n",
        ),
        *(
            "\U0001f469\u200d\U0001f4bb",
            "\U0001f44d\U0001f3fd",
            "\U0001f1e9\U0001f1ea",
            "\u201d",
            "\u300d",
            "(",
            ") ",
            "\u0600",
        ),
    ]
)


@given(st.lists(PIECES, max_size=120).map("".join), st.sampled_from([9, 20, 60]))
def test_parts_are_the_text_to_the_letter_and_cut_no_character(text: str, most: int) -> None:
    parts = parts_of(text, most)

    assert "".join(parts) == text
    assert all(len(part) <= most for part in parts)
    characters = regex.findall(r"\X", text)
    if max(map(len, characters), default=0) <= most // 2:
        ends = {0}
        for character in characters:
            ends.add(max(ends) + len(character))
        assert {sum(map(len, parts[:number])) for number in range(len(parts) + 1)} <= ends


def test_a_long_text_is_cut_where_sentences_end() -> None:
    sentences = [f"This is sentence number {number}." for number in range(100)]

    parts = parts_of(" ".join(sentences))

    assert len(parts) > 1
    assert all(part.rstrip().endswith(".") and part.startswith("This") for part in parts)
    assert parts_of("short ") == ["short "]
    assert max(map(len, parts)) <= MAX_TEXT_CHARACTERS


@pytest.mark.parametrize(
    "sentences",
    [
        [
            "\u4ed6\u8bf4\uff1a\u201c\u597d\u3002\u201d",
            "\u7136\u540e\u4ed6\u8d70\u4e86\uff01",
            "\u300c\u4f60\u597d\u5417\uff1f\u300d",
            "\u4ef7\u683c\u662f3\uff0e5\u5143\u3002",
            "\u518d\u89c1\uff0e",
        ],
        ["\u0939\u093e\u0901\u0964 ", "\u0920\u0940\u0915 \u0939\u0948\u0964 "],
        [
            "\u0647\u0644 \u0623\u0646\u062a \u0628\u062e\u064a\u0631\u061f ",
            "\u06cc\u06c1 \u06c1\u06d2\u06d4 ",
            "\u0646\u0639\u0645. ",
        ],
        ["\u1230\u120b\u121d\u1362 ", "\u12f0\u1205\u1293\u1362"],
        [
            "Dr. Wu paid 3.5 euros. ",
            "He saw J. Doe! ",
            '"Stop!" he said. ',
            "(She stayed.) ",
            "Well\u2026 ",
            "Ok, e.g. Here.",
        ],
        [
            "Am 3. Mai um 5. ",
            "Um 12. ",
            "\u201eNein.\u201c ",
            "Frau Prof. Weber, z. B. Hier. ",
            "Sra. L\u00f3pez vino. ",
            "\u00bfVienes? ",
            "S\u00ed.",
        ],
        ["See http://a.b/x?y=1 for it. ", "What?! ", "Now."],
    ],
)
def test_sentences_end_as_their_script_ends_them(sentences: list[str]) -> None:
    text = "".join(sentences)

    for number in range(1, len(sentences)):
        for most in range(max(map(len, sentences)), len(text)):
            ends = {len("".join(sentences[:count])) for count in range(len(sentences) + 1)}
            assert len(parts_of(text, most)[0]) in ends, (number, most)


def test_a_paragraph_is_a_better_end_than_a_sentence() -> None:
    assert parts_of("One is one. Two is two.\n\nThree is. Four is.", 40) == [
        "One is one. Two is two.\n\n",
        "Three is. Four is.",
    ]


def test_code_is_cut_only_where_it_alone_is_too_long_and_then_between_lines() -> None:
    code = "```python\nif a:\n\n    b = 'One. Two. Three.'\n\n```\n"
    assert parts_of(f"See this. And this:\n{code}So it is, and so it goes on.", 60) == [
        "See this. And this:\n",
        code,
        "So it is, and so it goes on.",
    ]

    line = "    x = f(1). y\n"
    parts = parts_of(f"Long:\n~~~\n{line * 20}~~~\nEnd.", 60)
    assert parts[0] == "Long:\n"
    assert all(part.startswith(("~~~", "    x")) and part.endswith("\n") for part in parts[1:-1])


@pytest.mark.parametrize("piece", ["?", ". ", "a", "\n", "\u0301", "```\n", "\u3002", '."', " "])
def test_no_text_takes_more_than_linear_time(piece: str) -> None:
    started = time.process_time()
    parts_of(piece * (50_000 // len(piece)))

    assert time.process_time() - started < 5
