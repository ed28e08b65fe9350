"""What a search may be told beside its words, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from memsched.errors import MemschedError
from memsched.memory.model import Memory, to_ms
from memsched.messages import describe_validation_error

if TYPE_CHECKING:
    from qdrant_client import models

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


class SearchArgs(BaseModel):
    """``search_args``. All conditions must hold; the values of one condition are alternatives.

    since, until: when it was said, aware times, until exclusive. tags: at least one of them.
    include_archived: also memories that were archived because nobody needed them.
    neighbours: share of a hit's score that goes to what was said right before and after it; 0 turns it off.
    diversity: 0 ranks by score alone; towards 1, results that repeat others come later (maximal marginal relevance,
    Carbonell & Goldstein 1998).
    candidates: how many are looked at by each of the two rankings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_type: list[str] = Field(default_factory=list)
    kind: list[str] = Field(default_factory=list)
    session_id: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    speaker: list[str] = Field(default_factory=list)
    since: datetime | None = None
    until: datetime | None = None
    include_archived: bool = False
    neighbours: float = Field(default=1.0, ge=0, le=2)
    diversity: float = Field(default=0.0, ge=0, le=1)
    candidates: int = Field(default=24, ge=1, le=1000)

    @field_validator("memory_type", "kind", "session_id", "tags", "speaker", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("since", "until")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("must have a time zone")
        return value

    @classmethod
    def of(cls, given: SearchArgs | Mapping[str, Any] | None) -> SearchArgs:
        """Raises InvalidSearch, naming what is wrong."""
        if isinstance(given, SearchArgs):
            return given
        try:
            return cls.model_validate(dict(given or {}))
        except ValidationError as error:
            raise InvalidSearch(f"search_args: {describe_validation_error(error)}.") from error

    def conditions(self) -> models.Filter | None:
        """As the store's filter, without the cube."""
        from qdrant_client import models

        must: list[Any] = []
        for key in ("memory_type", "kind", "session_id", "tags", "speaker"):
            if values := getattr(self, key):
                must.append(models.FieldCondition(key=key, match=models.MatchAny(any=values)))
        if self.since is not None or self.until is not None:
            bounds = models.Range(
                gte=None if self.since is None else to_ms(self.since),
                lt=None if self.until is None else to_ms(self.until),
            )
            must.append(models.FieldCondition(key="at", range=bounds))
        if not self.include_archived:
            must.append(models.FieldCondition(key="status", match=models.MatchValue(value="activated")))
        return models.Filter(must=must) if must else None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One memory that was found. parts: what its score is made of; they add up to ``score``."""

    memory: Memory
    score: float
    parts: dict[str, float]


def method_named(name: str) -> Method:
    """Raises InvalidSearch for a name that is none."""
    if name not in METHODS:
        raise InvalidSearch(f"There is no search method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]
