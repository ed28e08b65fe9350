"""Retrieval for whoever asks: their permission, then the search in the cube they mean. ``scheduler.retriever``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from memsched.broker.client import Server, answered
from memsched.broker.scripting import Command
from memsched.lexicon import stems
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.release import Purpose, Release
from memsched.memory.filter_language import fits
from memsched.memory.model import folded
from memsched.memory.search.arguments import InvalidSearch, SearchArgs, SearchResult, method_named
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.search.wording import ENGLISH, asked_in
from memsched.memory.store.conditions import Conditions
from memsched.redaction import Secrets, asked, redacted_id

if TYPE_CHECKING:
    from memsched.memory.search.hybrid import HybridSearch
    from memsched.memory.store.store import MemoryStore


class Services(Protocol):
    """What is needed of the services of a process."""

    @property
    def server(self) -> Server: ...
    @property
    def cubes(self) -> Cubes: ...
    @property
    def terms(self) -> TermStatistics: ...
    @property
    def search(self) -> HybridSearch: ...
    @property
    def store(self) -> MemoryStore: ...
    def deleting_command(self, ref: CubeRef) -> Command[set[str]]: ...


_LOOKED_AT = 20
"""Memories of a speaker that are looked at for whose they are."""
MAX_QUERY_CHARACTERS = 100_000
"""To read so many takes a tenth of a second."""


class Retriever:
    """Finds memories in the cubes that a user may read.

    Args:
        services: opens them at the first search.
        top_k: memories that a search returns when it is not told how many.
        method: how it ranks when it is not told.
        release: the permission hook.
        secrets: whether those in a query are replaced before a model sees it.
    """

    def __init__(
        self,
        services: Callable[[], Awaitable[Services]],
        *,
        top_k: int,
        method: str,
        release: Release | None = None,
        secrets: Secrets = "mask",
    ) -> None:
        self._services = services
        self._secrets = secrets
        self._release = release or Release()
        self.top_k = top_k
        self.method: str | None = method
        self._usual_method = method
        self.mem_cube: Any = None
        """The cube (a GeneralMemCube, a CubeRef) that is searched when none is named."""

    async def search(
        self,
        query: str,
        user_id: str | None = None,
        mem_cube_id: str | None = None,
        mem_cube: Any = None,
        top_k: int | None = None,
        method: str | None = None,
        search_args: SearchArgs | Mapping[str, Any] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        purpose: Purpose = "search",
    ) -> list[SearchResult]:
        """Return the memories of a cube that fit a query, best first.

        Raises InvalidSearch, CubeForbidden, UnknownCube, StoreUnavailable.

        Args:
            user_id: who asks.
            mem_cube_id: their name of the cube.
            mem_cube: an object that has both, instead; default: the scheduler's ``current_mem_cube``.
            method: ``hybrid``, ``dense``, ``lexical``, or one of the original system's names.
            top_k: at most so many; 0: none.
            search_args: conditions and weights; see SearchArgs.
            filter: what the metadata must be; over what is in ``search_args``.
            min_score: results score so much at least; over what is in ``search_args``.
            purpose: what for, if there is a permission hook that asks.
        """
        if mem_cube is None and mem_cube_id is None:
            mem_cube = self.mem_cube
        user_id, mem_cube_id = whose(user_id, mem_cube_id, mem_cube)
        chosen = method_named(method or self.method or self._usual_method)
        args = SearchArgs.of(search_args, filter=filter, min_score=min_score)
        named = {"session_id": [redacted_id(each, self._secrets) for each in args.session_id]}
        named["speaker"] = [asked(each, self._secrets) for each in args.speaker]
        args = args.model_copy(update=named)  # as they are kept
        if top_k is not None and (type(top_k) is not int or not 0 <= top_k <= 1000):
            raise InvalidSearch(f"top_k must be a whole number from 0 to 1000, not {top_k!r}.")
        if len(query) > MAX_QUERY_CHARACTERS:
            raise InvalidSearch(f"query has {len(query):,} characters, the limit is {MAX_QUERY_CHARACTERS:,}.")
        limit = self.top_k if top_k is None else top_k
        query = asked(query, self._secrets)
        services = await self._services()
        own, words = CubeRef(user_id, mem_cube_id), stems(query)
        # Who asks in another language than English is answered in the cube's own words (wording.py).
        counts_of = services.terms.counts_command if asked_in(query) == ENGLISH else services.terms.vocabulary_command
        # Nearly always it is the user's own cube: its counts are asked for together with whether it is.
        commands: list[Command[Any]] = [
            services.cubes.resolve_command(user_id, mem_cube_id),
            counts_of(own, words),
            services.deleting_command(own),
        ]
        access, counts, gone = map(answered, await services.server.persistently(lambda: services.server.run(commands)))
        ref = await services.cubes.admit(access, Permission.READ)
        if ref != own:
            counts = await services.server.persistently(lambda: services.server.call(counts_of(ref, words)))
            gone = await services.server.persistently(lambda: services.server.call(services.deleting_command(ref)))
        args = await self._with_names(services, ref, args)
        found = await services.search.search(ref, query, limit, chosen, args, counts)
        there = [_without(each, gone) for each in found if each.id not in gone]
        released = self._release.results(user_id, purpose, ref, there)
        # By what they see of it: else who may not see a value could find it out by asking for one after another.
        released = [each for each in released if fits(each.item, args.filter)]
        return await self._with_questions(services, ref, user_id, purpose, released, gone)

    async def _with_names(self, services: Services, ref: CubeRef, args: SearchArgs) -> SearchArgs:
        """With the users that the speakers mean: what they said under another name, or none, is theirs too."""
        if not args.speaker:
            return args
        named = await services.store.newest(ref, _LOOKED_AT, Conditions(speaker=args.speaker, include_archived=True))
        users = {each.added_by or ref.user_id for each in named if each.by_user}
        asked_for = {folded(each) for each in args.speaker}
        if asked_for & {folded(ref.user_id), folded(await services.cubes.name_of(ref.user_id)), "user"}:
            users.add(ref.user_id)
        return args.model_copy(update={"spoken_by_users": sorted({*args.spoken_by_users, *users})})

    async def _with_questions(
        self,
        services: Services,
        ref: CubeRef,
        reader: str,
        purpose: Purpose,
        results: list[SearchResult],
        gone: Set[str],
    ) -> list[SearchResult]:
        """Short answers with what they answer, as far as that is there and may leave."""
        wanted = list(dict.fromkeys(each.item.answers for each in results if each.item.answers))
        if not wanted:
            return results
        there = (await services.store.get(ref, [each for each in wanted if each not in gone])).values()
        asked = {each.memory_id: each.text for each in self._release.memories(reader, purpose, ref, there)}
        return [replace(each, asked=asked.get(each.item.answers, "")) for each in results]


def _without(result: SearchResult, gone: Set[str]) -> SearchResult:
    """It may still be found by the words of memories that are being deleted; their text does not leave."""
    if not any(each.memory_id in gone for each in result.found_by):
        return result
    found_by = (replace(each, text="") if each.memory_id in gone else each for each in result.found_by)
    return replace(result, found_by=tuple(found_by))


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
