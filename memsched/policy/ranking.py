"""The ranking of the working set: by value, with places reserved for what must never be forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from memsched.policy.strategy import Candidate, Chosen, CubeState

RESERVED = {"allergy": 1, "illness": 1, "diet": 1, "emergency": 1}
"""Places by kind of what is vital. Deadlines and anniversaries have none: they compete by their value, and however many
there are, the allergy stays.
"""


class StandardPolicy:
    """The policy in use. No state: the same for every cube."""

    def choose(self, state: CubeState, candidates: Sequence[Candidate], size: int) -> list[Chosen]:
        wanted = Counter(RESERVED)
        vital: list[str] = []
        others: list[str] = []
        for each in candidates:
            reserved = wanted[each.memory.vital] > 0 and len(vital) < size // 2
            wanted[each.memory.vital] -= reserved
            (vital if reserved else others).append(each.memory.memory_id)
        near = {*vital, *others[: size - len(vital)]}
        return [Chosen(each.memory, each.value, each.parts) for each in candidates if each.memory.memory_id in near]
