"""The strategy that chooses a working set, as an interface: what it is told of a cube, and what it returns.

``memsched.policy.ranking`` has the one in use; a user's own is set by ``scheduler.working_set_policy``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from memsched.memory.model import Memory
from memsched.policy.talk import TalkEvent, Use


@dataclass(frozen=True, slots=True)
class CubeState:
    """What a policy may know of a cube.

    Args:
        talk: the recent queries and utterances, oldest first.
        covered: the ids of those that earlier ones' memories answer.
        uses: by memory id, what answers used.
        present: ids of the present working set, best first.
        now: ms since the epoch, the time of the latest event and not of the clock, so that every replica computes
            the same.
    """

    talk: Sequence[TalkEvent]
    covered: frozenset[str]
    uses: Mapping[str, Use]
    present: Sequence[str]
    now: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A memory that may enter.

    Args:
        relevance: by event id of the talk, 0 to 1; events that did not find it are missing.
    """

    memory: Memory
    relevance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A memory that enters.

    Args:
        parts: what its score is made of; they add up to ``score``.
    """

    memory: Memory
    score: float
    parts: dict[str, float]


class WorkingSetPolicy(Protocol):
    """Chooses a cube's working set.

    Must be a pure function of its arguments: replicas that got the same messages must come to the same set.
    """

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        """At most ``size`` of the candidates, best first. Not empty if the candidates are not."""
