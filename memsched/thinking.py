"""The thinking of a reasoning model, which many servers leave in its answer: what of a text it is, and what is said.

It stands at the beginning: ``<think>...</think>``, several such blocks, blocks within blocks, one that never ends (the
model used up its tokens), or its end alone, because the prompt began it. A mark within what is said is spoken about,
and stays; one that a thought quotes, or has in a fence of code, neither begins nor ends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_NAME = rf"(?:{'|'.join(_NAMES)})"
_ATTRIBUTE = r"\s{1,9}[\w:.-]{1,40}(?:\s?=\s?(?:\"[^\"<>]{0,99}\"|'[^'<>]{0,99}'|[^\s\"'<>]{1,99}))"
_OPENING = rf"<\s?{_NAME}(?:{_ATTRIBUTE}){{0,3}}\s{{0,9}}>|\[think\]|\u25c1think\u25b7"
_CLOSING = rf"<\s?/\s?{_NAME}\s{{0,9}}>|\[/think\]|\u25c1/think\u25b7"
_LONGEST = 500
_UNSEEN = r"[\s\ufeff\u200b-\u200f\u2060]*"
"""White space, a byte order mark, what has no width."""
_BEGINS = re.compile(rf"{_UNSEEN}(?:(?P<closing>{_CLOSING})|{_OPENING})", re.IGNORECASE)
_MARKS = re.compile(rf"(?P<closing>{_CLOSING})|{_OPENING}", re.IGNORECASE)
_CLOSES = re.compile(_CLOSING, re.IGNORECASE)
_BEGUN = re.compile(rf"{_UNSEEN}(?:[<\[\u25c1]\s?/?\s?(?P<name>[\w:]*)(?P<more>\s[^<>]*)?)?")

_WORDS: dict[str, Any] = json.loads(files(__package__).joinpath("thinking_words.json").read_text(encoding="utf-8"))
_PHRASES = (*_WORDS["joins"], *_WORDS["nouns"], *_WORDS["verbs"])


def _goes_on_with(phrases: Iterable[str]) -> re.Pattern[str]:
    """A capital letter, or a word right at the mark, begins a sentence of its own."""
    apart = r"[ \t]*[,:]?[ \t]*(?:(?<=[ \t,:])|(?![a-z]))"
    return re.compile(rf"{apart}(?:{'|'.join(map(re.escape, phrases))})(?!(?<=[a-z])\w)")


_SPEAKS_OF_IT = _goes_on_with(_PHRASES)
_SAYS_WHAT_IT_IS = _goes_on_with((*_WORDS["nouns"], *_WORDS["verbs"]))
_NAMES_ITS_KIND = _goes_on_with(_WORDS["nouns"])
_DECIDED_BY = 24
"""So many characters after a mark show whether a sentence that speaks of it goes on."""
_SHOW_QUOTES = 2
"""So many show whether it is quoted."""
_PUNCTUATION = re.compile(r"[ \t]*[,.:;)]")
_LOWER_CASE = re.compile(r"[ \t]+[^\W\dA-Z_]")
_BETWEEN_MARKS = re.compile(rf"\s*(?:{'|'.join(map(re.escape, _WORDS['joins']))}|[\W_]+)\s*", re.IGNORECASE)
_PLACEHOLDER = re.compile(rf"\s*(?:{'|'.join(map(re.escape, _WORDS['placeholders']))}|[\W_]+)\s*", re.IGNORECASE)
_MID_SENTENCE = re.compile(
    r"(?<![.!?\u2026\u3002\uff01\uff1f\s\"'`])[\s\u201c\u2018(\u300c][\s\"'`\u201c\u2018(\u300c]*$"
)
_BLANK = re.compile(r"\s*")
_NAMES_WHAT_FOLLOWS = re.compile(r"(?:^|[:\uff1a])\s*\Z")
_QUOTES = {"'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb", "\u300c": "\u300d", "(": ")"}
_SAME_QUOTES = ('"', "`")
_WORD = re.compile(r"[^\W\u2e80-\U0010ffff]")
_ENDS_WORD = re.compile(r"[^\W\u2e80-\U0010ffff]|[.,!?%)\u2026]")
_ON_THE_LINE = 1000
"""Characters before a mark that are looked at for the quote that is open there."""
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
        certain: whether nothing that might follow changes where thinking ends.
    """

    said: str
    thinks: bool = False
    unopened: bool = False
    certain: bool = True


def without_thinking(text: str) -> str:
    """What is said in a model's answer."""
    return parted(text).said


def parted(text: str) -> Parted:
    """Part an answer that is at its end."""
    at, certain = _after_blocks(text, 0)
    begins = _BEGINS.match(text)
    unopened = at != 0 and begins is not None and begins["closing"] is not None
    if at == 0 and (end := _unopened_end(text)) is not None:
        at, certain = _after_blocks(text, end)
        unopened = True
    if at is None:
        return Parted("", thinks=True, certain=False)
    return Parted(text[at:].lstrip() if at else text, at > 0, unopened, certain)


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
        self._searched = self._closed = self._tried = 0

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
        thinks = _BEGINS.match(self._text) is not None
        for mark in _CLOSES.finditer(self._text, max(0, self._searched - _LONGEST)):
            self._closed = mark.end()
        self._searched = len(self._text)
        if (thinks or self._holds) and self._closed == self._tried:
            return ""
        if self._closed and _is_undecided(self._text[self._closed : self._closed + _LONGEST]):
            return ""
        found = self.parted
        if _may_begin_a_mark(found.said):  # of the next block
            return ""
        if not found.certain or (self._holds and not thinks and not found.unopened):
            self._tried = self._closed  # the next mark may tell
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
    """Whether more may make its beginning a mark."""
    begun = _BEGUN.fullmatch(text[: _LONGEST + 1])
    if begun is None or len(text) > _LONGEST:
        return False
    name = (begun["name"] or "").casefold()
    return name in _NAMES if begun["more"] else any(each.startswith(name) for each in _NAMES)


