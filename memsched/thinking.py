"""The thinking of a reasoning model, which many servers leave in its answer: what of a text it is, and what is said.

It stands at the beginning: ``<think>...</think>`` or marks of other kinds (thinking_words.json), also escaped for HTML,
several blocks, blocks within blocks, one that never ends (the model used up its tokens), or its end alone, because the
prompt began it. Further on it is a block on lines of its own. Any other mark within what is said is spoken about, and
stays; one that a thought quotes, or has in a fence of code, neither begins nor ends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

from memsched.lazy_pattern import LazyPattern

_WORDS: dict[str, Any] = json.loads(files(__package__).joinpath("thinking_words.json").read_text(encoding="utf-8"))
_NAMES: tuple[str, ...] = (*_WORDS["names"], *_WORDS["other_names"])
_TOKENS: dict[str, str] = _WORDS["opening_tokens"] | _WORDS["closing_tokens"]
"""Special tokens, with the kind of thinking that they are of."""


def _any_of(literals: Iterable[str]) -> str:
    return "|".join(map(re.escape, literals))


_NAME = rf"(?:{_any_of(_NAMES)})"
_ATTRIBUTE = r"\s{1,9}[\w:.-]{1,40}(?:\s?=\s?(?:\"[^\"<>]{0,99}\"|'[^'<>]{0,99}'|[^\s\"'<>]{1,99}))"
_OPENING = (
    rf"(?P<opening><\s?{_NAME}(?:{_ATTRIBUTE}){{0,3}}\s{{0,9}}>|\[think\]|\u25c1think\u25b7"
    rf"|&lt;{_NAME}&gt;|{_any_of(_WORDS['opening_tokens'])})"
)
_CLOSING = (
    rf"(?P<closing><\s?/\s?{_NAME}\s{{0,9}}>|\[/think\]|\u25c1/think\u25b7|&lt;/{_NAME}&gt;"
    rf"|{_any_of(_WORDS['closing_tokens'])})"
)
_EMPTY = rf"(?P<empty><\s?{_NAME}\s{{0,9}}/\s?>)"
_LONGEST = 500
_UNSEEN = r"[\s\ufeff\u200b-\u200f\u2060]*"
"""White space, a byte order mark, what has no width."""
_BEGINS = re.compile(
    rf"{_UNSEEN}(?:(?:{_any_of(_WORDS['headers'])}){_UNSEEN})?(?:{_CLOSING}|{_EMPTY}|{_OPENING})", re.IGNORECASE
)
_MARKS = re.compile(rf"{_CLOSING}|{_OPENING}", re.IGNORECASE)
_ENDS = re.compile(rf"{_CLOSING}|{_EMPTY}", re.IGNORECASE)
_BEGUN = re.compile(r"(?:[<\[\u25c1]\s?/?\s?(?P<name>[\w:]*)(?P<more>(?:\s[^<>]*|/\s?))?)?")
_BEGUN_ESCAPED = re.compile(r"&(?:l(?:t(?:;(?:/?(?P<name>[\w:]*)(?P<more>&g?t?)?)?)?)?)?")
_IS_UNSEEN = re.compile(_UNSEEN)

_PHRASES = (*_WORDS["joins"], *_WORDS["nouns"], *_WORDS["verbs"])


def _goes_on_with(phrases: Iterable[str]) -> LazyPattern:
    """A capital letter, or a word right at the mark, begins a sentence of its own."""
    apart = r"[ \t]*[,:]?[ \t]*(?:(?<=[ \t,:])|(?![a-z]))"
    return LazyPattern(rf"{apart}(?:{_any_of(phrases)})(?!(?<=[a-z])\w)")


_SPEAKS_OF_IT = _goes_on_with(_PHRASES)
_SAYS_WHAT_IT_IS = _goes_on_with((*_WORDS["nouns"], *_WORDS["verbs"]))
_NAMES_ITS_KIND = _goes_on_with(_WORDS["nouns"])
_DECIDED_BY = 24
"""So many characters after a mark show whether a sentence that speaks of it goes on."""
_SHOW_QUOTES = 2
"""So many show whether it is quoted."""
_PUNCTUATION = re.compile(r"[ \t]*[,.:;)]")
_LOWER_CASE = re.compile(r"[ \t]+[^\W\dA-Z_]")
_BETWEEN_MARKS = LazyPattern(rf"\s*(?:{_any_of(_WORDS['joins'])}|[\W_]+)\s*", re.IGNORECASE)
_PLACEHOLDER = LazyPattern(rf"\s*(?:{_any_of(_WORDS['placeholders'])}|[\W_]+)\s*", re.IGNORECASE)
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
_FENCES = ("```", "~~~")
_ESCAPED = "&lt;"
"""The kind of thinking whose marks a server or a front end has escaped for HTML."""
_PROMPTED = "think"
"""The kind of thinking that a prompt may begin."""

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
    found, by_tokens = _begun_with(text)
    said = _Said(by_tokens).feed(found.said, last=True)
    return found if said == found.said else replace(found, said=said, thinks=True)


def _begun_with(text: str) -> tuple[Parted, bool]:
    """Part an answer by the thinking at its beginning; and whether that ended with a special token."""
    at, certain = _after_blocks(text, 0)
    begins = _BEGINS.match(text)
    unopened = at != 0 and begins is not None and begins["closing"] is not None and _kind(begins) == _PROMPTED
    if begins is None and (end := _unopened_end(text)) is not None:
        at, certain = _after_blocks(text, end)
        unopened = True
    if at is None:
        return Parted("", True, unopened, certain=False), False
    by_tokens = text[max(0, at - _LONGEST) : at].rstrip().casefold().endswith(tuple(_WORDS["closing_tokens"]))
    return Parted(text[at:].lstrip() if at else text, at > 0, unopened, certain), by_tokens


class ThinkingFilter:
    """Parts an answer that comes in pieces, wherever they are cut.

    Args:
        holds: whether nothing is given until it is certain that it is no thinking without a beginning: which may be
            at the end. Otherwise such thinking is given, because nothing tells what it is.
    """

    def __init__(self, *, holds: bool) -> None:
        self._holds = holds
        self._text = ""
        self._said: _Said | None = None
        self._searched = self._closed = self._tried = 0

    @property
    def parted(self) -> Parted:
        """All that came, parted."""
        return parted(self._text)

    def feed(self, piece: str) -> str:
        """Take a piece; return what is certainly said and was not given before."""
        self._text += piece
        if self._said is not None:
            return self._said.feed(piece)
        if _may_begin_a_mark(self._text):
            return ""
        thinks = _BEGINS.match(self._text) is not None
        for mark in _ENDS.finditer(self._text, max(0, self._searched - _LONGEST)):
            self._closed = mark.end()
        self._searched = len(self._text)
        if (thinks or self._holds) and self._closed == self._tried:
            return ""
        if self._closed and _is_undecided(self._text[self._closed : self._closed + _LONGEST]):
            return ""
        found, by_tokens = _begun_with(self._text)
        if _may_begin_a_mark(found.said):  # of the next block
            return ""
        if not found.certain or (self._holds and not thinks and not found.unopened):
            self._tried = self._closed  # the next mark may tell
            return ""
        self._said = _Said(by_tokens)
        return self._said.feed(found.said)

    def end(self) -> str:
        """Return what is left to give at the end of the answer."""
        return self.parted.said if self._said is None else self._said.feed("", last=True)


class _Said:
    """What is said, which comes in pieces: without blocks of thinking that begin and end on lines of their own, or on
    one.

    One in a fence of code, or announced by a colon, is spoken about.

    Args:
        by_tokens: whether it began after a special token: then one may stand at its end, and is left out.
    """

    def __init__(self, by_tokens: bool) -> None:
        self._by_tokens = by_tokens
        self._line = self._block = self._end = self._last = ""
        self._within = self._fenced = False

    def feed(self, piece: str, *, last: bool = False) -> str:
        """Take a piece; return what is said and was not given before."""
        self._line += piece
        given = self._end
        while self._line:
            line, newline, rest = self._line.partition("\n")
            if not (newline or last) and (self._block or (not self._within and _may_begin_a_line(line))):
                break
            self._line = rest
            given += self._given(line + newline)
        if last:
            given += self._block  # it has no end
            self._block = ""
        if not self._by_tokens:
            return given
        at = _last_token(given)
        self._end = given[at:]
        return given[:at] + (self._end if last and self._end.strip().casefold() not in _WORDS["last_tokens"] else "")

    def _given(self, line: str) -> str:
        begins, self._within = not self._within, not line.endswith("\n")
        told = not self._fenced and self._last != "" and self._last not in ":\uff1a"
        if begins and told and not self._block and _is_block(line):
            return ""
        mark = _MARKS.fullmatch(line.strip()) if begins else None
        alone = mark if mark and _kind(mark) == _PROMPTED else None
        if self._block:
            self._block = "" if alone and alone["closing"] else self._block + line
            return ""
        if alone and alone["opening"] and told:
            self._block = line
            return ""
        if begins and line.lstrip().startswith(_FENCES):
            self._fenced = not self._fenced
        self._last = line.rstrip()[-1:] or self._last
        return line


def _may_begin_a_line(text: str) -> bool:
    """Whether more may make the beginning of a line a mark, or a fence of code; or it is a mark already."""
    begun = text.strip()
    if any(fence.startswith(begun) and fence != begun for fence in _FENCES) or _may_begin_a_mark(text):
        return True
    mark = _MARKS.match(begun)
    return mark is not None and (mark["opening"] is not None or mark.end() == len(begun))


def _is_block(line: str) -> bool:
    """Whether a line is a thought from its opening mark to its closing one, and none that stands for any."""
    line = line.strip()
    if (opening := _MARKS.match(line)) is None or not opening["opening"] or _kind(opening) != _PROMPTED:
        return False
    marks = list(_MARKS.finditer(line, opening.end()))
    if len(marks) != 1 or not marks[0]["closing"] or _kind(marks[0]) != _PROMPTED or marks[0].end() != len(line):
        return False
    inside = line[opening.end() : marks[0].start()].strip()
    return inside != "" and _PLACEHOLDER.fullmatch(inside) is None


def _last_token(text: str) -> int:
    """Where a special token begins, or may have begun, that stands at the end."""
    at = text.rfind("<")
    begun = text[at:].strip().casefold() if at >= 0 else ""
    return at if begun and any(token.startswith(begun) for token in _WORDS["last_tokens"]) else len(text)


def _may_begin_a_mark(text: str) -> bool:
    """Whether more may make its beginning a mark."""
    if len(text) > _LONGEST:
        return False
    begun = _IS_UNSEEN.sub("", text.casefold(), count=1)
    for header in _WORDS["headers"]:
        if header.startswith(begun):
            return True
        if begun.startswith(header):
            begun = _IS_UNSEEN.sub("", begun[len(header) :], count=1)
            break
    if any(token.startswith(begun) and token != begun for token in _TOKENS):
        return True
    mark = _BEGUN.fullmatch(begun) or _BEGUN_ESCAPED.fullmatch(begun)
    if mark is None:
        return False
    name = mark["name"] or ""
    return name in _NAMES if mark["more"] else any(each.startswith(name) for each in _NAMES)


def _kind(mark: re.Match[str]) -> str:
    """Which marks belong together: what one kind begins, another does not end."""
    told = (mark["opening"] or mark["closing"]).casefold()
    if (token := _TOKENS.get(told)) is not None:
        return token
    if told.startswith("&"):
        return _ESCAPED
    name = told.strip("<>[]/\u25c1\u25b7 \t\r\n").split()[0]
    return name if name in _WORDS["other_names"] else _PROMPTED


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
        if mark["closing"] or mark["empty"]:  # of a block around those before, or of one that the prompt began
            if _closing_goes_on(text, mark.end()) or not (at or text[mark.end() :].strip()):
                break
            at = mark.end()
        elif _is_about(text, mark.end(), closing := _closing_of(text, mark)):
            certain = certain and closing is not None
            break
        else:
            end, known = _block_end(text, mark)
            if end is None:
                return None, False
            at, certain = end, certain and known
    return at, certain


def _closing_of(text: str, opening: re.Match[str]) -> re.Match[str] | None:
    kind, marks = _kind(opening), _MARKS.finditer(text, opening.end())
    return next((each for each in marks if each["closing"] and _kind(each) == kind), None)


def _is_about(text: str, opened: int, closing: re.Match[str] | None) -> bool:
    """Whether an opening mark at the beginning is spoken about: "<think> and </think> are tags"."""
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


def _block_end(text: str, begins: re.Match[str]) -> tuple[int | None, bool]:
    """Where the block ends that an opening mark begins, and whether that is certain.

    Where no closing mark surely ends it, it is the last that may (of blocks within it one was only spoken about), or
    the first that might be spoken about, or the last that might be quoted: an answer must not be lost.
    """
    opened, kind = begins.end(), _kind(begins)
    nests = kind not in _TOKENS.values()
    depth, fences, counted = 1, 0, opened
    last: int | None = None
    aside: int | None = None
    quoted: int | None = None
    for mark in _MARKS.finditer(text, opened):
        fences += text.count(_FENCES[0], counted, mark.start())
        counted = mark.start()
        if _kind(mark) != kind:
            continue
        if quotes := _quoted(text, opened, mark):
            quoted = mark.end() if quotes == "maybe" and mark["closing"] else quoted
            continue
        fenced = fences % 2 == 1
        if not mark["closing"]:
            depth += nests and not fenced and _SPEAKS_OF_IT.match(text, mark.end()) is None
        elif fenced or _closing_goes_on(text, mark.end()):
            if aside is None and not (fenced and text.count(_FENCES[0], mark.end()) % 2):
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
        fences += text.count(_FENCES[0], counted, mark.start())
        counted = mark.start()
        if _kind(mark) in (*_WORDS["other_names"], _ESCAPED) or _quoted(text, 0, mark):
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
