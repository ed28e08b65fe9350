"""Short answers: "Blue." means something only after its question, and after another question something else.

Which turn asked is kept by its id, never by a copy of its text: who deletes the question has deleted all of it.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Literal

from memsched.lexicon import is_without_spaces, words
from memsched.memory.ingest.reading import reading
from memsched.memory.ingest.revision import Revision, revises
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


Meant = Literal["yes", "no", "beside", ""]
_PHRASES: dict[Meant, dict[str, list[str]]] = json.loads(
    files(__package__).joinpath("short_answers.json").read_text(encoding="utf-8")
)
_MEANT: dict[tuple[str, ...], Meant] = {
    tuple(phrase.split()): kind for kind, lists in _PHRASES.items() for listed in lists.values() for phrase in listed
}
_LONGEST_PHRASE = max(map(len, _MEANT))
_NOT_CHINESE = ("\u4e0d", "\u6ca1\u6709", "\u6ca1")
_MARKS = re.compile(r"[\W_]+")


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
    return before if asks(before.text) else None


def asks(text: str) -> bool:
    """Whether a text asks for something, somewhere in it."""
    return bool(_QUESTION.search(text) or _ASKS.search(text))


def revision(newer: Memory, older: Memory) -> Revision:
    """What a later memory does to an earlier one: by their words, or as another answer to the same question."""
    found = revises(newer, older)
    is_other = newer.answers != "" and newer.answers == older.answers and newer.content_hash != older.content_hash
    if not is_other or found.verdict == "supersedes":
        return found
    kinds = yes_or_no(newer.text), yes_or_no(older.text)
    if kinds in (("yes", "no"), ("no", "yes")) or _is_negated(newer.text, older.text):
        return Revision("supersedes", f'answers the other way than "{older.text}"')
    return found if kinds[0] == kinds[1] != "" else Revision("may_revise", "another answer to the same question")


def yes_or_no(text: str) -> Meant:
    """Whether an answer says nothing else than yes, or no, in English, Chinese, German or Spanish."""
    if is_without_spaces(text):
        first, *rest = _MARKS.sub(" ", text).split() or [""]
        kind = _MEANT.get((first,), "")
        is_no = [any(sign in each for sign in _NOT_CHINESE) for each in rest]
        return kind if kind in ("yes", "no") and set(is_no) <= {kind == "no"} else ""
    left = _MARKS.sub(" ", reading(text).lower()).split()
    said: set[Meant] = set()
    while left:
        size = next((n for n in range(min(_LONGEST_PHRASE, len(left)), 0, -1) if tuple(left[:n]) in _MEANT), 0)
        if not size:
            return ""
        said.add(_MEANT[tuple(left[:size])])
        left = left[size:]
    said.discard("beside")
    return said.pop() if len(said) == 1 else ""


def _is_negated(one: str, other: str) -> bool:
    """Whether one of two repeats the question's verb with a "not": 吃 and 不吃."""
    short, long = sorted((_MARKS.sub("", one), _MARKS.sub("", other)), key=len)
    return bool(short) and any(long == negation + short for negation in _NOT_CHINESE)
