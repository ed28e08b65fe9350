"""Escaping: what strangers wrote, made safe for terminals, log lines and statuses.

Labels, ids, contents and errors come from strangers. A control character in one of them could move the cursor, repaint
what an operator reads, or type into the shell; an exception can refuse to say what it is.
"""

from __future__ import annotations

_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian is written, and emoji."""
_LONGEST_TEXT = 2000
"""Characters of an error that are looked at: a message may be as large as what it complains about."""


def plain(text: str, *, lines: bool = False) -> str:
    """``text`` with everything escaped that is no visible character.

    Args:
        lines: keep its line ends.
    """
    if text.isprintable():
        return text
    return "".join(_visible(character, lines) for character in text)


def _visible(character: str, lines: bool) -> str:
    if character.isprintable() or character in _JOINERS or (lines and character == "\n"):
        return character
    if character.isspace() and character > "\x7f":
        return " "
    return character.encode("unicode_escape").decode()


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
