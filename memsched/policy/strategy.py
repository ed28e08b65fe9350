"""The seam between what is known of a cube and what its working set shall be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from memsched.memory.model import Memory


class TalkEvent(BaseModel):
    """One thing said lately that the working set should cover. at: ms since the epoch.

    hits: what search found for it, (memory id, score from 0 to 1), best first; None while nobody looked.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    at: int
    text: str
    hits: list[tuple[str, float]] | None = None

    @property
    def order(self) -> tuple[int, str]:
        return self.at, self.event_id


class Use(BaseModel):
    """How often answers used a memory, and when lately: (ms, message id), oldest first, at most 8."""

    model_config = ConfigDict(frozen=True)

    count: int = 0
    times: list[tuple[int, str]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CubeState:
    """What a policy may know of a cube.

    talk: the recent queries and utterances, oldest first. covered: the ids of those that earlier ones' memories
    answer. uses: by memory id, what answers used. now: ms since the epoch, the time of the latest event and not of
    the clock, so that every replica computes the same. present: ids of the present working set, best first.
    """

    talk: Sequence[TalkEvent]
    covered: frozenset[str]
    uses: Mapping[str, Use]
    present: Sequence[str]
    now: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory that may enter. relevance: by event id of the talk, 0 to 1; events that did not find it are missing."""

    memory: Memory
    relevance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A memory that enters. parts: what its score is made of; they add up to ``score``."""

    memory: Memory
    score: float
    parts: dict[str, float]


class WorkingSetPolicy(Protocol):
    """Chooses a cube's working set.

    Must be a function of its arguments alone: replicas that got the same messages must come to the same set.
    """

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        """At most ``size`` of the candidates, best first. Not empty if the candidates are not."""
