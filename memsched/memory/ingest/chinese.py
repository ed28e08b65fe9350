"""The words of two Chinese clauses: what stands in both is a word, whichever dictionary knows it."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from memsched.memory.ingest.clauses import Clause
from memsched.memory.ingest.revision_words import blanked, fillings, listed, pattern
from memsched.memory.ingest.subjects import OWN

_TOKEN = re.compile(r"[A-Za-z]*\d+(?:[.,:\uff1a/]\d+)*[A-Za-z%]*|[A-Za-z]+|[\u3400-\u9fff]+")
_OWN = re.compile("\u6211\u4eec|\u54b1\u4eec|\u6211|\u54b1")


def as_words(one: Clause, other: Clause) -> tuple[Clause, Clause]:
    """Both with words and subject."""
    texts = blanked(one.text, "zh"), blanked(other.text, "zh")
    pieces = _pieces(*map(_runs, texts))
    return _with_words(one, texts[0], pieces), _with_words(other, texts[1], pieces)


def have_nothing_in_common(one: Clause, other: Clause) -> bool:
    """Whether two clauses can be left alone at once: no character or class is in both, nor what somebody is."""
    if one.classes & other.classes or ("now" in one.signs and "\u662f" in one.text and "\u662f" in other.text):
        return False
    return not _characters(one.text) & _characters(other.text)


@lru_cache(maxsize=8192)
def _characters(text: str) -> frozenset[str]:
    return frozenset(pattern("small", "zh").sub("", text)) - frozenset("\uff0c\u3002 ")


def _with_words(clause: Clause, text: str, pieces: list[str]) -> Clause:
    head, verb = _head(clause.text)
    words = dict.fromkeys(_cut(text, pieces))
    subject = {word for word in words if word in head}
    own = _OWN.search(head)
    if own is not None:
        after = head[own.end() :]
        others = {
            word for word in subject if f"{word}\u548c" in head or f"\u548c{word}" in head or f"\u8ddf{word}" in head
        }
        if others or not pattern("small", "zh").sub("", blanked(after, "zh")).strip():
            subject = {OWN, *others}
    return replace(clause, words=tuple(words), subject=frozenset(subject), verb=verb)


def _head(text: str) -> tuple[str, str]:
    """What stands before the first verb, and that verb: there is none in known nouns, nor in "now" (\u73b0\u5728)."""
    plain = fillings("zh").sub(_as_blanks, pattern("one_valued", "zh").sub(_as_blanks, text))
    match = pattern("verbs", "zh").search(plain, 1)
    at, verb = (match.start(), match.group()) if match else (0, "")
    if not verb:  # "the rent three thousand a month"
        starts = [match.start() for kind in ("when", "numbers") for match in pattern(kind, "zh").finditer(plain)]
        at = min(starts, default=0)
    return text[:at], "is" if verb == "\u662f" else verb


def _cut(text: str, pieces: list[str]) -> list[str]:
    """Numbers, days, and the rest by the pieces that both have."""
    found: list[tuple[int, str]] = []

    for mark, kind in (("@", "when"), ("#", "numbers")):
        values = pattern(kind, "zh")
        for match in values.finditer(text):
            found.append((match.start(), ("#" if "\u70b9" in match.group() else mark) + match.group()))
        text = values.sub(_as_blanks, text)
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token[0].isdigit() or token[-1].isdigit():
            found.append((match.start(), "#" + token))
        elif token.isascii():
            found.append((match.start(), token.lower()))
        else:
            found += [(match.start() + at, piece) for at, piece in _by_pieces(token, pieces)]
    return [word for _, word in sorted(found)]


def _by_pieces(run: str, pieces: list[str]) -> list[tuple[int, str]]:
    for piece in pieces:
        if (at := run.find(piece)) >= 0:
            after = at + len(piece)
            rest = [(after + more, each) for more, each in _by_pieces(run[after:], pieces)]
            return [*_by_pieces(run[:at], pieces), (at, piece), *rest]
    left = pattern("small", "zh").sub(_as_blanks, run)
    return [(match.start(), match.group()) for match in re.finditer(r"\S+", left)]


def _as_blanks(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _runs(text: str) -> list[str]:
    text = pattern("numbers", "zh").sub(" ", pattern("when", "zh").sub(" ", text))
    return [
        run
        for token in _TOKEN.findall(text)
        for run in pattern("small", "zh").sub(" ", token).split()
        if not run.isascii()
    ]


def _pieces(ones: list[str], others: list[str]) -> list[str]:
    """What both have, longest first; single characters where nothing else of a run is left."""
    known = [word for word in listed("kin", "zh") if any(word in run for run in (*ones, *others))]
    shared: set[str] = set()
    for one in ones:
        for other in others:
            shared |= _shared(one, other)
    left = [part for one in ones for part in _left(one, {*known, *shared})]
    there = "".join(part for other in others for part in _left(other, {*known, *shared}))
    single = {character for part in left if all(each in there for each in part) for character in part}
    return [*sorted(known, key=len, reverse=True), *sorted(shared, key=len, reverse=True), *sorted(single)]


def _left(run: str, pieces: set[str]) -> list[str]:
    for piece in sorted(pieces, key=len, reverse=True):
        run = run.replace(piece, " ")
    return run.split()


def _shared(one: str, other: str) -> set[str]:
    """Their common stretches of two characters or more, the longest ones."""
    best = ""
    for start in range(len(one)):
        end = start + max(2, len(best) + 1)
        while end <= len(one) and one[start:end] in other:
            best = one[start:end]
            end += 1
    if len(best) < 2:
        return set()
    at = one.index(best)
    return {best} | _shared(one[:at], other) | _shared(one[at + len(best) :], other)
