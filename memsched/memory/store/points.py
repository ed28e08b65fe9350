"""A memory as a point of the vector store: with its vectors when it is stored, with its score when it is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memsched.memory.model import Memory
from memsched.memory.store.conditions import Conditions

DENSE = "dense"
LEXICAL = "lexical"
"""The names of the two vectors of a point."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: distinct indices and their values, of equal length."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """A memory with its vectors, ready to be stored."""

    memory: Memory
    dense: list[float]
    lexical: Sparse


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a query asks for: the ``limit`` memories nearest to a vector, dense or sparse, for which conditions hold."""

    vector: Sequence[float] | Sparse
    conditions: Conditions | None
    limit: int

    @property
    def using(self) -> str:
        return LEXICAL if isinstance(self.vector, Sparse) else DENSE

    @property
    def is_empty(self) -> bool:
        return not (self.vector.indices if isinstance(self.vector, Sparse) else any(self.vector))


@dataclass(frozen=True, slots=True)
class Hit:
    """One point that a query found, as it came: ``payload`` becomes a Memory only where one is needed."""

    memory_id: str
    score: float
    payload: dict[str, Any]

    def memory(self) -> Memory:
        return Memory.as_stored(self.memory_id, self.payload)
