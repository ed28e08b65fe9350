"""Secrets in tables: what stands in a column, or beside a name, that is called a password, a token or a code.

Tables of Markdown and of terminals (``|``), CSV (tab, semicolon, comma), columns apart by blanks, and HTML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from memsched.secret_values import is_password

_RULE = re.compile(r"[\s|+:=-]*-[\s|+:=-]*")
"""A line between a table's head and its rows."""
_CELLS = {
    "|": re.compile(r"(?:^|\|)([^|]*)"),
    "\t": re.compile(r'(?:^|\t)("(?:[^"]|"")*"(?=\t|$)|[^\t]*)'),
    ";": re.compile(r'(?:^|;)( *"(?:[^"]|"")*" *(?=;|$)|[^;]*)'),
    ",": re.compile(r'(?:^|,)( *"(?:[^"]|"")*" *(?=,|$)|[^,]*)'),
    "  ": re.compile(r"(\S+(?: \S+)*)"),
}
_HTML = re.compile(
    r"<(?:(table)\b|(tr)\b|(t[hd])\b[^<>]{0,200}>\s*(?:<[a-z]+[^<>]{0,100}>\s*){0,2}([^<>]*))", re.IGNORECASE
)
_NAMES = re.compile(r"(?:[\w.#/*:-]++(?: [\w.#/*:-]++){0,2})?(?: ?\([^()]*\))?")
_AROUND = " \t\r\n*`\"'"
_LONGEST_NAME, _LONGEST_HEAD, _SHORTEST = 40, 400, 3


@dataclass(frozen=True, slots=True)
class _Cell:
    """What stands in a cell, and where in the text."""

    text: str
    at: int
    is_head: bool = False


def without_cells(text: str, tells: Callable[[str], bool], masked: Callable[[str, str], str]) -> str:
    """A text with the cells of its tables masked that have a secret's name above or beside them.

    Args:
        tells: whether a name may be a secret's.
        masked: a value without secrets, by its name and itself.
    """
    parts, end = [], 0
    for name, cell in sorted(_named(text, tells), key=lambda found: found[1].at):
        plain = masked(name, cell.text) if len(cell.text) >= _SHORTEST else cell.text
        if plain != cell.text and cell.at >= end:
            parts += [text[end : cell.at], plain]
            end = cell.at + len(cell.text)
    return "".join([*parts, text[end:]]) if parts else text


def _named(text: str, tells: Callable[[str], bool]) -> Iterator[tuple[str, _Cell]]:
    """The cells that a name tells of, each with it."""
    if "</t" in text.lower():
        for rows in _tables_of_html(text):
            yield from _of_table(rows, tells, is_html=True)
    lines, at = text.split("\n"), 0
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    while at + 1 < len(lines):
        rows, behind = _table_at(lines, starts, at, tells)
        if rows:
            yield from _of_table(rows, tells, is_html=False)
        at = behind


def _table_at(
    lines: Sequence[str], starts: Sequence[int], at: int, tells: Callable[[str], bool]
) -> tuple[list[list[_Cell]], int]:
    """The table whose head is this line, if it is one, and the line behind it."""
    head, below = lines[at], lines[at + 1]
    is_ruled = _RULE.fullmatch(below) is not None
    if len(head) > _LONGEST_HEAD:
        return [], at + 1
    for mark in _CELLS:
        if mark not in head or not (is_ruled or mark in below) or (mark == "|" and not _is_row(head, is_ruled)):
            continue
        names = _cells(mark, head, starts[at])
        if at and len(_cells(mark, lines[at - 1], 0)) == len(names) and not _RULE.fullmatch(lines[at - 1]):
            continue  # a row of another table
        if len(names) < 2 or not all(_NAMES.fullmatch(each.text) for each in names):
            continue  # a line of a program
        if not any(_is_name(each, tells) for each in names):
            continue
        rows, behind = [names], at + 1
        while behind < len(lines):
            if not _RULE.fullmatch(lines[behind]):
                cells = _cells(mark, lines[behind], starts[behind])
                if len(cells) != len(names):
                    break
                rows.append(cells)
            behind += 1
        if len(rows) > 1:
            return rows, behind
    return [], at + 1


def _is_row(line: str, is_ruled: bool) -> bool:
    """Whether ``|`` parts cells in it, and not commands."""
    return is_ruled or line.strip().endswith("|")


def _cells(mark: str, line: str, at: int) -> list[_Cell]:
    return [_cell(match[1], at + match.start(1)) for match in _CELLS[mark].finditer(line)]


def _cell(given: str, at: int, is_head: bool = False) -> _Cell:
    text = given.strip(_AROUND)
    return _Cell(text, at + given.find(text), is_head)


def _tables_of_html(text: str) -> list[list[list[_Cell]]]:
    tables: list[list[list[_Cell]]] = [[[]]]
    for match in _HTML.finditer(text):
        if match[1]:
            tables.append([[]])
        elif match[2]:
            tables[-1].append([])
        else:
            tables[-1][-1].append(_cell(match[4], match.start(4), match[3].lower() == "th"))
    return [[row for row in rows if row] for rows in tables]


def _of_table(
    rows: Sequence[Sequence[_Cell]], tells: Callable[[str], bool], is_html: bool
) -> Iterator[tuple[str, _Cell]]:
    """By the heads of the columns; in two columns without heads, by what stands to the left."""
    if not rows:
        return
    head = rows[0]
    columns = [place for place, each in enumerate(head) if _is_name(each, tells)]
    if len(head) == 2 and not head[1].is_head and (is_html or (columns == [0] and is_password(head[1].text))):
        for name, value in (row for row in rows if len(row) == 2):
            if _is_name(name, tells) and not _is_name(value, tells):
                yield name.text, value
        if columns == [0]:
            return
    for row in rows[1:]:
        if len(row) == len(head):
            yield from ((head[place].text, row[place]) for place in columns)


def _is_name(cell: _Cell, tells: Callable[[str], bool]) -> bool:
    """Whether it may be the name of a column: no sentence."""
    return len(cell.text) <= _LONGEST_NAME and len(cell.text.split()) <= 3 and tells(cell.text)
