"""The strategy that chooses a working set, as an interface: what it is told of a cube, and what it returns.

``memsched.policy.ranking`` has those that memsched ships. MEMSCHED_STRATEGY names the one in use, which may be another
package's (entry points of ``memsched.strategies``); ``scheduler.working_set_policy`` sets one of this process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

from memsched.memory.metadata import MetadataValue
from memsched.memory.model import with_caption
from memsched.policy.talk import Answered, TalkEvent
from memsched.policy.theme import Theme


@dataclass(frozen=True, slots=True)
class CubeMemory:
    """What a policy knows of one memory of a cube.

    Args:
        at: when it was said.
        session_id: as the memory has it, or "".
        turn: its place there.
        part: its place within the turn.
        vital: of which kind, if it must not be forgotten ("allergy", "illness", ...), or "".
        available: whether it may be in the set: neither archived nor superseded.
        archived: why it is archived: ``cold``, ``capacity``, ``asked`` or ``merged``; "" if it is not.
        restored_at: when it came back from the archive last.
        ingested_at: when it was told to the cube, if it was said before (``Memory.ingested_at``).
        superseded_by: the id of the memory that corrects it, or "".
        may_be_revised_by: ids of later ones that may say what holds now.
        event_date: when what it tells happened or will happen (``Memory.event_date``).
        answers: the id of the turn that asked what a short answer answers, or "".
        utc_offset: the speaker's zone when it was said, in minutes.
        metadata: what was given with it.
    """

    memory_id: str
    text: str
    speaker: str
    memory_type: str
    kind: str
    at: datetime
    session_id: str
    turn: int
    part: int
    importance: float
    vital: str
    available: bool
    content_hash: str
    archived: str = ""
    restored_at: datetime | None = None
    ingested_at: datetime | None = None
    superseded_by: str = ""
    may_be_revised_by: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    added_by: str = ""
    caption: str = ""
    event_date: str = ""
    answers: str = ""
    utc_offset: int = 0
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)

    @property
    def searched_text(self) -> str:
        """The text, with what is seen on a picture that came with it."""
        return f"{self.text} {self.caption}" if self.caption else self.text

    @property
    def indexed_text(self) -> str:
        """The same, with who said it."""
        told = with_caption(self.text, self.caption)
        return f"{self.speaker}: {told}" if self.speaker else told


@dataclass(frozen=True, slots=True)
class CubeState:
    """What a policy may know of a cube.

    Args:
        memories: all of them, as they were said, oldest first.
        talk: the last questions and answers, oldest first; of the questions, what search found.
        log: what the last answers used, oldest first; at most 64.
        present: ids of the present working set, best first.
        now: ms since the epoch, the time of the latest memory or event and not of the clock, so that every replica
            computes the same.
        themes: what the memories are about, hottest first: those of ``scheduler.themes``, with the same states.
    """

    memories: Sequence[CubeMemory]
    talk: Sequence[TalkEvent]
    log: Sequence[Answered]
    present: Sequence[str]
    now: int
    themes: Sequence[Theme] = ()


class Candidate(NamedTuple):
    """A memory that may enter. There are hundreds of them at each choice, so making one must cost next to nothing.

    Attributes:
        value: how probable it is that the next answer uses it.
        parts: what the value is made of, by mode; they add up to it.
        relevance: by event id of the talk's questions, how well search ranked it, 0 to 1; those that did not find it
            are missing.
    """

    memory: CubeMemory
    value: float = 0.0
    parts: Mapping[str, float] = MappingProxyType({})
    relevance: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Chosen:
    """A memory that enters.

    Args:
        parts: what its score is made of; they add up to ``score``.
        source: why it is there, in a word, for people; "reserved" keeps its place whatever is predicted.
    """

    memory: CubeMemory
    score: float
    parts: Mapping[str, float]
    source: str = "value"


class WorkingSetPolicy(Protocol):
    """Chooses a cube's working set.

    Must be a pure function of its arguments: replicas that got the same messages must come to the same set.
    """

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        """At most ``size`` of the memories, best first. Not empty if there are candidates.

        Args:
            candidates: the most valuable memories, most valuable first, and among them of each kind of what is
                vital the most valuable and the newest, what search found for the last questions, the newest, and the
                members of the hottest theme. Each text is there once.
        """
