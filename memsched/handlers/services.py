"""The memory half of a process, put together: what handlers and the library's faces work with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

from memsched.activation.kept import KeptSlots
from memsched.activation.place import unload_own
from memsched.activation.warming import Warming
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.deletion import Deletion, forget_events
from memsched.errors import UnknownMemory
from memsched.handlers.tidying import Tidying
from memsched.handlers.timers import Timers
from memsched.llm.client import LLM
from memsched.llm.errors import LLMError
from memsched.llm.judge import rerank
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.release import Release
from memsched.memory.embedding.factory import embedder_from
from memsched.memory.forgetting import Forgetting
from memsched.memory.import_journal import ImportJournal
from memsched.memory.ingest.corrections import Corrections
from memsched.memory.ingest.forget_journal import ForgetJournal
from memsched.memory.ingest.splitting import CHARACTERS_PER_TOKEN
from memsched.memory.ingest.turn_places import TurnPlaces
from memsched.memory.ingest.turns.forms import is_called_as_others
from memsched.memory.ingest.writer import MemoryWriter
from memsched.memory.model import Memory
from memsched.memory.search.hybrid import HybridSearch
from memsched.memory.search.ranking_cache import RankingCache
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.changes import ChangeFeed
from memsched.memory.store.store import MemoryStore
from memsched.memory.tombstones import Tombstones
from memsched.memory.transfer.cube_object import Standing
from memsched.messages import ScheduleMessageItem
from memsched.moving import Moving
from memsched.parameters.parameters import Parameters
from memsched.parameters.registry import Registry
from memsched.policy.binding import binding_named
from memsched.policy.block import ActivationBlock, BlockLimits, Member
from memsched.policy.ranking import strategy_named
from memsched.policy.strategy import Chosen, WorkingSetPolicy
from memsched.policy.talk import TalkEvent
from memsched.policy.transitions import TransitionRules, rules_named
from memsched.settings import Settings
from memsched.tiers.activation_status import ActivationStatus
from memsched.tiers.bound_set import BoundSets
from memsched.tiers.cube_cache import CubeCaches
from memsched.tiers.explain import Explainer
from memsched.tiers.hot_state import HotState, HotStates, WorkingMemory
from memsched.tiers.placement import Placements
from memsched.tiers.working_set import WorkingSets


class MemoryServices:
    """The composition root of the memory half: everything about memory, and the model if there is one.

    ``open`` makes it. Its parts: ``cubes`` and ``release`` (who may), ``writer`` and ``corrections`` (ingest),
    ``store``, ``terms`` (word counts), ``search``, ``states``, ``working_sets`` and ``placements``, ``moving`` and
    ``deletion`` (what people ask for), ``explainer``, ``embedder``, ``llm`` and ``reader``, ``warming`` (what the
    model's server is sent) and ``kept`` (what it keeps on disk).
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        keys: Keys,
        release: Release,
        policy: WorkingSetPolicy | None = None,
        rules: TransitionRules | None = None,
    ) -> None:
        self.settings = settings
        self.release = release
        self.cubes = Cubes(server, keys, settings)
        self.embedder = embedder_from(settings)
        self.llm = LLM.from_settings(settings)
        self.reader = LLM.reader_from_settings(settings) or self.llm
        """The model that reads conversations and corrections."""
        self._background: list[asyncio.Task[None]] = []
        self.extracting = asyncio.Semaphore(max(1, settings.llm_concurrency - 1))
        """Conversations that the model reads at once: one place is left for whoever waits for an answer. The budget of
        one that waits for its turn has not begun.
        """
        self.terms = TermStatistics(server, keys)
        self.turn_places = TurnPlaces(server, keys)
        self.kept = KeptSlots(settings, self.llm)
        self.states = HotStates(server, keys, self.kept.forget)
        self.tombstones = Tombstones(server, keys)
        self.asked = ForgetJournal(server, keys)
        """What was asked to be forgotten."""
        self.server = server
        self._keys = keys
        self.timers = Timers()
        self.warming = Warming(settings, server, keys, self.states, self.llm, self.block, self.kept)
        self._binding = binding_named(settings.binding)
        self._policy = policy or strategy_named(settings.strategy)
        self.rules = rules or rules_named(
            settings.transitions, settings.archive_after_days, settings.long_term_capacity
        )

    @classmethod
    async def open(
        cls,
        settings: Settings,
        server: Server,
        keys: Keys,
        release: Release,
        policy: WorkingSetPolicy | None = None,
        rules: TransitionRules | None = None,
    ) -> MemoryServices:
        """Load the embedding model. The vector store is connected at the first call that needs it.

        Raises SettingsError, and EmbeddingError; nothing stays open then.
        """
        # In a thread: making the language model's client takes most of a second.
        services = await asyncio.to_thread(cls, settings, server, keys, release, policy, rules)
        try:
            await services.embedder.prepare()
            services._assemble()
            services._background = [
                asyncio.create_task(services._look_for_models()),
                asyncio.create_task(Tidying(services.kept, services.parameters).run()),
            ]
        except BaseException:
            await services._close_models()
            raise
        return services

    def _assemble(self) -> None:
        """What needs the dimensions of the embedding model."""
        settings = self.settings
        feed = ChangeFeed(self.server, self._keys)
        self.store = MemoryStore(settings, self.embedder.name, self.embedder.dimensions, feed.announce, self._outdated)
        self.parameters = Parameters(
            settings, self.server, self._keys, self.store, self.states, self.release, self._registry(), self.kept.forget
        )
        slack = settings.search_slack
        self.ranking_cache = RankingCache(self.store, feed, slack) if slack else None
        own_words = self.release.asks
        self.search = HybridSearch(self.store, self.embedder, self.terms, self.ranking_cache, own_words=own_words)
        exact = HybridSearch(self.store, self.embedder, self.terms, own_words=own_words)
        self.corrections = Corrections(self.store, exact, only_links=self.reader is not None)
        self.forgetting = Forgetting(self.store, self.terms)
        self.writer = MemoryWriter(
            self.store,
            self.embedder,
            self.terms,
            self.turn_places,
            self.corrections,
            self.tombstones,
            self.forgetting,
            self.settings.chunk_tokens * CHARACTERS_PER_TOKEN,
        )
        cubes = CubeCaches(self.store, feed)
        self.working_sets = WorkingSets(
            self.states,
            cubes,
            self.search,
            self._policy,
            size=settings.working_set_size,
            window=settings.query_window,
            rules=self.rules,
            capacity=settings.long_term_capacity,
            limits=BlockLimits(
                settings.activation_max_members, settings.activation_max_tokens, settings.activation_still_wanted
            ),
            forget=self._forget,
            rerank=self._rerank if self.llm and settings.llm_rerank_seconds else None,
        )
        self.placements = Placements(
            self.states,
            cubes,
            self.store,
            self.working_sets,
            self.rules,
            self.asked,
            self.tombstones,
            working_set_size=settings.working_set_size,
        )
        self.explainer = Explainer(self.states, cubes, self.rules, self._policy, settings.working_set_size)
        self.moving = Moving(settings, self.server, self._keys, self.placements)
        self.bound_sets = BoundSets(self.states, cubes, self.rules, self._binding, settings.working_set_size)
        self.deletion = Deletion(
            settings,
            self.server,
            self._keys,
            self.store,
            self.terms,
            self.turn_places,
            ImportJournal(self.server, self._keys),
            self.asked,
            self.states,
            self.working_sets,
            self._outdated,
        )

    def _registry(self) -> Registry:
        own = self.llm.own_server if self.llm is not None else None
        return Registry(self.llm, own, lambda name: unload_own(self.settings, name))

    async def _outdated(self, ref: CubeRef, memory_ids: Sequence[str] | None) -> None:
        """These memories are about to hold no more (None: all): first of all nothing that was made of them serves."""
        await self.parameters.outdated(ref, memory_ids)

    async def _forget(self, ref: CubeRef, memory_ids: Sequence[str]) -> None:
        """What ends a deletion: gone from the disk of the model's server, from the events, then from the store, which
        knows until then what is to go.
        """
        await self.kept.forget(ref)
        known = await self.store.get(ref, memory_ids)
        texts = [each.text for each in known.values() if each.text]
        await forget_events(self.server, self._keys, ref, frozenset(memory_ids), texts)
        await self.asked.undo(ref, texts)
        await self.forgetting.forget(ref, memory_ids)

    async def reading(self, user_id: str, mem_cube_id: str) -> CubeRef:
        """A cube that the user may read, without what was being deleted. Raises CubeForbidden or UnknownCube."""
        ref = await self.cubes.resolve(user_id, mem_cube_id, Permission.READ)
        await self.deletion.finish(ref)
        return ref

    async def standing(self, ref: CubeRef) -> Standing:
        """A cube's pins, and its log of what answers used, for a dump."""
        state = await self.states.load(ref)
        return Standing(
            list(state.placement.pins),
            [each.model_dump(mode="json", include={"event_id", "at", "credited"}) for each in state.log],
        )

    async def stand(self, ref: CubeRef, standing: Standing) -> None:
        """What a dump says of pins and log is so here too."""
        await self.placements.bring(ref, standing.pins, standing.log)

    async def speaker(self, ref: CubeRef, message: ScheduleMessageItem) -> str:
        """Who says "I" in a message that names nobody: in their own cube the owner, without a name; in another's
        the user, by the name that they are known by, else by their id; never by the name of a role.
        """
        if message.user_name or message.user_id == ref.user_id:
            return message.user_name or ""
        name = await self.cubes.name_of(message.user_id)
        if name and not is_called_as_others(name):
            return name
        return f"user {message.user_id}" if is_called_as_others(message.user_id) else message.user_id

    async def names_of(self, message: ScheduleMessageItem) -> list[str]:
        """How the user of a conversation is known: who has that name in it is the user."""
        return [await self.cubes.name_of(message.user_id)] if message.chat_history else []

    def deleting_command(self, ref: CubeRef) -> Command[set[str]]:
        """To be sent together with others: the ids of memories whose deletion has begun."""
        return self.states.deleting_command(ref)

    async def named(self, reader: str, ref: CubeRef, memory_id: str) -> Memory:
        """The memory, as it is stored, that a user names by its id. Raises UnknownMemory.

        What the permission hook withholds from them is not there for them: neither to read nor to change.
        """
        try:
            found = await self.store.get(ref, [str(UUID(memory_id))])
        except (ValueError, AttributeError, TypeError):  # nothing that could be an id
            found = {}
        if not self.release.memories(reader, "read", ref, found.values()):
            raise UnknownMemory(memory_id)
        return next(iter(found.values()))

    async def whole(self, ref: CubeRef, named: Iterable[WorkingMemory | Member]) -> dict[str, Memory]:
        """These memories as the store has them, by id: what the permission hook, if there is one, is told of them."""
        return await self.store.get(ref, [each.memory_id for each in named]) if self.release.asks else {}

    async def tags_told(self, reader: str, ref: CubeRef, memory_ids: Sequence[str]) -> list[str]:
        """The tags that what somebody says has to have because of what they were told: see ``Release.passed_on``.

        Args:
            memory_ids: of what they were told; what they saw redacted does not count.
        """
        if not self.release.asks:
            return []
        whole = await self.store.get(ref, memory_ids)
        left = self.release.memories(reader, "prompt", ref, whole.values())
        told = [each for each in left if each.indexed_text == whole[each.memory_id].indexed_text]
        return self.release.passed_on(tag for each in told for tag in (*each.tags, *(ref.tags or ())))

    async def activation_status(self, ref: CubeRef) -> ActivationStatus:
        """What the model's server has of a cube's prompts."""
        return await self.warming.status(ref, adapter=await self.adapter_of(ref))

    async def adapter_of(self, ref: CubeRef) -> str | None:
        """What answers the chats of the cube's owner, by its name at the model's server; None: the model as it is."""
        return (await self.parameters.serving(ref)).named(is_owner=True)

    @property
    def training_key(self) -> str:
        """The key of the lock of whoever trains an adapter."""
        return self._keys.training

    async def block(self, ref: CubeRef, state: HotState) -> ActivationBlock:
        """The cube's activation block as its owner may read it."""
        whole = await self.whole(ref, state.block)
        return ActivationBlock.of(self.release.members(ref.user_id, ref, state.block, whole), state.salt)

    async def aclose(self) -> None:
        await self.timers.aclose()
        try:
            await self.store.aclose()
        finally:
            await self._close_models()

    async def _close_models(self) -> None:
        try:
            await self.embedder.aclose()
        finally:
            for each in self._background:
                each.cancel()
            for model in self._models:
                await model.aclose()

    @property
    def _models(self) -> list[LLM]:
        """Each once."""
        return list({id(model): model for model in (self.llm, self.reader) if model is not None}.values())

    async def _look_for_models(self) -> None:
        for model in self._models:
            await model.dialect()
            await model.look_for_model()
        await self.kept.sweep()

    async def _rerank(self, talk: Sequence[TalkEvent], chosen: Sequence[Chosen]) -> Sequence[Chosen]:
        """The model's order of the set, if it answers in time; the present one otherwise."""
        assert self.llm is not None
        texts = [each.memory.indexed_text for each in chosen]
        try:
            order = await rerank(self.llm, talk[-1].text, texts, self.settings.llm_rerank_seconds)
        except LLMError as error:
            self.llm.counters.fell_back("rerank", error)
            return chosen
        return [chosen[number] for number in order]
