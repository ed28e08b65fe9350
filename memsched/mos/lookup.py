"""What a MOS gives back, and what it cannot find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from memsched.errors import MemschedError


class CubeNotSaid(MemschedError):
    """The user has several cubes, and it was not said which one is meant."""

    def __init__(self, user_id: str, names: Sequence[str]) -> None:
        super().__init__(f"user_id={user_id!r}: give mem_cube_id, one of {', '.join(map(repr, names[:10]))}.")


class UnknownMemory(MemschedError):
    """There is no such memory in the cubes that the user sees."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(f"memory_id={memory_id[:64]!r}.")


class FoundInCube(TypedDict):
    """The memories of one cube. cube_id: the name by which the user knows it."""

    cube_id: str
    memories: list[Any]


class MOSSearchResult(TypedDict):
    """By kind of memory. Activation and parameter memory are not searched: these lists are empty."""

    text_mem: list[FoundInCube]
    act_mem: list[FoundInCube]
    para_mem: list[FoundInCube]


def by_cube(memories: Mapping[str, Sequence[Any]]) -> MOSSearchResult:
    text_mem: list[FoundInCube] = [{"cube_id": name, "memories": list(each)} for name, each in memories.items()]
    return {"text_mem": text_mem, "act_mem": [], "para_mem": []}
