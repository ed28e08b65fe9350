"""The memory half of a scheduler's face: what is near, what it is about, and why."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from uuid import UUID, uuid5

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command
from memsched.durations import Seconds
from memsched.errors import (
    AnswerTooLate,
    CubeForbidden,
    EmbeddedServerError,
    InvalidArgument,
    InvalidId,
    UnknownCube,
    UnknownMemory,
)
from memsched.history import HistoryEntry, history_of, versions_of
from memsched.lexicon import stems
from memsched.logs import get_logger
from memsched.memory.access.cubes import Cubes, CubeView
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.release import CubeMemories, Purpose, Release, named_in
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.model import Memory, expect_memory_id
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.bm25 import TermCounts
from memsched.memory.search.retriever import Retriever
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.search.wording import ENGLISH, asked_in
from memsched.memory.store.errors import EmbedderMismatch, SchemaTooNew, StoreRefused, StoreUnavailable
from memsched.memory_prompt import (
    NOT_SEARCHED,
    NOTHING_ASKED,
    SEARCH_FAILED,
    SUFFICIENT,
    MemoryPrompt,
    SearchWhen,
    prompt_of,
)
from memsched.messages import (
    PREDICT_TASK_LABEL,
    PRELOAD_TASK_LABEL,
    TYPING,
    Messages,
    ScheduleLogForWebItem,
    ScheduleMessageItem,
)
from memsched.parameters.record import Serving
from memsched.parameters.states import ParameterStates
from memsched.patience import Patience
from memsched.policy.binding import Context
from memsched.policy.block import ActivationBlock, Member
from memsched.policy.salt import passing_salt
from memsched.policy.strategy import CubeMemory
from memsched.policy.theme import Theme
from memsched.queue.events import events_after, newest_events, newest_place
from memsched.redaction import asked, redacted_id
from memsched.settings import Settings
from memsched.task_status import SubmitResult
from memsched.tiers.activation_status import ActivationStatus
from memsched.tiers.explanation import Explanation
from memsched.tiers.hot_state import NOTHING_SENT, HeadState, HotStates, WorkingMemory
from memsched.tiers.moves import Move

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices
    from memsched.moving import Moving


log = get_logger(__name__)

NOT_ANSWERED = (
    StoreUnavailable,
    StoreRefused,
    EmbedderMismatch,
    SchemaTooNew,
    EmbeddedServerError,
    EmbeddingError,
    AnswerTooLate,
)
"""What is raised when the vector store, or the embedding model, gives no answer that can be used."""

_Value = TypeVar("_Value")
_PRELOADED_EVERY_SECONDS = 60
_SEARCH_WHEN = get_args(SearchWhen)
_EVENTS_AT_ONCE, _EVENTS_EVERY_SECONDS = 100, 0.5
_PRELOADS = UUID("b0a7b7a0-52a5-4d43-9b0f-6a35e2a3a1c7")


class MemoryFace(ABC):
    """What ``AsyncMemScheduler`` does with cubes and their memories."""

    settings: Settings
    keys: Keys
    release: Release
    retriever: Retriever
    patience: Patience
    """With the vector store and the embedding model, of who can go on without them."""

    @abstractmethod
    async def server(self) -> Server:
        """The queue's server, connected."""

    @abstractmethod
    async def memory(self) -> MemoryServices:
        """The services of the memory half."""

    @abstractmethod
    async def memory_soon(self) -> MemoryServices:
        """The same, for who can go on without them. Raises AnswerTooLate where the embedding model's server, which is
        asked when they are opened, does not answer soon.
        """

    @abstractmethod
    async def submit_messages(self, messages: Messages, *, delay: Seconds = 0.0) -> list[SubmitResult]:
        """See AsyncMemScheduler.submit_messages."""

    async def working_set(
        self,
        user_id: str,
        mem_cube_id: str,
        session_id: str | None = None,
        *,
        role: str | None = None,
        task: str | None = None,
        purpose: Purpose = "working_set",
    ) -> list[WorkingMemory]:
        """The memories that the next question of this cube will probably need, best first; one round trip.

        Raises CubeForbidden or UnknownCube.

        Args:
            session_id: the conversation that it is for: what is predicted while somebody types in another one of this
                cube takes no places then. All else is the cube's, whatever the conversation.
            role: a set for who acts in this role: what is bound to it (a message's ``info={"role": ..., "task": ...}``)
                first, also of other cubes that the user may read; nothing that is bound to another. It is computed
                when it is asked for.
            task: the same for a task.
            purpose: what for, if there is a permission hook that asks.
        """
        for name, value in (("role", role), ("task", task)):
            if not isinstance(value, str | None):
                raise InvalidArgument(name, value, "it must be a text")
        if role or task:
            return await self._bound_set(user_id, mem_cube_id, Context(role or "", task or ""), purpose)
        session = session_id and redacted_id(session_id, self.settings.secrets)
        cube, (found,) = await self._read_hot(
            user_id, mem_cube_id, lambda states, ref: states.working_set_command(ref, user_id, session)
        )
        return await self._released_near(user_id, purpose, cube.ref, found)

    async def _released_near(
        self, reader: str, purpose: Purpose, ref: CubeRef, near: list[WorkingMemory]
    ) -> list[WorkingMemory]:
        """Those that may leave. The permission hook is told all that the store knows of them."""
        whole = await self._whole(ref, near) if self.release.asks else None
        near = self.release.memories(reader, purpose, ref, near, whole)
        wanted = list(dict.fromkeys(each.answers for each in near if each.answers))
        if not wanted:
            return near
        try:
            store = (await self.memory_soon()).store
            there = (await self._soon(lambda: store.get(ref, wanted))).values()
        except NOT_ANSWERED as error:
            log.warning(
                "the store did not answer; short answers are shown without their questions",
                action="working_set.without_questions",
                error=str(error),
            )
            return near
        asked = {each.memory_id: each.text for each in self.release.memories(reader, purpose, ref, there)}
        return [each.model_copy(update={"asked": asked.get(each.answers, "")}) for each in near]

    async def _bound_set(
        self, user_id: str, mem_cube_id: str, context: Context, purpose: Purpose
    ) -> list[WorkingMemory]:
        services = await self.memory()
        asked = await services.reading(user_id, mem_cube_id)
        views = await services.cubes.cubes_of(user_id)
        cubes = [(mem_cube_id, asked), *((view.name, view.ref) for view in views if view.name != mem_cube_id)]
        parts = await services.bound_sets.of(context, cubes)
        found = [
            each for part in parts for each in await self._released_near(user_id, purpose, part.ref, part.memories)
        ]
        return sorted(found, key=lambda each: "bound" not in each.sources)

    async def preload(self, user_id: str, mem_cube_id: str, session_id: str | None = None) -> None:
        """A conversation begins: have the working set and the activation block made ready. Returns at once.

        As often as one likes: of one conversation, once a minute counts. Raises CubeForbidden, UnknownCube, and as
        ``submit_messages``.
        """
        await Cubes(await self.server(), self.keys, self.settings).resolve(user_id, mem_cube_id, Permission.READ)
        cause = json.dumps([user_id, mem_cube_id, session_id, int(time.time() // _PRELOADED_EVERY_SECONDS)])
        message = ScheduleMessageItem(
            item_id=str(uuid5(_PRELOADS, cause)),
            user_id=user_id,
            mem_cube_id=mem_cube_id,
            label=PRELOAD_TASK_LABEL,
            content="",
            session_id=session_id,
        )
        await self.submit_messages(message)

    async def predict(self, user_id: str, mem_cube_id: str, text: str, session_id: str | None = None) -> None:
        """Somebody is typing a question: have near what it will need, in MEMSCHED_PREDICT_SLOTS places.

        Returns at once. Call it with all that is typed so far, at each key if you like: it waits
        MEMSCHED_PREDICT_DELAY_MS for more, and only the last text is looked at. With the next question of the cube
        (``query``) nothing is left of it, and nobody else sees it. In a cube that the user may only read it does
        nothing. Raises CubeForbidden, UnknownCube, and as ``submit_messages``.
        """
        if not isinstance(text, str):
            raise InvalidArgument("text", text, "it must be a text")
        server = await self.server()
        view = await Cubes(server, self.keys, self.settings).view(user_id, mem_cube_id, Permission.READ)
        if not (self.settings.predict_slots and text.strip() and view.permission.allows(Permission.WRITE)):
            return
        message = ScheduleMessageItem(
            user_id=user_id,
            mem_cube_id=mem_cube_id,
            label=PREDICT_TASK_LABEL,
            content=text,
            session_id=session_id,
            info={TYPING: True},
        )
        await HotStates(server, self.keys).typing(view.ref, user_id, message.item_id)
        await self.submit_messages(message, delay=self.settings.predict_delay_ms / 1000)

    async def activation(self, user_id: str, mem_cube_id: str) -> ActivationBlock:
        """The text at the head of the prompts about this cube, byte for byte; one round trip.

        It stays the same, or grows at its end, as long as it can, so that a model server's prefix cache hits it:
        ``block.head(instructions)`` is what a prompt begins with. Raises CubeForbidden or UnknownCube.
        """
        cube, (head,) = await self._read_hot(user_id, mem_cube_id, HotStates.activation_command)
        block, _ = await self._released_head(user_id, cube.ref, head)
        return block

    async def activation_status(self, user_id: str, mem_cube_id: str) -> ActivationStatus:
        """What the model's server has of this cube's prompts, how it is warmed, and why it has no more.

        Asks the server which kind it is, if that is not known. Raises CubeForbidden or UnknownCube.
        """
        services = await self.memory()
        return await services.activation_status(await services.reading(user_id, mem_cube_id))

    async def warm(self, user_id: str, mem_cube_id: str) -> ActivationStatus:
        """Send the head of this cube's prompts to the model's server now, also when it has it, and whatever it costs.

        Without a language model, or without a block, nothing is sent. Raises CubeForbidden, UnknownCube, and LLMError
        when the server does not take it.
        """
        services = await self.memory()
        ref = await services.cubes.resolve(user_id, mem_cube_id, Permission.WRITE)
        await services.warming.warm(ref, adapter=await services.adapter_of(ref), anyway=True)
        return await services.activation_status(ref)

    async def _released_head(
        self, user_id: str, ref: CubeRef, head: HeadState
    ) -> tuple[ActivationBlock, Sequence[Member]]:
        """The block that the user may read, and its members."""
        whole = await self._whole(ref, head.members) if self.release.asks else {}
        members = self.release.members(user_id, ref, head.members, whole)
        return ActivationBlock.of(members, head.salt), members

    async def prompt(
        self,
        user_id: str,
        mem_cube_id: str,
        query: str | None = None,
        session_id: str | None = None,
        max_tokens: int | None = None,
        *,
        top_k: int | None = None,
        search: SearchWhen = "always",
        role: str | None = None,
        task: str | None = None,
    ) -> MemoryPrompt:
        """What goes before a model call about this cube: its head (salt, instructions, activation block) byte for byte,
        then what search finds for the query, then the rest of the working set; as text, and as OpenAI's messages.

        Reads only: the label ``query`` tells the scheduler what is asked. Where the store or the embedding model gives
        no answer within MEMSCHED_PROMPT_SEARCH_SECONDS, it does with what is near (``action=prompt.search_failed``).
        Raises CubeForbidden, UnknownCube, InvalidArgument.

        Args:
            query: what somebody asks; without one nothing is searched for.
            session_id: as ``working_set`` has it.
            max_tokens: of the text, estimated as ``activation`` does; at least 1. The least relevant goes first, and
                the block last, and whole.
            top_k: memories that are searched for; default: ``retriever.top_k``.
            search: ``auto``: only where no memory that is near answers the query by its words, so that mostly nothing
                is embedded and the store is not asked; ``never``.
            role: as ``working_set`` has it.
            task: the same.
        """
        if max_tokens is not None and max_tokens < 1:
            raise InvalidArgument("max_tokens", max_tokens, "the text has 1 at least; None: as many as it takes")
        if query is not None and not isinstance(query, str):
            raise InvalidArgument("query", query, "it must be a text")
        if search not in _SEARCH_WHEN:
            raise InvalidArgument("search", search, "it must be auto, never or always")
        if not isinstance(role, str | None) or not isinstance(task, str | None):
            raise InvalidArgument("role, task", (role, task), "they must be texts")
        session = session_id and redacted_id(session_id, self.settings.secrets)
        server = await self.server()
        parameters = ParameterStates(server, self.keys)
        question = asked(query or "", self.settings.secrets) if search == "auto" else ""
        counts_of = self._counts_of(server, question)
        cube, (head, serving, stored, counts) = await self._read_hot(
            user_id,
            mem_cube_id,
            HotStates.activation_command,
            lambda _, ref: parameters.serving_command(ref),
            lambda states, ref: states.working_set_command(ref, user_id, session),
            lambda _, ref: counts_of(ref),
        )
        ref = cube.ref
        block: ActivationBlock | None = None
        sent = NOTHING_SENT
        near: list[WorkingMemory] = []
        members: Sequence[Member] = ()
        adapter = beside = None
        with suppress(*NOT_ANSWERED):  # only a permission hook asks the store
            block, members = await self._released_head(user_id, ref, head)
            sent, (adapter, beside) = head.sent, self._adapters(user_id, ref, serving)
            if role or task:
                near = await self._bound_set(user_id, mem_cube_id, Context(role or "", task or ""), "prompt")
            else:
                near = await self._released_near(user_id, "prompt", ref, stored)
        found: list[SearchResult] = []
        sufficient = NOTHING_ASKED
        if query is not None and query.strip():
            sufficient = NOT_SEARCHED if search == "never" else SEARCH_FAILED
            if search != "never":
                with self._search_failing(user_id, mem_cube_id):
                    services = await self.memory_soon()
                    if search == "auto" and self._answers(services, ref, question, near, members, counts):
                        sufficient = replace(NOTHING_ASKED, reason="answers")
                    else:
                        found = await self._soon(
                            lambda: self.retriever.search(query, user_id, mem_cube_id, top_k=top_k, purpose="prompt")
                        )
                        sufficient = replace(NOT_SEARCHED, searched=True)
        if block is None:
            block = ActivationBlock.of([], passing_salt(f"{user_id}/{mem_cube_id}"))
        today = datetime.now().astimezone().date()
        return prompt_of(
            *(block, near, found, query, max_tokens, today),
            sent=sent,
            adapter=adapter,
            beside=beside,
            sufficient=sufficient,
            is_there=cube.is_there,
        )

    @contextmanager
    def _search_failing(self, user_id: str, mem_cube_id: str) -> Iterator[None]:
        """The working set holds what matters most, and is elsewhere: a poorer prompt, not none."""
        try:
            yield
        except NOT_ANSWERED as error:
            log.warning(
                "search failed; the prompt goes on with what is near",
                action="prompt.search_failed",
                user_id=user_id,
                mem_cube_id=mem_cube_id,
                error=str(error),
            )

    async def _whole(self, ref: CubeRef, named: Iterable[WorkingMemory | Member]) -> dict[str, Memory]:
        """These memories as the store has them, by id."""
        services = await self.memory_soon()
        return await self._soon(lambda: services.whole(ref, named))

    async def _soon(self, ask: Callable[[], Awaitable[_Value]]) -> _Value:
        """What the store answers. Raises AnswerTooLate."""
        return await self.patience.wait(ask, self.settings.prompt_search_seconds)

    def _answers(
        self,
        services: MemoryServices,
        ref: CubeRef,
        question: str,
        near: Sequence[WorkingMemory],
        members: Sequence[Member],
        counts: TermCounts,
    ) -> bool:
        """Whether a memory that is near answers by its words; without embedding the question, and without the store."""
        known = {each.memory_id for each in near}
        payloads = {each.memory_id: {"text": each.said} for each in members if each.memory_id not in known}
        payloads |= {each.memory_id: _payload_of(each) for each in near}
        return services.search.sufficiency(ref, question, payloads, counts) >= SUFFICIENT

    def _counts_of(self, server: Server, question: str) -> Callable[[CubeRef], Command[TermCounts]]:
        """Asks how rare a question's words are; in another language than English, in which words it may be asked."""
        terms, words = TermStatistics(server, self.keys), stems(question)
        counts_of = terms.counts_command if not words or asked_in(question) == ENGLISH else terms.vocabulary_command
        return lambda ref: counts_of(ref, words)

    def _adapters(self, user_id: str, ref: CubeRef, serving: Serving) -> tuple[str | None, str | None]:
        """The adapter that answers this user about the cube, and one that is tried beside, by their names.

        Where a permission hook decides who sees what, weights answer the cube's owner alone.
        """
        is_owner = ref.user_id == user_id
        if self.release.asks and not is_owner:
            return None, None
        return serving.named(is_owner), serving.beside(is_owner)

    async def _read_hot(
        self, user_id: str, mem_cube_id: str, *commands_for: Callable[[HotStates, CubeRef], Command[Any]]
    ) -> tuple[CubeView, list[Any]]:
        """A cube that the user may read, and parts of its hot state, in one round trip."""
        server = await self.server()
        cubes, states = Cubes(server, self.keys, self.settings), HotStates(server, self.keys)
        own = CubeRef(user_id, mem_cube_id)
        # Nearly always it is the user's own cube: asked for together with the question whether it is.
        commands: list[Command[Any]] = [cubes.resolve_command(user_id, mem_cube_id)]
        commands += [command_for(states, own) for command_for in commands_for]
        access, *values = map(answered, await server.persistently(lambda: server.run_shared(commands)))
        cube = await cubes.view_of(access, Permission.READ)
        if cube.ref != own:
            theirs = [command_for(states, cube.ref) for command_for in commands_for]
            values = list(map(answered, await server.persistently(lambda: server.run(theirs))))
        return cube, values

    async def themes(self, user_id: str, mem_cube_id: str) -> list[Theme]:
        """What the cube's memories are about, the hottest theme first, at the time of its latest message.

        Raises CubeForbidden, UnknownCube or StoreUnavailable.
        """
        services = await self.memory()
        ref = await services.reading(user_id, mem_cube_id)
        found = await services.working_sets.themes(ref)
        return self.release.themes(user_id, "themes", ref, found, await services.working_sets.members(ref))

    async def explain(self, user_id: str, mem_cube_id: str, memory_id: str | None = None) -> Explanation:
        """What stands where in a cube, and why: the modes' shares, themes, pins, the last moves; and what the model's
        server has of it.

        Raises CubeForbidden, UnknownCube, UnknownMemory or StoreUnavailable.

        Args:
            memory_id: also where this memory stands, what its value is made of, and what would make it move.
        """
        services, ref = await self._cube_of(user_id, mem_cube_id, memory_id)
        found = await services.explainer.explain(ref, memory_id, user_id)
        released = self._released(user_id, ref, found, await services.working_sets.members(ref))
        return released.model_copy(update={"activation": await services.activation_status(ref)})

    async def history(self, user_id: str, mem_cube_id: str, memory_id: str) -> list[HistoryEntry]:
        """All that is known of a memory, oldest first: its versions, and when each was said, said again, corrected,
        used and moved, and why. Of uses and of the working set, as far back as the cube's events reach.

        Raises CubeForbidden, UnknownCube, UnknownMemory or StoreUnavailable.
        """
        services, ref = await self._cube_of(user_id, mem_cube_id, memory_id)
        await services.named(user_id, ref, memory_id)
        versions = list(await versions_of(services, ref, memory_id))
        own = self.keys.cube(ref.user_id, ref.mem_cube_id).events
        command = newest_events(own, self.settings.cube_events_maxlen, versions)
        events = await services.server.persistently(lambda: services.server.call(command))
        return await history_of(services, self.release, ref, user_id, memory_id, events)

    def _released(
        self, reader: str, ref: CubeRef, found: Explanation, members: Mapping[str, CubeMemory]
    ) -> Explanation:
        """An explanation, as far as the permission hook lets it. Raises UnknownMemory for what may not leave.

        How many there are of a kind is told of all.
        """
        if not self.release.asks:
            return found
        themes = {
            before.theme_id: theme
            for before in found.themes
            for theme in self.release.themes(reader, "explain", ref, [before], members)
        }
        named = {*found.texts, *found.pins, *found.block, *(each.subject_id for each in found.moves)}
        if found.memory is not None:
            named.add(found.memory.memory_id)
        known = [members[each] for each in sorted(named) if each in members]
        released = {each.memory_id: each for each in self.release.memories(reader, "explain", ref, known)}

        def moves(made: Sequence[Move]) -> list[Move]:
            kept = []
            for each in made:
                if each.subject == "memory" and each.subject_id in released:
                    kept.append(each)
                elif each.subject == "theme" and (theme := themes.get(each.subject_id)):
                    kept.append(each.model_copy(update={"subject_id": theme.theme_id, "label": theme.label}))
            return kept

        memory = found.memory
        if memory is not None:
            if memory.memory_id not in released:
                raise UnknownMemory(memory.memory_id)
            theme = next((each for each in themes.values() if memory.memory_id in each.memory_ids), None)
            text = released[memory.memory_id].indexed_text
            memory = memory.model_copy(update={"text": text, "theme": theme, "moves": moves(memory.moves)})
        return found.model_copy(
            update={
                "themes": list(themes.values()),
                "pins": [each for each in found.pins if each in released],
                "block": [each for each in found.block if each in released],
                "block_before": [each for each in found.block_before if each in released],
                "moves": moves(found.moves),
                "working_set": self.release.memories(reader, "explain", ref, found.working_set, members),
                "texts": {each: released[each].indexed_text for each in found.texts if each in released},
                "memory": memory,
            }
        )

    async def cube_events(self, user_id: str, mem_cube_id: str, limit: int = 100) -> list[ScheduleLogForWebItem]:
        """What happened last to the memories of a cube, oldest first.

        Raises CubeForbidden or UnknownCube. ``follow_cube_events`` goes on with what happens next.
        """
        server = await self.server()
        ref = await Cubes(server, self.keys, self.settings).resolve(user_id, mem_cube_id, Permission.READ)
        command = newest_events(self.keys.cube(ref.user_id, ref.mem_cube_id).events, limit)
        found = await server.persistently(lambda: server.call(command))
        return await self._released_events(found, user_id)

    async def follow_cube_events(
        self, user_id: str, mem_cube_id: str, after: str | None = None
    ) -> AsyncGenerator[tuple[str, ScheduleLogForWebItem], None]:
        """What happens to the memories of a cube as it happens, each event with its place in the cube's log.

        Raises CubeForbidden or UnknownCube, also when the user may no longer read it.

        Args:
            after: as ``follow_events`` has it. The log keeps the newest MEMSCHED_CUBE_EVENTS_MAXLEN.
        """
        cubes = Cubes(await self.server(), self.keys, self.settings)

        async def log_of_cube() -> str:
            ref = await cubes.resolve(user_id, mem_cube_id, Permission.READ)
            return self.keys.cube(ref.user_id, ref.mem_cube_id).events

        async with aclosing(self._follow(log_of_cube, after, user_id)) as events:
            async for each in events:
                yield each

    async def _follow(
        self, log_meant: Callable[[], Awaitable[str]], after: str | None, reader: str = ""
    ) -> AsyncGenerator[tuple[str, ScheduleLogForWebItem], None]:
        """The events of a log behind a place.

        Args:
            log_meant: the key of the log, or the reason why it may not be read; asked before each look.
        """
        server = await self.server()
        stream = await log_meant()
        place = await server.persistently(lambda: server.call(newest_place(stream))) if after is None else after
        while True:
            command = events_after(stream, place, _EVENTS_AT_ONCE)
            place, found = await server.persistently(partial(server.call, command))
            released = await self._released_events([each for _, each in found], reader)
            places = {each.item_id: each_place for each_place, each in found}
            for each in released:
                yield places[each.item_id], each
            if not found:
                await asyncio.sleep(_EVENTS_EVERY_SECONDS)
            stream = await log_meant()

    async def _released_events(
        self, events: list[ScheduleLogForWebItem], reader: str = ""
    ) -> list[ScheduleLogForWebItem]:
        """Events, as far as the permission hook lets them; it is told of the memories that they are about.

        Args:
            reader: who asks; "": an operator.
        """
        if not self.release.asks:
            return events
        services = await self.memory()
        named: dict[tuple[str, str], set[str]] = {}
        for each in events:
            named.setdefault((each.user_id, each.mem_cube_id), set()).update(named_in(each))
        cubes: dict[tuple[str, str], CubeMemories] = {}
        for (user_id, name), memory_ids in named.items():
            with suppress(CubeForbidden, UnknownCube, InvalidId):  # of what nobody may read any more nothing leaves
                ref = await services.reading(user_id, name)
                cubes[user_id, name] = ref, await services.store.get(ref, sorted(memory_ids))
        return self.release.events(events, cubes, reader)

    async def pin(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Keep a memory in the working set and out of the archive, until ``unpin``; whether it was not pinned already.

        At most half of a working set may be pinned. Raises TooManyPins, MemorySuperseded, UnknownMemory, CubeForbidden,
        UnknownCube or StoreUnavailable.
        """
        moving, ref = await self._moving(user_id, mem_cube_id, memory_id)
        return await moving.pin(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def unpin(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Let a memory come and go as others do; whether it was pinned. Raises as ``pin``."""
        moving, ref = await self._moving(user_id, mem_cube_id, memory_id)
        return await moving.unpin(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def archive(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Put a memory away, until ``restore``: neither near nor found, unless a search asks for the archive too.

        Returns whether it was not put away by hand already. Raises MemoryPinned, and as ``pin``.
        """
        moving, ref = await self._moving(user_id, mem_cube_id, memory_id)
        return await moving.archive(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def restore(self, user_id: str, mem_cube_id: str, memory_id: str) -> bool:
        """Bring a memory back from the archive, or from under what corrects it: then it holds after all, whatever was
        said until now. Returns whether it was there. Raises as ``pin``.
        """
        moving, ref = await self._moving(user_id, mem_cube_id, memory_id)
        return await moving.restore(ref, memory_id, user_id=user_id, name=mem_cube_id)

    async def _moving(self, user_id: str, mem_cube_id: str, memory_id: str) -> tuple[Moving, CubeRef]:
        """What moves this memory by hand, if the user may. Raises CubeForbidden, UnknownCube or UnknownMemory."""
        services, ref = await self._cube_of(user_id, mem_cube_id, memory_id)
        await services.named(user_id, ref, memory_id)
        await services.cubes.resolve(user_id, mem_cube_id, Permission.WRITE)
        return services.moving, ref

    async def _cube_of(self, user_id: str, mem_cube_id: str, memory_id: str | None) -> tuple[MemoryServices, CubeRef]:
        """The cube of a memory, to be read: which makes none of a name that is unknown."""
        if memory_id is not None:
            expect_memory_id(memory_id, (user_id, mem_cube_id), "last: user_id, mem_cube_id, memory_id")
        services = await self.memory()
        return services, await services.reading(user_id, mem_cube_id)


@lru_cache(maxsize=4_096)
def _payload_of(memory: WorkingMemory) -> dict[str, str]:
    """What its words are, for a search. Cached, because what is near is looked at again with every question."""
    text = f"{memory.asked} {memory.text}".strip()
    return {"text": text, "caption": memory.caption, "speaker": memory.speaker}
