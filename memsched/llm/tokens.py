"""Tokens and clauses: the words of what was said, and where a word of a claim is among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from memsched.llm.entailment_words import Marker

_SHARED_LETTERS = 4
"""With which forms of one word begin, at least."""
_SHARED_SHARE = 0.65


class Role(Enum):
    """What the speaker is in a clause: as a subject, an object, or whose something is."""

    SUBJECT = "subject"
    OBJECT = "object"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Token:
    """One word.

    Args:
        stem: what it is compared by; a number as digits.
        role: of the one who speaks, if it stands for them.
        thing: whether it names a person or a thing: after an article or a possessive, or with a capital.
        free: whether it may stand anywhere: after "in", "since".
        to: the preposition that says whom it is done to, right before it.
    """

    word: str
    stem: str
    content: bool = False
    number: bool = False
    role: Role | None = None
    thing: bool = False
    free: bool = False
    capital: bool = False
    negation: bool = False
    to: str = ""


SPEAKER = Token("", "", role=Role.SUBJECT)


@dataclass(slots=True)
class Clause:
    """A part of a sentence with a verb of its own, as far as commas and conjunctions tell.

    Args:
        markers: what changes its meaning, in it or, for a condition, in its sentence.
        follows: the clause before it.
        begins: whether it begins a sentence.
        joined: whether a conjunction joins it to what it follows.
        number: which clause of its text it is.
        places: where each word is in the clauses of its text; without it, the clause is looked through.
    """

    tokens: list[Token]
    markers: set[Marker]
    asks: bool = False
    follows: Clause | None = None
    begins: bool = False
    joined: bool = False
    number: int = 0
    places: WordPlaces | None = None


def is_same(token: Token, other: Token) -> bool:
    """Whether two words are forms of one, or one number."""
    if token.number or other.number:
        return token.number and other.number and token.stem == other.stem
    if token.stem == other.stem:
        return True
    if not (token.content and other.content) or token.stem[:_SHARED_LETTERS] != other.stem[:_SHARED_LETTERS]:
        return False
    shared = next((at for at, pair in enumerate(zip(token.stem, other.stem, strict=False)) if pair[0] != pair[1]), None)
    shared = min(len(token.stem), len(other.stem)) if shared is None else shared
    return shared >= _SHARED_LETTERS and shared >= _SHARED_SHARE * max(len(token.stem), len(other.stem))


def has_word(clause: Clause, token: Token) -> bool:
    """Whether a clause has a word of a claim."""
    return place_of(clause, token) is not None


def place_of(clause: Clause, token: Token) -> int | None:
    """Where a clause has it."""
    if clause.places is not None:
        return clause.places.of(token).get(clause.number)
    return next((at for at, each in enumerate(clause.tokens) if is_same(token, each)), None)


class WordPlaces:
    """Where each word is in the clauses of a text, so that a claim is not held against every word of it.

    A word is compared once with each different word that begins as it does, however often that is said.
    """

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self._alike: defaultdict[tuple[bool, str], dict[tuple[str, bool], tuple[Token, dict[int, int]]]]
        self._alike = defaultdict(dict)
        self._denied = {clause.number for clause in clauses if Marker.NEGATION in clause.markers}
        self._found: dict[tuple[bool, str, bool], Mapping[int, int]] = {}
        for clause in clauses:
            for at, token in enumerate(clause.tokens):
                alike = self._alike[token.number, token.stem[:_SHARED_LETTERS]]
                alike.setdefault((token.stem, token.content), (token, {}))[1].setdefault(clause.number, at)

    def of(self, token: Token) -> Mapping[int, int]:
        """The numbers of the clauses that have a word of a claim, and where each has it first."""
        key = token.number, token.stem, token.content
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._of(token)
        return found

    def _of(self, token: Token) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for other, places in self._alike.get((token.number, token.stem[:_SHARED_LETTERS]), {}).values():
            if is_same(token, other):
                for number, at in places.items():
                    found[number] = min(at, found.get(number, at))
        return found

    def is_denied(self, token: Token) -> bool:
        """Whether a clause that says "not" has it."""
        return not self._denied.isdisjoint(self.of(token))
