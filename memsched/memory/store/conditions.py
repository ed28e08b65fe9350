"""Conditions: what memories must have to be found. Values only; ``filters`` makes Qdrant's filters of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, field_validator, model_validator

from memsched.memory.filter_language import AllOf, filter_of
from memsched.memory.model import MemoryKind


def with_zone(value: datetime | None) -> datetime | None:
    """A time as it is given. Raises ValueError for one without a zone."""
    if value is not None and value.tzinfo is None:
        raise ValueError("must have a time zone")
    return value


class Conditions(BaseModel):
    """All conditions must hold; the values of one condition are alternatives.

    Attributes:
        tags: at least one of them.
        speaker: in any case.
        spoken_by_users: beside ``speaker``, what these users said under any name, or without one.
        filter: what metadata and fields must be (memory/filter_language.py).
        since, until: when it was said, aware times, until exclusive.
        include_archived: also memories that were archived because nobody needed them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_type: list[str] = Field(default_factory=list)
    kind: list[MemoryKind] = Field(default_factory=list)
    session_id: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    speaker: list[str] = Field(default_factory=list)
    spoken_by_users: list[str] = Field(default_factory=list)
    filter: InstanceOf[AllOf] = AllOf()
    since: datetime | None = None
    until: datetime | None = None
    include_archived: bool = False

    @field_validator("memory_type", "kind", "session_id", "tags", "speaker", "spoken_by_users", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    _filter_is_read = field_validator("filter", mode="before")(filter_of)
    _are_aware = field_validator("since", "until")(with_zone)

    @model_validator(mode="after")
    def _some_time_between(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since must be before until")
        return self
