"""What a search may be told beside its words, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from memsched.errors import MemschedError
from memsched.memory.metadata import MetadataValue
from memsched.memory.model import Memory, short_line
from memsched.memory.store.conditions import Conditions, with_zone
from memsched.messages import describe_validation_error

_MOMENT = timedelta(milliseconds=1)
Method = Literal["hybrid", "dense", "lexical"]
METHODS: dict[str, Method] = {
    "hybrid": "hybrid",
    "dense": "dense",
    "lexical": "lexical",
    # the original system's names
    "text_memory_search": "hybrid",
    "tree_text_memory_search": "hybrid",
    "tree_text_memory_fine_search": "hybrid",
    "general_text_memory_search": "dense",
    "naive_text_memory_search": "lexical",
}


class InvalidSearch(MemschedError):
    """A search was told something that it does not know."""


class SearchArgs(Conditions):
    """``search_args``: conditions on what is found, and how it is ranked.

    Attributes:
        min_score: return only what scores so much at least (``SearchResult.score``): nothing, if nothing fits.
        neighbours: whether a memory is also found by words that were said right before and after it.
        explain: say of each result which words found it, and from which turn (``SearchResult.found_by``).
        diversity: 0 ranks by score alone; towards 1, results that repeat others come later (maximal marginal
            relevance, Carbonell & Goldstein 1998).
        at: as of when, a time with a zone: what was said later is left out, and what was corrected later counts as
            right, as it did then.
        candidates: how many that have the words are looked at, at least.
    """

    min_score: float = Field(default=0.0, ge=0, le=1)
    neighbours: bool = True
    explain: bool = False
    diversity: float = Field(default=0.0, ge=0, le=1)
    at: datetime | None = None
    candidates: int = Field(default=60, ge=1, le=1000)

    _at_is_aware = field_validator("at")(with_zone)

    def as_of(self) -> SearchArgs:
        """The same, with what was said after ``at`` left out."""
        if self.at is None:
            return self
        until = self.at + _MOMENT
        return self.model_copy(update={"until": until if self.until is None else min(self.until, until)})

    @classmethod
    def of(cls, given: SearchArgs | Mapping[str, Any] | None, **more: Any) -> SearchArgs:
        """Raises InvalidSearch, naming what is wrong.

        Args:
            more: over what is given; None: not said.
        """
        more = {name: value for name, value in more.items() if value is not None}
        if isinstance(given, SearchArgs):
            if not more:
                return given
            given = {name: getattr(given, name) for name in given.model_fields_set}
        if given is not None and not isinstance(given, Mapping):
            raise InvalidSearch(f"search_args must be a mapping or SearchArgs, not {type(given).__name__}.")
        try:
            return cls.model_validate({**(given or {}), **more})
        except ValidationError as error:
            unknown = any(problem["type"] == "extra_forbidden" for problem in error.errors())
            known = f" There are {', '.join(sorted(cls.model_fields))}." if unknown else ""
            raise InvalidSearch(f"search_args: {describe_validation_error(error)}.{known}") from error


@dataclass(frozen=True, slots=True)
class FoundWord:
    """A word by which a memory was found.

    Args:
        word: as it stands in the query.
        points: what it gives the score.
        memory_id: of the memory that has the word.
        ahead: so many steps before the memory that was found; below 0: after it; 0: its own word.
        text: what was said there; "" for its own word.
    """

    word: str
    points: float
    memory_id: str
    ahead: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One memory that was found: ``memory`` is its text, ``item`` all of it.

    Args:
        score: how probable it is that it answers the question, 0 to 1. It compares the results of any searches
            (memory/search/likelihood.py); what ranks before another one, for what was said around it, may have less.
        points: what it is ranked by, in BM25's units: they compare the results of one search.
        parts: what ``points`` are made of; they add up to them.
        found_by: with ``explain``, the words, those that give most first; they add up to the parts ``words`` and
            ``around``.
        asked: the question that the memory is a short answer to, if it is one and the question is still there.
    """

    item: Memory
    points: float
    parts: dict[str, float]
    score: float = 0.0
    found_by: tuple[FoundWord, ...] = ()
    asked: str = ""

    @property
    def id(self) -> str:
        return self.item.memory_id

    @property
    def memory(self) -> str:
        """The text."""
        return self.item.text

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        """What was given with it when it was added."""
        return self.item.metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_line(self.memory)!r}, score={self.score:.2f}, id={self.id!r})"


def method_named(name: str) -> Method:
    """Raises InvalidSearch for a name that is none."""
    if name not in METHODS:
        raise InvalidSearch(f"There is no search method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]
