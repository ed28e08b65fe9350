"""Whether the vectors that are stored are those that follow from the texts that are stored."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.memory.search.window import Surroundings, window_vector
from memsched.memory.store.points import Sparse
from memsched.memory.store.store import MemoryStore


def as_dict(vector: Sparse) -> dict[int, float]:
    return dict(zip(vector.indices, vector.values, strict=True))


async def stored_words(store: MemoryStore, ref: CubeRef, memories: Sequence[Memory]) -> dict[str, dict[int, float]]:
    """By memory id, the sparse vector as it is stored."""
    vectors = await store.vectors(ref, [each.memory_id for each in memories])
    return {name: as_dict(sparse) for name, (_, sparse) in vectors.items()}


async def assert_windows_follow_from_texts(store: MemoryStore, ref: CubeRef) -> list[Memory]:
    """Returns the memories that are stored."""
    memories = [memory async for memory, _ in store.scan(ref)]
    surroundings = Surroundings(memories)
    stored = await stored_words(store, ref, memories)
    for each in memories:
        expected = as_dict(window_vector(ref, each, surroundings))
        assert stored[each.memory_id] == pytest.approx(expected, abs=1e-4), each.text
    return memories
