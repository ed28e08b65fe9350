"""Quotations: what a text quotes, or gives to be worked on, which its speaker does not state; and what is in jest.

Each pattern looks at a sign a bounded number of times, however long the text is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from memsched.lexicon import is_without_spaces
from memsched.made_up import without_made_up

_QUOTED = re.compile(
    r"[\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300e]([^\"\u201c\u201d\u201e\u00ab\u00bb\u300d\u300f]*)"
    r"([\"\u201c\u201d\u00bb\u00ab\u300d\u300f]?)"
)
"""With what closes it, if something does: what is only opened is read to its end once."""
_WORDS = json.loads(Path(__file__).with_name("quoted_words.json").read_text(encoding="utf-8"))
_IN_JEST = re.compile(_WORDS["in_jest"], re.IGNORECASE)
_BEFORE_A_COLON = re.compile(r"(?m)^([^:\uff1a\n]*)[:\uff1a](?=\s|[^\x00-\x7f])")
_GIVES_A_TEXT = re.compile(rf"(?i)\b(?:{_WORDS['en']}|{_WORDS['de']}|{_WORDS['es']})\b|{_WORDS['zh']}")
_NOT_ONES_OWN = re.compile(r"```[^`]*(?:```|\Z)|(?m:^[ \t]{0,3}>.*$)")
"""Code, and lines that answer a letter."""
_SENTENCE_ENDS = ".!?\u3002\n"
_WORKS_ON_WHAT_STANDS_BEFORE = re.compile(rf"(?i)(?:{_WORDS['this_into']})(?=[^{_SENTENCE_ENDS}]*[.!?\u3002]?\s*\Z)")
_LONGEST_REQUEST = 400
"""Characters of one that begins in the sentence before: "Translate! This!"."""


def is_in_jest(text: str) -> bool:
    """Whether somebody agrees only to tell what cannot be: "Yeah sure, and I'm the queen"."""
    return _IN_JEST.search(text) is not None


def without_quotations(text: str) -> str:
    """Without what is quoted from others, made up, or given to be worked on; a title or a single word stays."""
    text = without_made_up(_NOT_ONES_OWN.sub("\n", text))
    text = text[: _end_of_what_gives_a_text(text)]
    text = text[_begin_of_what_works_on_it(text) :]

    def kept(match: re.Match[str]) -> str:
        if not match[2]:
            return match[0]
        is_short = len(match[1]) < 4 if is_without_spaces(match[1]) else len(match[1].split()) < 3
        return match[0] if is_short else " , "

    return _QUOTED.sub(kept, text)


def _end_of_what_gives_a_text(text: str) -> int | None:
    """Where "please translate:" ends, behind which nobody states anything."""
    return next((each.end() for each in _BEFORE_A_COLON.finditer(text) if _GIVES_A_TEXT.search(each[1])), None)


def _begin_of_what_works_on_it(text: str) -> int:
    """Where the last sentence begins, if it is "Can you translate this?", before which nobody states anything; or 0."""
    end = len(text.rstrip())
    if text[max(0, end - 1) : end] in (".", "!", "?", "\u3002"):
        end -= 1
    last = _begin_of_sentence(text, end)
    request = _WORKS_ON_WHAT_STANDS_BEFORE.search(text, max(0, last - _LONGEST_REQUEST))
    return 0 if request is None else _begin_of_sentence(text, request.start())


def _begin_of_sentence(text: str, at: int) -> int:
    return 1 + max(text.rfind(sign, 0, at) for sign in _SENTENCE_ENDS)
