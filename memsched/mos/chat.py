"""Chat with memories: what the cube knows about a question goes into the prompt, and what was said into the cube."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from memsched.activation.chats import CachedChats
from memsched.errors import InvalidMessage, MemoryPinned, MemschedError, UnknownMemory
from memsched.lexicon import estimate_tokens
from memsched.llm.client import LLM
from memsched.llm.errors import LLMError
from memsched.llm.prompts import Message
from memsched.llm.servers.base import Caching
from memsched.logs import get_logger
from memsched.memory.access.cubes import Cubes
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.access.reading_as import roles_now
from memsched.memory.ingest.forget_requests import ForgetRequest, forget_request, names
from memsched.memory.ingest.forgettable import EVERYTHING, FORGOTTEN, Asker, memories_named
from memsched.memory.ingest.turns import Talk, Turn, entries_of, read
from memsched.memory.model import Memory, short_line, with_caption
from memsched.memory.search.no_answer import asks_about_asking
from memsched.memory_face import NOT_ANSWERED
from memsched.memory_prompt import MemoryPrompt, answers_nothing, dated, prompt_of
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.mos.adapter_chats import AdapterChats
from memsched.mos.options import MosOptions
from memsched.pace import beside_the_loop
from memsched.policy.block import ActivationBlock
from memsched.policy.salt import passing_salt
from memsched.redaction import asked, redacted_fields
from memsched.scheduler import AsyncMemScheduler
from memsched.thinking import Thinking, without_thinking

log = get_logger(__name__)

NO_MODEL = "No language model is configured."
_TOLD = 5
"""Memories in an answer that no model wrote."""
_TOLD_CHARACTERS = 300
_TalkKey: TypeAlias = tuple[str, str, str, frozenset[str]]
_SESSIONS_KEPT = 1000
_ANSWER_TOKENS = 1024
"""Left for an answer whose length nobody limits."""
_SIZE_OF_A_TURN = 500
"""Characters, about, that a turn of a history has."""
_INSTRUCTION_TOKENS = 512
"""Of every prompt, without what is remembered."""
_SHARE_OF_A_TURN = 4
"""One turn of the history gets this part of what there is for all of it, at most."""
_LEFT_OUT = " [... {} characters are left out here ...] "


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody's question to a cube.

    Args:
        mem_cube_id: their name of the cube that is asked.
        remember_in: their name of the cube that keeps what is said; None: the same one where they may write, else none.
    """

    text: str
    user_id: str
    mem_cube_id: str
    session_id: str
    history: Iterable[Any] | None = None
    remember_in: str | None = None
    top_k: int = 10


@dataclass(slots=True)
class _Turn:
    """One question on its way to an answer.

    Args:
        ref: the cube that is asked.
        history: the turns before it.
        prompt: what a model is told.
        llm: the model that answers.
        found: what search found, for people.
        answer: what a model said, all of it, without what it thought; else empty.
        archived: what was archived because the question asks to forget it, by ids.
        forgotten: what whoever asked is told of that: it is neither kept nor shown to a model.
        is_answered: that says all.
        beside: what the question says beside a request that was followed; None: it was none.
        caching: what the model's server is told of the prompt's head, and said of it; None: no model answers.
    """

    question: Question
    ref: CubeRef
    history: list[Message]
    at: datetime
    may_write: bool
    remember_in: str | None
    prompt: MemoryPrompt
    llm: LLM | None
    found: list[str] = field(default_factory=list)
    answer: str = ""
    archived: list[str] = field(default_factory=list)
    forgotten: str = ""
    is_answered: bool = False
    beside: str | None = None
    caching: Caching | None = None


