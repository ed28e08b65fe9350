"""A said turn: what a claim is said to be from, taken apart once for all that is claimed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from memsched.lexicon import is_without_spaces
from memsched.llm.clauses import LANGUAGES, Language, clauses_of, language_of
from memsched.llm.entailment_chinese import ChineseClause, ChineseText, in_one_way
from memsched.llm.event_dates import says_when
from memsched.llm.quotations import is_in_jest
from memsched.llm.tokens import Token, WordPlaces
from memsched.llm.verification import is_quote, normalised


class Reading:
    """The clauses of a text as read in one language, and where each word is in them.

    Args:
        speaker: a name, or "".
    """

    def __init__(self, text: str, language: Language, speaker: str) -> None:
        self.clauses = tuple(clauses_of(text, language, [speaker] if speaker else []))
        for number, clause in enumerate(self.clauses):
            clause.number = number
        self.places = WordPlaces(self.clauses)
        for clause in self.clauses:
            clause.places = self.places

    def has(self, token: Token) -> bool:
        """Whether any clause has a word of a claim."""
        return bool(self.places.of(token))

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(token.stem for clause in self.clauses for token in clause.tokens)

    @cached_property
    def words(self) -> frozenset[str]:
        """Folded."""
        return frozenset(token.word.casefold() for clause in self.clauses for token in clause.tokens)


@dataclass(frozen=True)
class SaidTurn:
    """A turn that a claim is said to be from. What is read of it is kept: hold on to it for all claims of the turn.

    Args:
        speaker: a name, or "".
        by_user: whether it is the user who speaks.
        by_assistant: whether an assistant does, who is no source about anybody.
        asked: the question that it answers, or "".
        before: what was said right before it, by whomever: of that may be what "it" stands for.
    """

    text: str
    speaker: str = ""
    by_user: bool = True
    by_assistant: bool = False
    asked: str = ""
    before: str = ""
    _readings: dict[tuple[str, Language], Reading] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read(self, text: str, language: Language) -> Reading:
        """Its text, or another one with it, as its speaker said it."""
        reading = self._readings.get((text, language))
        if reading is None:
            reading = self._readings[text, language] = Reading(text, language, self.speaker)
        return reading

    def has_quote(self, quote: str) -> bool:
        """Whether a quote has a word in it and is from its text."""
        return is_quote(quote, self._normalised)

    @cached_property
    def _normalised(self) -> str:
        return normalised(self.text)

    @cached_property
    def says_when(self) -> bool:
        """Whether there is a date, a day or a time in it."""
        return says_when(self.text)

    @cached_property
    def language_beside(self) -> Mapping[Language, Language]:
        """The language that it is read in, by that of the claim."""
        return {each: language_of(self.text, each) for each in LANGUAGES}

    @cached_property
    def is_in_jest(self) -> bool:
        return is_in_jest(self.text)

    @cached_property
    def is_unspaced(self) -> bool:
        """Whether it, or what it answers, is in a script without spaces."""
        return is_without_spaces(self.text + self.asked)

    @cached_property
    def chinese(self) -> ChineseText:
        """Its text by signs."""
        return ChineseText(self.text)

    @cached_property
    def chinese_clauses(self) -> list[ChineseClause]:
        """The clauses of its text, with dates and money in one way."""
        return ChineseText(in_one_way(self.text)).clauses
