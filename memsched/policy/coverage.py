"""Coverage: does the working set hold what an event of the talk needs already, or must search look for it?"""

from __future__ import annotations

from collections.abc import Sequence

from memsched.lexicon import stems
from memsched.memory.model import Memory
from memsched.memory.search.bm25 import TermCounts

_COVERED = 0.8
"""Share of a query's words, by their weight, that must occur in what earlier ones brought in."""


def covers(words: Sequence[str], memories: Sequence[Memory], counts: TermCounts) -> bool:
    """Whether memories hold nearly all of what a query asks for, its rare words above all.

    Args:
        words: the query's stems.
    """
    weights = counts.idfs(set(words))
    known = {stem for memory in memories for stem in stems(memory.indexed_text)}
    return sum(weight for stem, weight in weights.items() if stem in known) >= _COVERED * sum(weights.values())


def overlaps(words: Sequence[str], memories: Sequence[Memory], counts: TermCounts) -> list[tuple[str, float]]:
    """The ids of the memories that share words with a query, each with the share of the query's weight; best first."""
    weights = counts.idfs(set(words))
    total = sum(weights.values()) or 1.0
    shares = []
    for memory in memories:
        share = sum(weights.get(stem, 0.0) for stem in set(stems(memory.indexed_text))) / total
        if share > 0:
            shares.append((memory.memory_id, round(share, 6)))
    return sorted(shares, key=lambda each: (-each[1], each[0]))
