"""Search for whoever asks: ``scheduler.retriever``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from memsched.broker.client import Server, answered
from memsched.broker.scripting import Command
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.search.arguments import InvalidSearch, SearchArgs, SearchResult, method_named
from memsched.memory.search.bm25 import stems

if TYPE_CHECKING:
    from memsched.memory.search.hybrid import HybridSearch
    from memsched.memory.search.term_statistics import TermStatistics


class Retriever:
    """Finds memories in the cubes that a user may read."""

    def __init__(
        self, server: Server, cubes: Cubes, terms: TermStatistics, search: HybridSearch, *, top_k: int, method: str
    ) -> None:
        self._server = server
        self._cubes = cubes
        self._terms = terms
        self._search = search
        self._top_k = top_k
        self._method = method

    async def search(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        mem_cube: Any = None,
        top_k: int | None = None,
        method: str | None = None,
        search_args: SearchArgs | Mapping[str, Any] | None = None,
    ) -> list[SearchResult]:
        """The memories of a cube that fit a query, best first.

        user_id, mem_cube_id: who asks, and his name of the cube; or ``mem_cube``, an object that has both.
        method: ``hybrid`` (default), ``dense``, ``lexical``, or one of the original system's names.
        search_args: see SearchArgs. Raises InvalidSearch, CubeForbidden, UnknownCube, StoreUnavailable.
        """
        user_id, mem_cube_id = whose(user_id, mem_cube_id, mem_cube)
        chosen = method_named(method or self._method)
        args = SearchArgs.of(search_args)
        if top_k is not None and not 1 <= top_k <= 1000:
            raise InvalidSearch(f"top_k must be from 1 to 1000, not {top_k}.")
        own, words = CubeRef(user_id, mem_cube_id), stems(query)
        # Nearly always it is the user's own cube: its counts are asked for together with whether it is.
        commands: list[Command[Any]] = [
            self._cubes.resolve_command(user_id, mem_cube_id),
            self._terms.counts_command(own, words),
        ]
        access, counts = map(answered, await self._server.persistently(lambda: self._server.run(commands)))
        ref = await self._cubes.admit(access, Permission.READ)
        return await self._search.search(ref, query, top_k or self._top_k, chosen, args, counts if ref == own else None)


def whose(user_id: str | None, mem_cube_id: str | None, mem_cube: Any) -> tuple[str, str]:
    """Who asks for which cube. Raises InvalidSearch if one of both is not said."""
    if isinstance(mem_cube, CubeRef):
        user_id, mem_cube_id = user_id or mem_cube.user_id, mem_cube_id or mem_cube.mem_cube_id
    elif mem_cube is not None:
        config = getattr(mem_cube, "config", mem_cube)
        user_id = user_id or getattr(config, "user_id", None)
        mem_cube_id = mem_cube_id or getattr(config, "cube_id", None)
    if not user_id or not mem_cube_id:
        raise InvalidSearch("Say whose memories: user_id and mem_cube_id, or a mem_cube that has both.")
    return user_id, mem_cube_id
