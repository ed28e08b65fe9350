"""A memory as a point of the vector store: with its vectors when it is stored, with its score when it is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memsched.memory.model import Memory

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
class Hit:
    """One point that a query found, as it came: ``payload`` becomes a Memory only where one is needed."""

    memory_id: str
    score: float
    payload: dict[str, Any]

    def memory(self) -> Memory:
        return Memory.as_stored(self.memory_id, self.payload)
