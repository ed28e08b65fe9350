"""Short answers: "Blue." means something only after its question, and after another question something else.

Which turn asked is kept by its id, never by a copy of its text: who deletes the question has deleted all of it.
"""

from __future__ import annotations

import re

from memsched.lexicon import is_without_spaces, words
from memsched.memory.model import Memory

_MOST_WORDS = 5
_MOST_LETTERS = 10
"""Of a script that puts no spaces between words."""
_ASKS = re.compile(
    r"[?\uff1f\u061f]|(?:^|[.!,;]\s+)(?:please )?(?:tell|give|name|say|describe|choose|pick|enter|type)\b"
    r"|(?:^|[.!,;]\s+)(?:bitte )?(?:sag|nenn|gib|wähl)\w*|(?:^|[.!,;]\s+)(?:dime|di|dame|elige|nombra)\b"
    r"|\u544a\u8bc9\u6211|\u8bf7\u8bf4|\u8bf7\u9009",
    re.IGNORECASE,
)
"""Asks somewhere in it: "Do you smoke? Be honest.", "Tell me your blood type."."""
_QUESTION = re.compile(r"[?\uff1f\u061f\u1367\u037e]\W*\Z")


def is_short(text: str) -> bool:
    """Whether a text is so short that it may need its question, and asks nothing itself."""
    if len(text) > 100 or _QUESTION.search(text):
        return False
    if is_without_spaces(text):
        return sum(map(str.isalnum, text)) <= _MOST_LETTERS
    return len(words(text)) <= _MOST_WORDS


def answered_by(before: Memory | None, speaker: str, text: str) -> Memory | None:
    """The turn that a text answers shortly, if it does.

    Args:
        before: what was said right before it, in the same conversation.
    """
    if before is None or before.speaker == speaker or not is_short(text):
        return None
    return before if _QUESTION.search(before.text) or _ASKS.search(before.text) else None
