"""Escaping: what strangers wrote, made safe for terminals, log lines and statuses.

Labels, ids, contents and errors come from strangers. A control character in one of them could move the cursor, repaint
what an operator reads, or type into the shell; an exception can refuse to say what it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U00013441-\U00013442\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
"""What is not seen although it counts as a letter or a sign: Unicode's Default_Ignorable_Code_Point, and blanks."""
_EMOJI = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_JOINED = (
    "[\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06df-\u06ef\u06fa-\u06ff\u0710-\u07ff\u08a0-\u08ff\u0900-\u0963\u0971-\u0df3"
    "\u1000-\u103f\u1050-\u109f\u1780-\u17b3\u17b6-\u17d3\u1820-\u18aa\ufb50-\ufdff\ufe70-\ufefc]"
)
"""Of scripts whose letters join, or are told not to, by a character that is not seen: Arabic, Indic, and others."""
_PART_OF_IT = re.compile(
    f"(?<={_EMOJI})[\ufe0e\ufe0f]|(?<=[0-9#*])\ufe0f(?=\u20e3)"
    f"|(?<={_EMOJI})\u200d(?={_EMOJI})|(?<={_EMOJI}\ufe0f)\u200d(?={_EMOJI})|(?<={_JOINED})[\u200c\u200d](?={_JOINED})"
)
"""Not seen, but part of what is: of an emoji, or of how a word is written. One at a time: a run hides text."""
_UNSEEN = re.compile(f"[{_HIDDEN}]")
_LONGEST_TEXT = 2000
"""Characters of an error that are looked at: a message may be as large as what it complains about."""


def plain(text: str, *, lines: bool = False) -> str:
    """``text`` with everything escaped that is no visible character.

    Args:
        lines: keep its line ends.
    """

    def escaped(character: str) -> str:
        if lines and character == "\n":
            return character
        if character.isspace() and character > "\x7f":
            return " "
        return character.encode("unicode_escape").decode()

    return seen(text, escaped)


def seen(text: str, escaped: Callable[[str], str]) -> str:
    """``text`` with every character escaped that is not seen, unless it is part of one that is.

    Args:
        escaped: of a character that is not seen.
    """
    if text.isprintable() and _UNSEEN.search(text) is None:
        return text
    part_of_it = {match.start() for match in _PART_OF_IT.finditer(text)}
    return "".join(
        character
        if at in part_of_it or (character.isprintable() and _UNSEEN.match(character) is None)
        else escaped(character)
        for at, character in enumerate(text)
    )


def json_data(value: object) -> str:
    """JSON of what strangers wrote, for a prompt: in one line, with nothing in it that is not seen, without < and >."""
    return seen(json.dumps(value, ensure_ascii=False), _in_json).replace("<", _in_json("<")).replace(">", _in_json(">"))


def _in_json(character: str) -> str:
    code = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4))


def sendable(text: str) -> str:
    """The beginning of a text, as characters that can be sent.

    Half a surrogate pair is no character, but stands in error texts: for a file name that is not UTF-8.
    """
    return text[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()


def describe_error(error: BaseException) -> str:
    """One text about an exception, for statuses and dead letters: its type, and what it says if it says anything.

    Never raises: home-made exceptions fail in their own ``__str__``, and that must not cost anybody a message.
    """
    name = "an error"
    try:
        name = type(error).__name__
        text = "".join([str(error)])  # a plain string, whatever class of string it answers
    except BaseException as failure:  # noqa: BLE001 -- whatever it raises, it only says nothing
        text = f"(its text cannot be had: {type(failure).__name__})"
    return sendable(f"{name}: {text[:_LONGEST_TEXT]}".rstrip(": "))
