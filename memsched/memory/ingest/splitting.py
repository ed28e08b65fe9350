"""Text splitting (chunking): a long text in parts that end where paragraphs, code blocks or sentences do.

The parts, one after the other, are the text to the letter: white space after a sentence stays at the end of its part.
Where sentences end, in any script, is as in UAX #29, by the properties of characters that ``regex`` knows; but, for
what people and programs write, a full stop after a title, an initial, the number of a list or of a German day ends none
("Dr. Wu", "am 3. Mai"), ASCII's marks end one only before white space (addresses have a "?"), and what opens, a bracket
or a quote, belongs to what follows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import regex

CHARACTERS_PER_TOKEN = 4
"""As MEMSCHED_CHUNK_TOKENS counts them: about so many, in English."""
MAX_TEXT_CHARACTERS = 1000
"""A longer utterance becomes several memories: one memory is about one thing."""

_ABBREVIATIONS = """
mr mrs ms dr prof st jr sr vs nr no hr fr sra srta dra ud uds lic ing gen col sgt capt lt rev hon gov sen rep pres fig
vol pp art abs bzw ca usw bspw inkl evtl tel str approx dept est inc ltd corp mt ft mme mlle al jan feb mar apr jun jul
aug sep sept oct okt nov dec dez ул им рис стр
""".split()
_SAME_CHARACTER = r"(?![\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}])"
_MARKS = r"[\p{SB=Extend}\p{SB=Format}]*+"
_CLOSE = rf"""(?:(?:[\p{{Pe}}\p{{Pf}}"'*_`]|\p{{Pi}}(?=\s|\Z)){_MARKS})*+"""
_MONTH = r"(?:Jan|Feb|M\u00e4r|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez)"
_LOWER = r"[^\p{L}\p{N}.!?\u2026\n]{0,20}\p{Lower}"
_GOES_ON = rf"(?![^\S\n]*(?:\p{{SB=SContinue}}|(?<=\p{{N}}\.[^\S\n]{{1,3}}){_MONTH}|{_LOWER}))"
_ENDS_NONE = rf"\b(?:(?i:{'|'.join(_ABBREVIATIONS)})|\p{{L}})|(?:^|\n)[^\S\n]{{0,16}}\p{{N}}{{1,3}}"
_STERM = r"(?:[\p{SB=STerm}--[!?]]|[\uff0e\ufe52](?!\p{N}))[\p{SB=STerm}\p{SB=ATerm}\u2026]*+"
_SENTENCE_END = regex.compile(
    rf"""
    (?: (?: (?<!{_ENDS_NONE}|[.\u2026])[.\u2026]++ | (?<![!?])[!?]++ ) {_MARKS} {_CLOSE} (?=\s) {_GOES_ON}
      | {_STERM} {_MARKS} {_CLOSE} (?![^\S\n]*\p{{SB=SContinue}})
      | (?=\n)
    )
    (?: \s*\n | [^\S\n]*{_SAME_CHARACTER} )
    """,
    regex.VERSION1 | regex.VERBOSE,
)
_PARAGRAPH_END = regex.compile(r"\n\s*\n")
_LINE_END = regex.compile(r"\n")
_SPACE = regex.compile(rf"\s+{_SAME_CHARACTER}")
_CHARACTER = regex.compile(r"\X")
_FENCE = regex.compile(r"^[^\S\n]*(`{3,}|~{3,})([^\n]*)(?:\n|\Z)", regex.MULTILINE)


def parts_of(text: str, most: int = MAX_TEXT_CHARACTERS) -> list[str]:
    """The text, or, if it is longer than ``most`` characters, parts of it that are not; together they are the text.

    A part ends with a paragraph, if one ends in its second half; else with a sentence or a line; else at white space,
    or, where there is none, between two characters as a reader sees them (grapheme clusters). A fenced code block is
    cut only if it alone is too long: between its lines.
    """
    if len(text) <= most:
        return [text]
    blocks = _CodeBlocks(text)
    parts = []
    at = 0
    while len(text) - at > most:
        cut = _cut(text, at, most, blocks)
        parts.append(text[at:cut])
        at = cut
    return [*parts, text[at:]]


class _CodeBlocks:
    """Where the fenced code blocks of a text are (CommonMark); one that is not closed goes on to the end."""

    def __init__(self, text: str) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        fence = ""
        for line in _FENCE.finditer(text):
            marks, rest = line[1], line[2]
            if not fence and not (marks[0] == "`" and "`" in rest):
                fence = marks
                self._starts.append(line.start())
            elif fence and marks.startswith(fence) and not rest.strip():
                fence = ""
                self._ends.append(line.end())
        if fence:
            self._ends.append(len(text))

    def around(self, place: int) -> int | None:
        """Where the block begins that a place is inside of; None for places outside, and between two."""
        number = bisect_left(self._starts, place) - 1
        return self._starts[number] if number >= 0 and place < self._ends[number] else None


def _cut(text: str, at: int, most: int, blocks: _CodeBlocks) -> int:
    """Where the part that begins at ``at`` ends."""
    start = blocks.around(at + most)
    if start is not None and start > at:
        return start
    if start is None:
        paragraphs = [end for end in _ends(_PARAGRAPH_END, text, at, most) if end - at >= most // 2]
        for ends in (paragraphs, _ends(_SENTENCE_END, text, at, most), _ends(_SPACE, text, at, most)):
            if outside := [end for end in ends if blocks.around(end) is None]:
                return outside[-1]
    else:
        for pattern in (_LINE_END, _SPACE):
            if ends := list(_ends(pattern, text, at, most)):
                return ends[-1]
    return max(_ends(_CHARACTER, text, at, most), default=at + most)


def _ends(pattern: regex.Pattern[str], text: str, at: int, most: int) -> Iterator[int]:
    """Where the pattern ends in the text, up to so far behind ``at``."""
    for found in pattern.finditer(text, at, at + 2 * most):  # what is looked for ahead of an end is near
        if found.end() > at + most:
            return
        if found.end() > at:
            yield found.end()