class Chat:
    """Answers questions with what cubes know, through a model or, without one, in plain words that say so."""

    def __init__(self, scheduler: AsyncMemScheduler, options: MosOptions) -> None:
        self._scheduler = scheduler
        self._options = options
        self._said: OrderedDict[_TalkKey, list[Message]] = OrderedDict()
        self._told: dict[_TalkKey, list[str]] = {}
        """By talk, the tags of what it was told that an access policy decides by: the turns that it keeps know it."""
        self._own_llm: LLM | None = None
        self._cached: CachedChats | None = None
        self._adapters = AdapterChats(scheduler)

    def clear(self, user_id: str) -> None:
        """Forget the recent turns of all of a user's sessions. What was remembered stays in the cubes."""
        for key in [key for key in self._said if key[0] == user_id]:
            del self._said[key]
            self._told.pop(key, None)

    def forget(self, mem_cube_id: str, texts: Sequence[str] | None = None) -> None:
        """Forget, of the recent turns about a cube, those that say one of these texts, with what they answer or what
        answers them; None: all of them. What was deleted is not told again by the session's own copy.
        """
        for key in [key for key in self._said if key[2].rpartition("/")[2] == mem_cube_id]:
            self._said[key] = [] if texts is None else _without(self._said[key], lambda said: _says(said, texts))

    async def answer(self, question: Question) -> str:
        """The model's answer, or what is remembered about the question."""
        turn = await self._begin(question)
        text = "" if turn.is_answered else await self._complete(turn)
        await self._end(turn)
        return "\n\n".join(filter(None, (turn.forgotten, text)))

    async def stream(self, question: Question) -> AsyncGenerator[str, None]:
        """The same in pieces. An answer that breaks off says so at its end, and is not remembered."""
        turn = await self._begin(question)
        pieces: list[str] = []
        try:
            if turn.forgotten:
                yield turn.forgotten if turn.is_answered else f"{turn.forgotten}\n\n"
            if turn.is_answered:
                return
            if turn.llm is None:
                yield _in_plain_words(NO_MODEL, turn.found)
                return
            try:
                async with contextlib.aclosing(self._pieces(turn, turn.llm)) as streamed:
                    async for piece in streamed:
                        pieces.append(piece)
                        yield piece
                turn.answer = without_thinking("".join(pieces))
                await self._learn(turn, turn.llm)
            except LLMError as error:
                self._fell_back(turn.llm.counters, error)
                why = _why(error)
                yield f"\n[The answer breaks off here. {why}]" if pieces else _in_plain_words(why, turn.found)
        finally:
            await self._end(turn)

    # -- steps ---------------------------------------------------------------------------------------------------

    async def _begin(self, question: Question) -> _Turn:
        """Check what the user may, tell the scheduler what is asked, and gather what is known."""
        if not question.text.strip():
            raise InvalidMessage("the question is empty")
        as_asked = question.text
        question = replace(question, text=asked(as_asked, self._scheduler.settings.secrets))
        self._refuse_too_long(question)
        if (request := forget_request(question.text)) is not None and (kept := self._said.get(_talk_of(question))):
            self._said[_talk_of(question)] = _without(kept, lambda said: request.is_all or names(request, said))
        history, text = await self._history(question, as_asked)
        question = replace(question, text=text)
        llm = await self._model()
        cubes = Cubes(await self._scheduler.server(), self._scheduler.keys, self._scheduler.settings)
        user, name, target = question.user_id, question.mem_cube_id, question.remember_in
        view = await cubes.view(user, name, Permission.READ)
        may_write = view.permission.allows(Permission.WRITE)
        if target is None:
            target = name if may_write else None
        elif target != name or not may_write:
            await cubes.resolve(user, target, Permission.WRITE)  # to name it oneself is no permission
        empty = ActivationBlock.of([], passing_salt(f"{user}/{name}"))
        nothing = prompt_of(empty, [], [], question.text, None, datetime.now().astimezone().date())
        turn = _Turn(question, view.ref, history, datetime.now(UTC), may_write, target, nothing, llm)
        if self._options.enable_textual_memory:
            if request is not None and target is not None:
                await self._forget(turn, target, request)
            query = self._message(question, name, QUERY_TASK_LABEL, question.text, turn.at, {"source": "chat"})
            await self._submit(question, [query])
            await self._gather(turn)
        return turn

    async def _forget(self, turn: _Turn, target: str, request: ForgetRequest) -> None:
        """Archive what a request names in the cube that remembers the talk, and have it told.

        What waits to be remembered yet is archived by the worker that takes the turn.
        """
        question, user = turn.question, turn.question.user_id
        archived, pinned = [], []
        with contextlib.suppress(*NOT_ANSWERED):
            services = await self._scheduler.memory()
            ref = await services.cubes.resolve(user, target, Permission.WRITE)
            speaker = await services.speaker(ref, self._message(question, target, ADD_TASK_LABEL, "", turn.at))
            asker = Asker(user, speaker, turn.at)
            named = await memories_named(services.store, services.search, ref, request, asker)
            for each in services.release.memories(user, "prompt", ref, named):
                with contextlib.suppress(UnknownMemory):  # deleted meanwhile
                    try:
                        await self._scheduler.archive(user, target, each.memory_id)
                        archived.append(each)
                    except MemoryPinned:
                        pinned.append(each)
        turn.archived = [each.memory_id for each in archived]
        turn.forgotten = EVERYTHING if request.is_all else _told_of(archived, pinned)
        turn.is_answered = bool(turn.forgotten) and not request.rest
        turn.beside = request.rest if turn.forgotten else None

    async def _model(self) -> LLM | None:
        """The model, also where the rest of memory cannot be opened now: it can still be talked to."""
        try:
            return (await self._scheduler.memory_soon()).llm
        except NOT_ANSWERED as error:
            log.warning(
                "memory cannot be opened now; the chat goes on without what it would find",
                action="mos.chat_without_memory",
                error=str(error),
            )
        if self._own_llm is None:
            self._own_llm = await asyncio.to_thread(LLM.from_settings, self._scheduler.settings)
        return self._own_llm

    async def aclose(self) -> None:
        """Close what was opened for an outage, and end what is still tried beside."""
        await self._adapters.aclose()
        model, self._own_llm = self._own_llm, None
        if model is not None:
            await model.aclose()

    async def _gather(self, turn: _Turn) -> None:
        """The prompt; and for people, what search found, or else what is near."""
        question = turn.question
        turn.prompt = prompt = await self._scheduler.prompt(
            question.user_id,
            question.mem_cube_id,
            question.text,
            question.session_id,
            max_tokens=max(1, (self._prompt_tokens - estimate_tokens(question.text)) // 2),
            top_k=question.top_k,
        )
        turn.found = _for_people(prompt, question.text)

    async def _complete(self, turn: _Turn) -> str:
        if turn.llm is None:
            return _in_plain_words(NO_MODEL, turn.found)
        try:
            text = "".join([piece async for piece in self._pieces(turn, turn.llm, whole=True)])
        except LLMError as error:
            self._fell_back(turn.llm.counters, error)
            return _in_plain_words(_why(error), turn.found)
        turn.answer = without_thinking(text)
        await self._learn(turn, turn.llm)
        return text

    async def _pieces(self, turn: _Turn, llm: LLM, *, whole: bool = False) -> AsyncGenerator[str, None]:
        """The model's answer, in pieces or ``whole``: by the cube's adapter, or without it where the server does not
        have that one.
        """
        begun = False
        try:
            async with contextlib.aclosing(self._asked(turn, llm, whole)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
            return
        except LLMError as error:
            if begun or not self._adapters.is_at_fault(turn.prompt, error):
                raise
            self._adapters.missing(turn.ref, turn.prompt, error)
        turn.prompt = turn.prompt.answered_by(None)
        async with contextlib.aclosing(self._asked(turn, llm, whole)) as pieces:
            async for piece in pieces:
                yield piece

    async def _asked(self, turn: _Turn, llm: LLM, whole: bool) -> AsyncGenerator[str, None]:
        asking = await self._asking(turn, llm)
        if whole:
            yield await llm.complete(self._prompt(turn), task="chat", **asking)
            return
        async with contextlib.aclosing(llm.stream(self._prompt(turn), task="chat", **asking)) as streamed:
            async for piece in streamed:
                yield piece

    async def _learn(self, turn: _Turn, llm: LLM) -> None:
        """What the answer says of the server's cache, and what another adapter would have said."""
        if self._cached is not None and turn.caching is not None:
            await self._cached.answered(llm, turn.prompt, turn.caching, turn.ref)
        if turn.prompt.beside is not None:
            asking = await self._asking(turn, llm)
            self._adapters.beside(llm, turn.ref, turn.prompt, self._prompt(turn), turn.answer, **asking)

    @property
    def _thinking(self) -> Thinking:
        """What becomes of a model's thinking in the answer; memory and later prompts never have it."""
        asked = self._options.remove_think_prefix
        return "hide" if asked is None else "hold" if asked else "show"

    async def _asking(self, turn: _Turn, llm: LLM) -> dict[str, Any]:
        """How the model is asked."""
        options = self._options
        if self._cached is None:
            scheduler = self._scheduler
            self._cached = CachedChats(scheduler.settings, await scheduler.server(), scheduler.keys)
        turn.caching = await self._cached.caching(llm, turn.prompt)
        more = {} if options.top_p is None else {"top_p": options.top_p}
        sampling = {**options.request, **more}
        return {
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "sampling": sampling,
            "thinking": self._thinking,
            "caching": turn.caching,
        }

    @property
    def _prompt_tokens(self) -> int:
        """Of a prompt, so that the model can hold it and its answer."""
        whole = self._scheduler.settings.llm_context_tokens
        return whole - min(self._options.max_tokens or _ANSWER_TOKENS, whole // 2)

    def _refuse_too_long(self, question: Question) -> None:
        """What fills the prompt alone would fail at the model, and in every later prompt that repeats it."""
        tokens, most = estimate_tokens(question.text), self._prompt_tokens - _INSTRUCTION_TOKENS
        if self._scheduler.settings.llm_model and tokens > most:
            raise InvalidMessage(
                f"the question has about {tokens} tokens, and a prompt has room for {most} "
                "(MEMSCHED_LLM_CONTEXT_TOKENS); add a long text to the cube, and ask about it"
            )

    def _prompt(self, turn: _Turn) -> list[Message]:
        """Text, history and question, as far as the model can hold them: of the history, the newest turns."""
        left = self._prompt_tokens - estimate_tokens(turn.prompt.text) - estimate_tokens(turn.question.text)
        return turn.prompt.messages_after(_newest(turn.history, left))

    async def _history(self, question: Question, as_asked: str) -> tuple[list[Message], str]:
        """The turns before the question that its prompt repeats, and the question, which may answer them: both without
        secrets."""
        own: Message = {"role": "user", "content": as_asked}
        how = "keep" if self._scheduler.settings.secrets == "keep" else "mask"
        if question.history is None:
            turns = list(self._said.get(_talk_of(question), ()))
            *_, own = await beside_the_loop(len(as_asked), redacted_fields, [*turns[-1:], own], how)
            return turns, own["content"]
        window = 2 * self._options.max_turns_window
        many = len(question.history) if isinstance(question.history, list) else 0
        said = await beside_the_loop(many * _SIZE_OF_A_TURN, _readable, question.history, question.user_id)
        if said and said[-1] == {"role": "user", "content": as_asked.strip()}:
            said.pop()  # front ends have the question in their list already
        newest = said[-window:] if window else []
        turns = [{"role": each["role"], "content": each["content"]} for each in newest]
        size = sum(len(str(each["content"])) for each in turns) + len(as_asked)
        *turns, own = await beside_the_loop(size, redacted_fields, [*turns, own], how)
        return turns, own["content"]

    async def _end(self, turn: _Turn) -> None:
        """Tell the scheduler what was answered and said, and keep it for the session's next prompt.

        What was listed without a model is no answer: it would count as use of all that was found.
        """
        question = turn.question
        tags = await self._tags_told(turn)
        said: list[Message] = [{"role": "user", "content": question.text}]
        if turn.answer:
            said.append({"role": "assistant", "content": asked(turn.answer, self._scheduler.settings.secrets)})
        kept: list[Message] = said if turn.beside is None else [{"role": "user", "content": turn.beside}, *said[1:]]
        if turn.beside != "":  # a request that was followed is not told again
            self._keep(question, [_shortened(each, self._prompt_tokens) for each in kept])
        if not self._options.enable_textual_memory:
            return
        answered_at = datetime.now(UTC)
        messages = []
        if turn.answer and turn.may_write:
            used = {"memory_ids": turn.prompt.memory_ids}
            name = question.mem_cube_id
            messages.append(self._message(question, name, ANSWER_TASK_LABEL, turn.answer, answered_at, used))
        if turn.remember_in is not None:
            times = (turn.at, answered_at)
            history = [{**each, "timestamp": at.isoformat()} for each, at in zip(said, times, strict=False)]
            info: dict[str, Any] = {"tags": tags} if tags else {}
            if turn.archived:
                info[FORGOTTEN] = turn.archived
            heard = self._message(question, turn.remember_in, ADD_TASK_LABEL, "", turn.at, info or None)
            messages.append(heard.model_copy(update={"chat_history": history}))
        if messages:
            await self._submit(question, messages)

    async def _tags_told(self, turn: _Turn) -> list[str]:
        """The tags that a turn must have because of what this talk was told.

        Where nobody can say, it is not remembered.
        """
        if not self._scheduler.release.asks:
            return []
        question, key = turn.question, _talk_of(turn.question)
        try:
            services = await self._scheduler.memory()
            tags = await services.tags_told(question.user_id, turn.ref, turn.prompt.memory_ids)
        except NOT_ANSWERED as error:
            turn.remember_in = None
            log.warning(
                "the store does not say what a chat was told, and who may know; this turn is not remembered",
                action="mos.chat_not_submitted",
                error=str(error),
            )
            return []
        self._told[key] = list(dict.fromkeys([*self._told.get(key, ()), *tags]))
        return self._told[key]

    async def _submit(self, question: Question, messages: Sequence[ScheduleMessageItem]) -> None:
        """Submit; who asks gets an answer also when the queue is full or gone."""
        size = sum(len(each.content) + len(str(each.chat_history or "")) for each in messages)
        whose = (question.user_id, question.mem_cube_id)
        try:
            await self._scheduler.held_turns.send(
                lambda: self._scheduler.submit_messages(messages), of=whose, size=size
            )
        except InvalidMessage:
            raise
        except MemschedError as error:
            log.warning(
                "what was said in a chat could not be submitted; this turn is not remembered",
                action="mos.chat_not_submitted",
                error=str(error),
            )

    def _message(
        self, question: Question, name: str, label: str, content: str, at: datetime, info: dict[str, Any] | None = None
    ) -> ScheduleMessageItem:
        return ScheduleMessageItem(
            user_id=question.user_id,
            mem_cube_id=name,
            label=label,
            content=content,
            timestamp=at,
            session_id=question.session_id,
            info=info,
        )

    def _keep(self, question: Question, said: Sequence[Message]) -> None:
        window = 2 * self._options.max_turns_window
        key = _talk_of(question)
        self._said[key] = [*self._said.pop(key, []), *said][-window:] if window else []
        while len(self._said) > _SESSIONS_KEPT:
            self._told.pop(self._said.popitem(last=False)[0], None)

    @staticmethod
    def _fell_back(counters: Any, error: MemschedError) -> None:
        counters.fell_back("chat", error)
        log.warning(
            "the model did not help; the chat tells what is remembered", action="mos.chat_local_form", error=str(error)
        )


def _told_of(archived: Sequence[Memory], pinned: Sequence[Memory]) -> str:
    """What became of what somebody asked to forget, as they are told."""
    lines = []
    if archived:
        lines.append("Archived, as you asked (restore with the id in brackets brings it back):")
        lines += [f"- {short_line(each.text)} [{each.memory_id}]" for each in archived]
    if pinned:
        lines.append("Pinned, and so kept (unpin it first):")
        lines += [f"- {short_line(each.text)} [{each.memory_id}]" for each in pinned]
    return "\n".join(lines)


def _without(turns: Sequence[Message], is_forgotten: Callable[[str], bool]) -> list[Message]:
    """The turns but for those that are to be forgotten; a question and its answer stand and fall together."""
    talks: list[list[Message]] = []
    for turn in turns:
        if turn["role"] == "user" or not talks:
            talks.append([])
        talks[-1].append(turn)
    return [turn for talk in talks if not any(is_forgotten(each["content"]) for each in talk) for turn in talk]


def _says(said: str, texts: Sequence[str]) -> bool:
    return any(text and text in said for text in texts)


def _newest(history: Sequence[Message], tokens: int) -> list[Message]:
    """The newest turns that have so many tokens together, from one of the user's on; long ones without their middle."""
    turns: list[Message] = []
    left = tokens
    for each in reversed(history):
        turn = _shortened(each, max(0, tokens) // _SHARE_OF_A_TURN)
        left -= estimate_tokens(turn["content"])
        if left < 0:
            break
        turns.insert(0, turn)
    while turns and turns[0]["role"] != "user":
        del turns[0]
    return turns


def _shortened(turn: Message, tokens: int) -> Message:
    """A turn of so many tokens at most: of a longer one, beginning and end."""
    text = turn["content"]
    if estimate_tokens(text) <= tokens:
        return turn
    half = max(0, len(text) * tokens // estimate_tokens(text) // 2 - len(_LEFT_OUT))
    ends = text[:half], text[len(text) - half :]
    return {"role": turn["role"], "content": _LEFT_OUT.format(len(text) - 2 * half).join(ends)}


def _for_people(prompt: MemoryPrompt, question: str) -> list[str]:
    """What search found, or else what is near. What only asks is left out, unless there is nothing else, or it was
    asked for; the question itself always.
    """
    said = {result.id: not answers_nothing(result.item) for result in prompt.found if result.memory != question}
    stating = set(said) if asks_about_asking(question) else {each for each, states in said.items() if states}
    near = [each for each in prompt.working_set if not answers_nothing(each)]
    if not said or (near and not stating):
        return [dated(each, each.said) for each in near or prompt.working_set if each.text != question]
    return [told for memory_id, told in prompt.told.items() if memory_id in (stating or said)]


def _talk_of(question: Question) -> _TalkKey:
    """What was answered to one role of the access policy is not repeated to another."""
    return question.user_id, question.session_id, question.mem_cube_id, roles_now()


def _in_plain_words(why: str, found: Sequence[str]) -> str:
    """What is remembered, as nobody would take for a model's answer."""
    if not found:
        return f"{why} I remember nothing about this."
    told = [text if len(text) <= _TOLD_CHARACTERS else f"{text[: _TOLD_CHARACTERS - 1]}\u2026" for text in found]
    return "\n".join([f"{why} What I remember about this:", *(f"- {text}" for text in told[:_TOLD])])


def _why(error: MemschedError) -> str:
    """For whoever asked: which kind of trouble it is. The log has the rest."""
    return f"The language model was of no use ({getattr(error, 'kind', 'unreachable')})."


def _readable(history: Iterable[Any], user_id: str) -> list[Message]:
    """The turns that a model may see as such. Raises InvalidMessage for what is none."""
    talk = Talk(datetime.now(UTC), known_as=(user_id,), called="history")
    reading = read(entries_of(history, talk.called), talk).or_refuse()
    turns = {turn.position: _as_message(turn) for turn in reading.turns}
    for each in reading.passed:
        if each.shown:  # others speak of it
            turns[each.position] = {"role": "assistant" if each.role == "assistant" else "user", "content": each.shown}
    return [turns[position] for position in sorted(turns)]


def _as_message(turn: Turn) -> Message:
    told = with_caption(turn.text, turn.caption)
    if turn.by_assistant:
        return {"role": "assistant", "content": told}
    return {"role": "user", "content": told if turn.by_user else f"{turn.speaker}: {told}"}