def _is_undecided(after: str) -> bool:
    """Whether nothing is said after a mark yet, or more may make it a sentence that speaks of the mark."""
    begun = after.lstrip(" \t,:").casefold()
    return len(after.lstrip()) < _SHOW_QUOTES or (
        len(after) < _DECIDED_BY and any(each.startswith(begun) for each in _PHRASES)
    )


def _after_blocks(text: str, at: int) -> tuple[int | None, bool]:
    """Where the blocks end that begin at a place; None: nothing follows, because the last has no end. And whether that
    is certain.
    """
    certain = True
    while (mark := _BEGINS.match(text, at)) is not None:
        if mark["closing"]:  # of a block around those before, or of one that the prompt began
            if _closing_goes_on(text, mark.end()) or not (at or text[mark.end() :].strip()):
                break
            at = mark.end()
        elif _is_about(text, mark.end()):
            break
        else:
            end, known = _block_end(text, mark.end())
            if end is None:
                return None, False
            at, certain = end, certain and known
    return at, certain


def _is_about(text: str, opened: int) -> bool:
    """Whether an opening mark at the beginning is spoken about: "<think> and </think> are tags"."""
    closing = _CLOSES.search(text, opened)
    if closing is None:
        return _SAYS_WHAT_IT_IS.match(text, opened) is not None
    inside = text[opened : closing.start()]
    if inside and _PLACEHOLDER.fullmatch(inside) and _NAMES_ITS_KIND.match(text, closing.end()):
        return True
    if inside.strip() and _BETWEEN_MARKS.fullmatch(inside):
        return _closing_goes_on(text, closing.end()) or _LOWER_CASE.match(text, closing.end()) is not None
    return _SAYS_WHAT_IT_IS.match(text, opened) is not None and _closing_goes_on(text, closing.end())


def _closing_goes_on(text: str, closed: int) -> bool:
    """Whether the sentence around a closing mark goes on."""
    return _SPEAKS_OF_IT.match(text, closed) is not None or _PUNCTUATION.match(text, closed) is not None


def _block_end(text: str, opened: int) -> tuple[int | None, bool]:
    """Where the block ends whose opening mark ends at ``opened``, and whether that is certain.

    Where no closing mark surely ends it, it is the last that may (of blocks within it one was only spoken about), or
    the first that might be spoken about, or the last that might be quoted: an answer must not be lost.
    """
    depth, fences, counted = 1, 0, opened
    last: int | None = None
    aside: int | None = None
    quoted: int | None = None
    for mark in _MARKS.finditer(text, opened):
        fences += text.count(_FENCE, counted, mark.start())
        counted = mark.start()
        if quotes := _quoted(text, opened, mark):
            quoted = mark.end() if quotes == "maybe" and mark["closing"] else quoted
            continue
        fenced = fences % 2 == 1
        if not mark["closing"]:
            depth += not fenced and _SPEAKS_OF_IT.match(text, mark.end()) is None
        elif fenced or _closing_goes_on(text, mark.end()):
            if aside is None and not (fenced and text.count(_FENCE, mark.end()) % 2):
                aside = mark.end()
        else:
            depth, last = depth - 1, mark.end()
            if depth == 0:
                return last, True
    return last or aside or quoted, False


def _unopened_end(text: str) -> int | None:
    """Where thinking ends that has no beginning."""
    fences = counted = 0
    for mark in _MARKS.finditer(text):
        fences += text.count(_FENCE, counted, mark.start())
        counted = mark.start()
        if _quoted(text, 0, mark):
            continue
        if not mark["closing"]:
            if _SPEAKS_OF_IT.match(text, mark.end()) is None:
                return None
        elif fences % 2 == 0 and _ends_thinking(text, mark):
            return mark.end()
    return None


def _ends_thinking(text: str, mark: re.Match[str]) -> bool:
    """Whether a closing mark without an opening one ends a line or a sentence, instead of standing within one.

    Where nothing follows, the model stopped there; unless an answer ends by naming the mark.
    """
    if _closing_goes_on(text, mark.end()):
        return False
    if _BLANK.fullmatch(text, mark.end()) and _NAMES_WHAT_FOLLOWS.search(text, 0, mark.start()):
        return False
    line = _line_before(text, 0, mark)
    return not line.strip() or _MID_SENTENCE.search(line) is None


def _quoted(text: str, begin: int, mark: re.Match[str]) -> Literal["", "maybe", "surely"]:
    """Whether a mark stands in quotes: surely between two of them, maybe at the beginning or the end.

    A quotation begins where no word ends, and ends where none begins: neither is so of the mark in 27\"</think>You.
    """
    before, after = text[max(begin, mark.start() - 1) : mark.start()], text[mark.end() : mark.end() + 1]
    begins = before if not _ENDS_WORD.match(text, mark.start() - 2) or mark.start() - 2 < begin else ""
    ends = after if not _WORD.match(text, mark.end() + 1) else ""
    if ends and _QUOTES.get(begins) == ends:
        return "surely"
    line = _line_before(text, begin, mark)
    open_quotes = [quote for quote in (begins, ends) if quote in _SAME_QUOTES and line.count(quote) % 2]
    return "surely" if len(open_quotes) == 2 else "maybe" if open_quotes else ""


def _line_before(text: str, begin: int, mark: re.Match[str]) -> str:
    return text[max(begin, mark.start() - _ON_THE_LINE) : mark.start()].rpartition("\n")[2]
