"""Which of many patterns stand in a text as whole words: looked up by how each begins.

The same as a search for each of them, without trying all of them at every place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

_RUN = re.compile(r"\w+")
_SAME_LETTER = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")
"""What a pattern that knows no case takes for these letters as well."""
_BEHIND = re.compile(r"\^?(?:\(\?<[!=][^()]*\))*")
"""What must, or must not, stand before it."""
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
_MARK = re.compile(r"(?: |-|,|'|\['\u2019\])(?![?*{])")
"""What ends a word."""

Begin = tuple[str, bool]
"""A word with which a pattern begins, or the first letters of it; and whether it is the whole word."""


class Lookup:
    """Patterns by name; none of them depends on case."""

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        self._whole: dict[str, set[str]] = {}
        self._begun: dict[Begin, list[tuple[str, str]]] = {}
        self._anywhere: list[tuple[str, re.Pattern[str]]] = []
        for name, ways in patterns.items():
            others: list[str] = []
            for way in ways:
                if _RUN.fullmatch(way):
                    self._whole.setdefault(way.lower(), set()).add(name)
                elif None not in (begins := set(_begins(way))):
                    for begin in filter(None, begins):
                        self._begun.setdefault(begin, []).append((name, way))
                else:
                    others.append(way)
            if others:
                self._anywhere.append((name, as_words(others)))
        self._of_word = lru_cache(maxsize=65_536)(self._with_word)

    def names_in(self, text: str) -> frozenset[str]:
        """The names of those that are found in a text."""
        found = {name for name, pattern in self._anywhere if pattern.search(text)}
        for run in _RUN.finditer(text):
            names, begun = self._of_word(run[0])
            found |= names
            for name, way in begun:
                if name not in found and _as_word(way).match(text, run.start()):
                    found.add(name)
        return frozenset(found)

    def has_any(self, text: str) -> bool:
        """Whether any of them is found in a text."""
        for run in _RUN.finditer(text):
            names, begun = self._of_word(run[0])
            if names or (begun and _one_of(begun).match(text, run.start())):
                return True
        return any(pattern.search(text) for _, pattern in self._anywhere)

    def _with_word(self, word: str) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
        """The names that a word is enough for, and the patterns that may begin with it."""
        plain = word.translate(_SAME_LETTER).lower()
        begins = [(plain, True), *((plain[:end], False) for end in range(1, len(plain) + 1))]
        return frozenset(self._whole.get(plain, ())), tuple(
            each for begin in begins for each in self._begun.get(begin, ())
        )


def as_words(ways: Sequence[str]) -> re.Pattern[str]:
    """One of these as whole words, the longest first."""
    longest_first = sorted(ways, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _as_word(way: str) -> re.Pattern[str]:
    """Made when it is needed: most never are."""
    return as_words([way])


@lru_cache(maxsize=4096)
def _one_of(begun: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    return as_words([way for _, way in begun])


def _begins(way: str) -> Iterator[Begin | None]:
    """How a pattern may begin; None: with anything."""
    for each in _alternatives(way):
        rest = _BEHIND.sub("", each, count=1)
        if group := _GROUP.match(rest):
            end = _closed_at(rest, group.end())
            inside, after = rest[group.end() : end], rest[end + 1 :]
            if after[:1] in ("*", "+", "{"):
                yield None
            else:
                after, others = (after[1:], [""]) if after[:1] == "?" else (after, [])
                for inner in (*_alternatives(inside), *others):
                    yield from _begins(inner + after)
            continue
        letters = run[0] if (run := _RUN.match(rest)) else ""
        rest = rest[len(letters) :]
        if rest[:1] in ("?", "*", "{"):
            letters = letters[:-1]
        yield (letters.lower(), not rest or _MARK.match(rest) is not None) if letters else None


def _alternatives(way: str) -> list[str]:
    """Its alternatives that are in no group."""
    found, depth = [""], 0
    for at, sign in enumerate(way):
        depth += {"(": 1, ")": -1}.get(sign, 0) if way[at - 1 : at] != "\\" else 0
        if sign == "|" and not depth:
            found.append("")
        else:
            found[-1] += sign
    return found


def _closed_at(way: str, start: int) -> int:
    """Where the group ends that is open at a place."""
    depth = 1
    for at in range(start, len(way)):
        depth += {"(": 1, ")": -1}.get(way[at], 0) if way[at - 1] != "\\" else 0
        if not depth:
            return at
    raise ValueError(f"a group is not closed in {way}")
