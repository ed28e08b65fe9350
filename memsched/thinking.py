"""The thinking of a reasoning model, which many servers leave in its answer: what of a text it is, and what is said.

It stands at the beginning: ``<think>...</think>``, several such blocks, one that never ends (the model used up its
tokens), or its end alone, because the prompt began it. A mark within what is said is spoken about, and stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_OPENING = (*(f"<{name}>" for name in _NAMES), "[think]", "\u25c1think\u25b7")
_CLOSING = (*(f"</{name}>" for name in _NAMES), "[/think]", "\u25c1/think\u25b7")
_OPENS = re.compile(rf"\s*(?:{'|'.join(map(re.escape, _OPENING))})", re.IGNORECASE)
_CLOSES = re.compile("|".join(map(re.escape, _CLOSING)), re.IGNORECASE)
_LONGEST_MARK = max(map(len, _CLOSING))
_GOES_ON = re.compile(r"[ \t]+[^\W\dA-Z_]|[ \t]*[,.:;)'\"\u201d\u300d`]")
"""After a mark: the sentence that speaks about it goes on."""
_SPEAKS_OF = re.compile(r"[\s\"'`\u201c\u2018(\u300c]$")
_FENCE = "```"

Thinking = Literal["hide", "hold", "show"]
"""What becomes of it in an answer that is streamed: left out; left out also where that means that nothing is given
before the end; given as it is."""


@dataclass(frozen=True, slots=True)
class Parted:
    """An answer, parted.

    Args:
        said: what is not thinking; "" where it ended before anything was said.
        thinks: whether the rest is thinking.
        unopened: its thinking had an end, and no beginning.
    """

    said: str
    thinks: bool = False
    unopened: bool = False


def without_thinking(text: str) -> str:
    """What is said in a model's answer."""
    return parted(text).said


def parted(text: str) -> Parted:
    """Part an answer that is at its end."""
    at, unopened = _after_blocks(text), False
    if at == 0 and (end := _unopened_end(text)) is not None:
        at, unopened = end, True
    if at is None:
        return Parted("", thinks=True)
    return Parted(text[at:].lstrip() if at else text, at > 0, unopened)


class ThinkingFilter:
    """Parts an answer that comes in pieces, wherever they are cut.

    Args:
        holds: whether nothing is given until it is certain that it is no thinking without a beginning: which may be
            at the end. Otherwise such thinking is given, because nothing tells what it is.
    """

    def __init__(self, *, holds: bool) -> None:
        self._holds = holds
        self._text = ""
        self._passes = False
        self._searched = self._closed = 0

    @property
    def parted(self) -> Parted:
        """All that came, parted."""
        return parted(self._text)

    def feed(self, piece: str) -> str:
        """Take a piece; return what is certainly said and was not given before."""
        self._text += piece
        if self._passes:
            return piece
        if _may_begin_a_mark(self._text):
            return ""
        thinks = _OPENS.match(self._text) is not None
        if thinks or self._holds:
            for mark in _CLOSES.finditer(self._text, max(0, self._searched - _LONGEST_MARK)):
                self._closed = mark.end()
            self._searched = len(self._text)
            if not self._closed or not self._text[self._closed :].strip():
                return ""
        found = self.parted
        if self._holds and not thinks and not found.unopened:
            return ""
        if _may_begin_a_mark(found.said):  # of the next block
            return ""
        self._passes = True
        return found.said

    def end(self) -> str:
        """Return what is left to give at the end of the answer."""
        if self._passes:
            return ""
        self._passes = True
        return self.parted.said


def _may_begin_a_mark(text: str) -> bool:
    """Whether more may make it an opening mark."""
    begun = text.lstrip()[: _LONGEST_MARK + 1].casefold()
    return any(mark.startswith(begun) for mark in _OPENING)


def _after_blocks(text: str) -> int | None:
    """Where the blocks at the beginning end; None: nothing follows, because the last has no end."""
    at = 0
    while (mark := _OPENS.match(text, at)) is not None:
        end = _CLOSES.search(text, mark.end())
        inside = text[mark.end() : end.start() if end else None]
        about = "\n" not in inside.strip("\n") and _GOES_ON.match(inside) is not None
        if about and (end is None or _GOES_ON.match(text, end.end())):
            return at
        if end is None:
            return None
        at = end.end()
    return at


def _unopened_end(text: str) -> int | None:
    """Where thinking ends that has no beginning. Something is said after it: an answer may end by naming the mark."""
    for mark in _CLOSES.finditer(text):
        if _ends_thinking(text, mark) and text[mark.end() :].strip():
            return mark.end() + (_after_blocks(text[mark.end() :]) or 0)
    return None


def _ends_thinking(text: str, mark: re.Match[str]) -> bool:
    """Whether a closing mark without an opening one ends a line or a sentence, instead of standing within one."""
    before = text[: mark.start()]
    if before.count(_FENCE) % 2 or _OPENS.search(before) or _GOES_ON.match(text, mark.end()):
        return False
    is_alone = not before.rpartition("\n")[2].strip()
    return is_alone or _SPEAKS_OF.search(before) is None
