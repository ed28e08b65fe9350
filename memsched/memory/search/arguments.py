"""What a search may be told beside its words, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from memsched.errors import MemschedError
from memsched.memory.model import Memory
from memsched.memory.store.conditions import Conditions
from memsched.messages import describe_validation_error

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
        neighbours: share of a hit's score that goes to what was said right before and after it; 0 turns it off.
        diversity: 0 ranks by score alone; towards 1, results that repeat others come later (maximal marginal
            relevance, Carbonell & Goldstein 1998).
        candidates: how many are looked at by each of the two rankings.
    """

    neighbours: float = Field(default=1.0, ge=0, le=2)
    diversity: float = Field(default=0.0, ge=0, le=1)
    candidates: int = Field(default=24, ge=1, le=1000)

    @classmethod
    def of(cls, given: SearchArgs | Mapping[str, Any] | None) -> SearchArgs:
        """Raises InvalidSearch, naming what is wrong."""
        if isinstance(given, SearchArgs):
            return given
        try:
            return cls.model_validate(dict(given or {}))
        except ValidationError as error:
            raise InvalidSearch(f"search_args: {describe_validation_error(error)}.") from error


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One memory that was found.

    Args:
        parts: what its score is made of; they add up to ``score``.
    """

    memory: Memory
    score: float
    parts: dict[str, float]


def method_named(name: str) -> Method:
    """Raises InvalidSearch for a name that is none."""
    if name not in METHODS:
        raise InvalidSearch(f"There is no search method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]
