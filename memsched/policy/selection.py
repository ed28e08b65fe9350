"""Selection: what the working set holds while the recent talk is gone through, event by event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from memsched.lexicon import stems
from memsched.memory.model import Memory
from memsched.memory.search.bm25 import TermCounts
from memsched.policy.coverage import covers, overlaps
from memsched.policy.strategy import Candidate, Chosen, CubeState, WorkingSetPolicy
from memsched.policy.talk import TalkEvent, Use

VITAL_IMPORTANCE = 0.8
"""From here on a memory is a candidate whatever the talk is about: allergies, illness, such things."""


class Selection:
    """A fold over the talk: each event adds its candidates, or is covered by what the ones before it brought in.

    Args:
        near: memories that are candidates whatever the talk is about.
        present: ids of the working set before, best first.
        counts: of the words of the talk.
    """

    def __init__(
        self,
        policy: WorkingSetPolicy,
        near: Iterable[Memory],
        uses: Mapping[str, Use],
        present: Sequence[str],
        counts: TermCounts,
        size: int,
    ) -> None:
        self._policy = policy
        self._candidates = {memory.memory_id: memory for memory in near}
        self._uses = uses
        self._present = present
        self._counts = counts
        self._size = size
        self._relevance: dict[str, dict[str, float]] = {}
        self._covered: set[str] = set()
        self._chosen: list[Chosen] = []
        self.talk: list[TalkEvent] = []

    @property
    def chosen(self) -> list[Chosen]:
        """The working set that follows from the talk so far, best first."""
        return self._chosen if self.talk else self._choose()

    def cover(self, event: TalkEvent) -> bool:
        """Take an event whose words the set holds already; False, and nothing is done, if it does not.

        What the set's memories share with it counts as their relevance, and nothing new comes in.
        """
        words, memories = stems(event.text), [each.memory for each in self._chosen]
        if not memories or not covers(words, memories, self._counts):
            return False
        self._covered.add(event.event_id)
        self._take(event, overlaps(words, memories, self._counts))
        return True

    def find(self, event: TalkEvent, memories: Iterable[Memory]) -> None:
        """Take an event for which search found these memories (``event.hits`` has their scores)."""
        self._candidates.update((memory.memory_id, memory) for memory in memories)
        self._take(event, event.hits or ())

    def _take(self, event: TalkEvent, scores: Sequence[tuple[str, float]]) -> None:
        self.talk.append(event)
        for memory_id, score in scores:
            self._relevance.setdefault(memory_id, {})[event.event_id] = score
        self._chosen = self._choose()

    def _choose(self) -> list[Chosen]:
        times = [event.at for event in self.talk] + [use.times[-1][0] for use in self._uses.values() if use.times]
        cube = CubeState(self.talk, frozenset(self._covered), self._uses, self._present, max(times, default=0))
        candidates = [
            Candidate(memory, self._relevance.get(memory_id, {}))
            for memory_id, memory in sorted(self._candidates.items())
            if memory.status == "activated" and memory.superseded_by is None
        ]
        return _each_text_once(self._policy.choose(cube, candidates, len(candidates)))[: self._size]


def _each_text_once(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Two workers may have stored the same text at once: until mem_organize merges them, one is enough."""
    by_text: dict[str, Chosen] = {}
    for each in chosen:
        by_text.setdefault(each.memory.content_hash or each.memory.memory_id, each)
    return list(by_text.values())
