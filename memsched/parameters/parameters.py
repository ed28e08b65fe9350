"""Parameter memory of cubes: what goes into adapters, which one serves, and how it is gone when it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import CubeForbidden, MemschedError
from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory.access.release import Release
from memsched.memory.model import Memory, to_ms
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.store import MemoryStore
from memsched.messages import LONG_TERM_MEMORY_TYPE, PARAMETER_MEMORY_TYPE, ScheduleLogForWebItem
from memsched.parameters import dataset, pointer
from memsched.parameters.folders import AdapterFolders
from memsched.parameters.forms import asked_for
from memsched.parameters.gate import Figures, why_refused
from memsched.parameters.record import (
    Adapter,
    AdapterState,
    ParameterState,
    Part,
    Scope,
    Serving,
    Shadow,
    TrainedMemory,
    WrongState,
    now,
)
from memsched.parameters.registry import AdapterServer
from memsched.parameters.selection import Wanted, is_stable, may_enter, owner_of, select
from memsched.parameters.states import ParameterStates
from memsched.queue.events import append_event
from memsched.settings import Settings
from memsched.tiers.hot_state import HotStates

log = get_logger(__name__)

_LABEL = "parameters"
_REPLAYED = 5_000
_LOADING_MS = 900_000
"""No server takes longer to load an adapter."""
_EVERYTHING = Conditions(include_archived=True)


class NothingStable(MemschedError):
    """No memory of the cube is stable enough to go into an adapter."""

    def __init__(self, left_out: Mapping[str, int]) -> None:
        said = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items())) or "it has none"
        super().__init__(
            f"Left out of its memories ({said}). An adapter is made of what its metadata calls a template, procedure, "
            "style or faq, what was used for long and never corrected, and whose owner consents."
        )


class HookDecides(MemschedError):
    """A permission hook says who may see which memory; weights serve all readers alike. Export without ``shared``."""


class UnknownAdapter(MemschedError):
    """The cube has no such adapter."""


class ChangedMeanwhile(MemschedError):
    """A memory was corrected or deleted, or a consent withdrawn, while the data set was made. Export it again."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The memories of a data set.

    Args:
        questions: what members answer, in whose words they are asked for.
        replay: what is trained beside them, so that the model does not forget how people write.
    """

    members: Sequence[Memory]
    questions: Sequence[Memory]
    replay: Sequence[Memory]
    left_out: Mapping[str, int]

    def trained(self) -> dict[str, TrainedMemory]:
        """Whose text goes into the weights, in whatever part."""
        parts: tuple[tuple[Part, Sequence[Memory]], ...] = (
            ("replay", [*self.replay, *self.questions]),
            ("member", self.members),
        )
        return {
            each.memory_id: TrainedMemory(version=each.version, owner=owner_of(each), part=part)
            for part, memories in parts
            for each in memories
        }


class Parameters:
    """The adapters of all cubes. Who may is checked by the caller, but for what only a cube's owner may.

    Args:
        forget_caches: deletes what a model's server saved on disk while an adapter of the cube answered.
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        keys: Keys,
        store: MemoryStore,
        hot: HotStates,
        release: Release,
        adapter_server: AdapterServer,
        forget_caches: Callable[[CubeRef], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._server = server
        self._keys = keys
        self._store = store
        self._hot = hot
        self._release = release
        self._adapter_server = adapter_server
        self._forget_caches = forget_caches
        self.states = ParameterStates(server, keys)
        self.folders = AdapterFolders(settings)

    # -- export --------------------------------------------------------------------------------------------------

    async def export(self, ref: CubeRef, *, facts: bool = False, scope: Scope = "own", adapter_id: str = "") -> Adapter:
        """Choose memories and write their data set. Raises NothingStable, NoReplay, UnreadableReplay, HookDecides,
        ChangedMeanwhile.

        What is written down first is whose memories they are: a deletion that comes in between finds it.

        Args:
            facts: also facts, which only the cube's owner's own chats may be told by weights.
            adapter_id: for whoever may repeat it: one that is there is returned as it is.
        """
        if scope == "shared" and self._release.asks:
            raise HookDecides
        state = await self.states.load(ref)
        if adapter_id in state.adapters and state.adapters[adapter_id].state is not AdapterState.CANDIDATE:
            return state.adapters[adapter_id]
        wanted = Wanted(ref.user_id, state.consents, scope, facts)
        found = await self._chosen(ref, wanted)
        if not found.members:
            raise NothingStable(found.left_out)
        adapter = Adapter(
            adapter_id=adapter_id or uuid4().hex[:12], scope=scope, created_at=now(), memories=found.trained()
        )

        def noted(state: ParameterState) -> ParameterState:
            asked = {each.owner for each in adapter.memories.values()} - ({ref.user_id} if scope == "own" else set())
            if not asked <= state.consents.keys():
                raise ChangedMeanwhile
            return state.with_adapter(adapter)

        await self.states.change(ref, noted)
        try:
            return await self._write(ref, adapter, found)
        except WrongState:
            await self._drop(ref, adapter.adapter_id)
            raise ChangedMeanwhile from None
        except BaseException:
            await self._drop(ref, adapter.adapter_id)
            raise

    async def _drop(self, ref: CubeRef, adapter_id: str) -> None:
        """Leave nothing of an export that was not finished."""
        await asyncio.to_thread(self.folders.of(ref, adapter_id).remove)

        def without(state: ParameterState) -> ParameterState:
            left = {name: each for name, each in state.adapters.items() if name != adapter_id}
            return state.model_copy(update={"adapters": left})

        await self.states.change(ref, without)

    async def _chosen(self, ref: CubeRef, wanted: Wanted) -> _Chosen:
        """What goes in: the members, what they answer, and without a file of other texts the cube's own."""
        memories = [memory async for memory, _ in self._store.scan(ref, _EVERYTHING)]
        found = select(memories, await self._hot.uses(ref, [each.memory_id for each in memories]), wanted)
        members = self._release.memories(ref.user_id, "export", ref, found.chosen)
        chosen = {each.memory_id for each in members}
        others = [each for each in memories if each.memory_id not in chosen and is_stable(each)]
        others = [each for each in others if may_enter(each, wanted)]
        others = self._release.memories(ref.user_id, "export", ref, others)
        answered = {each.answers for each in members}
        questions = [each for each in others if each.memory_id in answered]
        replay = [] if self._settings.parameter_replay or wanted.scope != "own" else others[:_REPLAYED]
        return _Chosen(members, questions, replay, found.left_out)

    async def _write(self, ref: CubeRef, adapter: Adapter, found: _Chosen) -> Adapter:
        there = await self._store.get(ref, list(adapter.memories))
        for memory_id, each in adapter.memories.items():
            memory = there.get(memory_id)
            if memory is None or memory.version != each.version or not is_stable(memory):
                raise ChangedMeanwhile
        asked = {each.memory_id: each.text for each in found.questions}
        members = [asked_for(each, asked.get(each.answers, "")) for each in found.members]
        path = self._settings.parameter_replay
        others = await asyncio.to_thread(dataset.texts_of_file, path, _REPLAYED) if path else []
        data = dataset.built(members, others or [dataset.told_alone(each.text) for each in found.replay])
        folder = self.folders.of(ref, adapter.adapter_id)
        written = await asyncio.to_thread(dataset.write, folder.data, data, adapter, found.left_out)
        return await self._to(ref, adapter.adapter_id, AdapterState.EXPORTED, data_hash=written)

    # -- what a trainer made -------------------------------------------------------------------------------------

    async def to_be_trained(self, ref: CubeRef, adapter_id: str) -> Adapter:
        """Raises UnknownAdapter, and WrongState if there is nothing to train."""
        adapter = await self.adapter(ref, adapter_id)
        if adapter.state not in (AdapterState.EXPORTED, AdapterState.TRAINED):
            raise WrongState(adapter_id, adapter.state, "only one that is exported can be trained")
        return adapter

    async def trained(self, ref: CubeRef, adapter_id: str, name: str, figures: Figures) -> Adapter:
        """Take in what was measured, and let it through the gate or refuse it."""
        await self._to(ref, adapter_id, AdapterState.TRAINED, name=name, figures=figures)
        return await self.gate(ref, adapter_id)

    async def gate(self, ref: CubeRef, adapter_id: str) -> Adapter:
        """``gated`` or ``refused``, by the figures alone."""
        figures = (await self.adapter(ref, adapter_id)).figures
        reasons = ["nothing was measured"] if figures is None else why_refused(figures)
        state = AdapterState.REFUSED if reasons else AdapterState.GATED
        adapter = await self._to(ref, adapter_id, state, reason="; ".join(reasons))
        log.info(
            "the gate refuses an adapter" if reasons else "an adapter passes the gate",
            action="parameters.refused" if reasons else "parameters.gated",
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
            adapter_id=adapter_id,
            reason=adapter.reason,
            figures=figures.model_dump() if figures else None,
        )
        if reasons:
            await self.sweep(ref)
        return adapter

    # -- serving -------------------------------------------------------------------------------------------------

    async def serving(self, ref: CubeRef) -> Serving:
        """Which adapter the cube's chats name; one round trip."""
        return await self.states.serving(ref)

    async def activate(self, ref: CubeRef, adapter_id: str, *, shadow: bool = False) -> Adapter:
        """Have the model's server load an adapter, then have chats name it, or answer beside (``shadow``).

        Raises UnknownAdapter, WrongState, and AdapterNotLoaded if the server did not take it.
        """
        adapter = await self.adapter(ref, adapter_id)
        adapter.to(AdapterState.SHADOW if shadow else AdapterState.ACTIVE)  # before the server is troubled
        await self._load(ref, adapter)
        pointed = pointer.shadowed if shadow else pointer.activated
        before, after = await self.states.change(ref, lambda state: pointed(state, adapter_id))
        await self._tell_moves(ref, before, after, "activated" if not shadow else "answers beside, unseen")
        return after.adapters[adapter_id]

    async def rollback(self, ref: CubeRef) -> Adapter | None:
        """Point to the adapter that was active before, or to none. Returns the one that is active now."""
        before, after = await self.states.change(ref, pointer.rolled_back)
        await self._tell_moves(ref, before, after, "rolled back")
        return after.adapters.get(after.serving.active)

    async def count_shadow(self, ref: CubeRef, name: str, *, agreed: bool, failed: bool) -> None:
        """Count how the adapter in shadow, if it still is this one, did with one more question."""

        def added(state: ParameterState) -> ParameterState:
            adapter = state.adapters.get(state.serving.shadow)
            if adapter is None or adapter.name != name:
                return state
            had = adapter.shadow
            total = Shadow(asked=had.asked + 1, agreed=had.agreed + agreed, failed=had.failed + failed)
            return state.with_adapter(adapter.model_copy(update={"shadow": total}))

        await self.states.change(ref, added)

    async def reload(self, ref: CubeRef) -> None:
        """Have the server load what serves: it may have been started anew."""
        state = await self.states.load(ref)
        for adapter_id in (state.serving.active, state.serving.shadow):
            if adapter := state.adapters.get(adapter_id):
                await self._load(ref, adapter)

    async def _load(self, ref: CubeRef, adapter: Adapter) -> None:
        """It is written down before that it may be there: whoever revokes it meanwhile has it unloaded, at once and
        once more when this is over.
        """
        if adapter.figures is None:
            raise WrongState(adapter.adapter_id, adapter.state, "only one that was measured can be loaded")

        def noted(state: ParameterState) -> ParameterState:
            known = state.adapters.get(adapter.adapter_id)
            if known is None or known.state is AdapterState.REVOKED:
                raise WrongState(adapter.adapter_id, AdapterState.REVOKED, "it cannot be loaded any more")
            until = to_ms(now()) + _LOADING_MS
            return state.with_adapter(known.model_copy(update={"loaded": True, "loading_until": until}))

        await self.states.change(ref, noted)
        made = self.folders.of(ref, adapter.adapter_id).made
        try:
            await self._adapter_server.load(adapter.name, made, adapter.figures)
        except MemschedError:
            await self._loaded(ref, adapter.adapter_id)
            raise
        if (known := await self._loaded(ref, adapter.adapter_id)) is None or known.state is AdapterState.REVOKED:
            raise WrongState(adapter.adapter_id, AdapterState.REVOKED, "it was revoked while it was loaded")

    async def _loaded(self, ref: CubeRef, adapter_id: str) -> Adapter | None:
        """An adapter after a server was told to load it. One that was revoked meanwhile is unloaded."""

        def ended(state: ParameterState) -> ParameterState:
            if (known := state.adapters.get(adapter_id)) is None:
                return state
            left = {"files": True} if known.state is AdapterState.REVOKED else {}
            return state.with_adapter(known.model_copy(update={"loading_until": 0, **left}))

        _, after = await self.states.change(ref, ended)
        known = after.adapters.get(adapter_id)
        if known is not None and known.state is AdapterState.REVOKED:
            await self.sweep(ref)
        return known

    # -- forgetting ----------------------------------------------------------------------------------------------

    async def outdated(self, ref: CubeRef, memory_ids: Iterable[str] | None) -> None:
        """These memories (None: all) are about to hold no more. What they went into is revoked before that.

        Chats ignore it from this moment on; weights, data set and what the server has go then. One that dies over that
        leaves it to whoever comes next (``sweep``).
        """
        named = None if memory_ids is None else frozenset(memory_ids)
        state = await self.states.load(ref)
        if state.made_of(named):
            await self._revoke_made_of(ref, named, None, "a memory was deleted or corrected")

    async def revoke(self, ref: CubeRef, adapter_id: str, reason: str = "asked") -> None:
        """Take an adapter away for good. Raises UnknownAdapter."""
        await self.adapter(ref, adapter_id)
        await self._revoke(ref, [adapter_id], reason)

    async def consent(self, ref: CubeRef, user_id: str) -> None:
        """This user lets what they say in the cube go into weights that serve all its readers, until they withdraw."""
        at = to_ms(now())
        await self.states.change(
            ref, lambda state: state.model_copy(update={"consents": {user_id: at, **state.consents}})
        )

    async def withdraw(self, ref: CubeRef, user_id: str) -> None:
        """Take the consent back: what this user's memories went into is revoked with it, but for their own scope."""
        await self._revoke_made_of(ref, frozenset(), user_id, "a consent was withdrawn")

    async def sweep(self, ref: CubeRef) -> None:
        """Have nothing left of adapters that were revoked or refused: files, and what the server has loaded.

        One that may still be being loaded is looked for once more.
        """
        state, at = await self.states.load(ref), to_ms(now())
        over = (AdapterState.REVOKED, AdapterState.REFUSED)
        left = [each for each in state.adapters.values() if each.state in over and each.files]
        gone = {each.adapter_id for each in left if await self._removed(ref, each) and each.loading_until < at}

        def swept(state: ParameterState) -> ParameterState:
            for name in gone & state.adapters.keys():
                state = state.with_adapter(state.adapters[name].model_copy(update={"files": False, "memories": {}}))
            return state

        if gone:
            await self.states.change(ref, swept)

    async def sweep_all(self) -> None:
        """The same for all cubes. What goes wrong with one is no other's."""
        for ref in await self.states.cubes():
            try:
                await self.sweep(ref)
            except MemschedError as error:
                log.warning(
                    "adapters of a cube could not be looked at; it is tried again",
                    action="parameters.not_swept",
                    user_id=ref.user_id,
                    mem_cube_id=ref.mem_cube_id,
                    error=str(error),
                )

    async def _revoke_made_of(
        self, ref: CubeRef, memory_ids: frozenset[str] | None, owner: str | None, reason: str
    ) -> None:
        def revoked(state: ParameterState) -> ParameterState:
            gone = state.made_of(memory_ids, owner)
            if owner == ref.user_id:  # what serves the owner alone needs no consent of theirs
                gone = [each for each in gone if state.adapters[each].scope == "shared"]
            state = state.without(gone, reason)
            kept = {user: at for user, at in state.consents.items() if user != owner}
            return state.model_copy(update={"consents": kept})

        await self._after_revoking(ref, *await self.states.change(ref, revoked), memory_ids, reason)

    async def _revoke(self, ref: CubeRef, adapter_ids: Sequence[str], reason: str) -> None:
        changed = await self.states.change(ref, lambda state: state.without(adapter_ids, reason))
        await self._after_revoking(ref, *changed, frozenset(), reason)

    async def _after_revoking(
        self, ref: CubeRef, before: ParameterState, after: ParameterState, gone: frozenset[str] | None, reason: str
    ) -> None:
        for adapter_id, each in after.adapters.items():
            if each.state is AdapterState.REVOKED and before.adapters[adapter_id].state is not AdapterState.REVOKED:
                log.info(
                    "an adapter is revoked; chats name it no more, and its files go",
                    action="parameters.revoked",
                    user_id=ref.user_id,
                    mem_cube_id=ref.mem_cube_id,
                    adapter_id=adapter_id,
                    reason=reason,
                )
        await self._tell_moves(ref, before, after, reason, gone)
        await self.sweep(ref)

    async def _removed(self, ref: CubeRef, adapter: Adapter) -> bool:
        """Whether an adapter has left nothing. What cannot be reached now is tried again by whoever sweeps next."""
        try:
            removed = await asyncio.to_thread(self.folders.remove, ref, adapter.adapter_id)
            if adapter.loaded:
                await self._forget_caches(ref)
                await self._adapter_server.unload(adapter.name)
            return removed
        except (MemschedError, OSError) as error:
            log.warning(
                "what a revoked adapter left is still there; it is tried again",
                action="parameters.not_removed",
                user_id=ref.user_id,
                mem_cube_id=ref.mem_cube_id,
                adapter_id=adapter.adapter_id,
                error=str(error),
            )
            return False

    # -- parts ---------------------------------------------------------------------------------------------------

    @staticmethod
    def refuse_strangers(ref: CubeRef, user_id: str) -> None:
        """Raises CubeForbidden for anybody but the cube's owner: weights are made of all of it."""
        if user_id != ref.user_id:
            raise CubeForbidden(user_id, ref.mem_cube_id, f"only its owner {ref.user_id!r} may have adapters of it")

    async def adapter(self, ref: CubeRef, adapter_id: str) -> Adapter:
        """Raises UnknownAdapter."""
        state = await self.states.load(ref)
        if adapter_id not in state.adapters:
            known = ", ".join(state.adapters) or "none"
            raise UnknownAdapter(f"{adapter_id!r}; there are: {known}.")
        return state.adapters[adapter_id]

    async def _to(self, ref: CubeRef, adapter_id: str, to: AdapterState, **changed: Any) -> Adapter:
        """Bring an adapter to its next state. Raises WrongState, also if somebody revoked it meanwhile."""

        def moved(state: ParameterState) -> ParameterState:
            if (adapter := state.adapters.get(adapter_id)) is None:
                raise UnknownAdapter(repr(adapter_id))
            return state.with_adapter(adapter.to(to, **changed))

        _, after = await self.states.change(ref, moved)
        return after.adapters[adapter_id]

    async def _tell_moves(
        self,
        ref: CubeRef,
        before: ParameterState,
        after: ParameterState,
        why: str,
        gone: frozenset[str] | None = frozenset(),
    ) -> None:
        """Tell which memories are in the weights that serve now, and which are not any more.

        Args:
            gone: those that are named nowhere any more (None: all).
        """
        was, is_now = (state.adapters.get(state.serving.active) for state in (before, after))
        for adapter, came in ((was, False), (is_now, True)):
            other = is_now if adapter is was else was
            if adapter is None or (other is not None and other.adapter_id == adapter.adapter_id):
                continue
            known = before.adapters.get(adapter.adapter_id, adapter)
            ids = [] if gone is None else [each for each in (known.members or adapter.members) if each not in gone]
            await self._tell(ref, adapter, ids, why, came=came)

    async def _tell(self, ref: CubeRef, adapter: Adapter, memory_ids: Sequence[str], why: str, *, came: bool) -> None:
        ways = (LONG_TERM_MEMORY_TYPE, PARAMETER_MEMORY_TYPE)
        from_type, to_type = ways if came else ways[::-1]
        said = "are in the weights that answer" if came else "are in no weights that answer any more"
        item = ScheduleLogForWebItem(
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
            label=_LABEL,
            log_content=f"{len(memory_ids)} memories {said}: adapter {adapter.adapter_id}, {why}",
            from_memory_type=from_type,
            to_memory_type=to_type,
            metadata=[{"memory_id": each} for each in memory_ids],
        )
        await append_event(self._server, self._keys, self._settings, (ref.user_id, ref.mem_cube_id), item)
