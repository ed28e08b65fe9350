"""The proxy before a model's server: what a cube knows goes in front of a client's messages, and what is said into it.

A client sends the whole talk each time. What is new in it is what stands behind the assistant's last message; that and
the answer are remembered, once for each list of messages: the ids of what is submitted are made of it, so that a client
that asks again does not say it twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self
from uuid import UUID, uuid5

from memsched.errors import InvalidMessage, MemschedError, ServerRefused, ServerUnreachable, UnreachableError
from memsched.held_turns import NOT_NOW
from memsched.logs import get_logger
from memsched.memory.access.cubes import Cubes, CubeView
from memsched.memory.access.permissions import Permission
from memsched.memory.ingest.turns import Talk, read, with_time
from memsched.memory.ingest.turns.wordless import without_files
from memsched.memory.search.retriever import MAX_QUERY_CHARACTERS
from memsched.memory_face import NOT_ANSWERED
from memsched.memory_prompt import MemoryPrompt
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.mos.lookup import cube_meant
from memsched.patience import Patience
from memsched.scheduler import AsyncMemScheduler
from memsched.service.json_text import NamedTwice, behind_space, decoded, members_at
from memsched.service.problems import at_field
from memsched.service.upstream import Upstream

log = get_logger(__name__)

_AWAY = (TimeoutError, ServerUnreachable, ServerRefused, UnreachableError, *NOT_ANSWERED)
_MEMORY_SECONDS = 1.0
"""So long a call waits for the queue's server, and once more with what it searches for."""
_CLOSE_SECONDS = 10.0
_SHARE_OF_THE_CONTEXT = 2
"""What is told of the cube takes this part of what the model can hold (MEMSCHED_LLM_CONTEXT_TOKENS), at most."""
_TURNS = UUID("5e3f3d0e-6a0f-4c64-9c3b-2b0a3f8f5d61")
_INSTRUCTIONS = ("system", "developer")
UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Completion:
    """A client's request for a chat completion. body: all of it, as it came; text: as it was written."""

    body: Mapping[str, Any]
    text: str

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """Raises Problem for what is no such request; all but messages and user is for the model's server to judge."""
        try:
            text = decoded(raw)
            body = json.loads(text, parse_constant=_no_number, parse_float=_number)
        except (ValueError, RecursionError):
            raise at_field(422, "It is not JSON.") from None
        if not isinstance(body, dict):
            raise at_field(422, "It must be a JSON object.")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise at_field(422, "It must be a list of one message at least.", "messages")
        for number, each in enumerate(messages):
            if not isinstance(each, dict):
                raise at_field(422, "It must be an object with role and content.", "messages", number)
        if not isinstance(body.get("user"), str | None) or "\0" in (body.get("user") or ""):
            raise at_field(422, "It must be a text, without NUL: whom the call acts for.", "user")
        return cls(body, text)

    @property
    def user(self) -> str | None:
        """Whom the client says that it acts for."""
        return self.body.get("user")

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body["messages"])

    @property
    def new(self) -> list[dict[str, Any]]:
        """What stands behind the assistant's last message: what came before was sent before."""
        last = max((at for at, each in enumerate(self.messages) if each.get("role") == "assistant"), default=-1)
        return self.messages[last + 1 :]

    @cached_property
    def question(self) -> str:
        """What the user said last; "" if nothing can be read."""
        last = next((each for each in reversed(self.messages) if each.get("role") == "user"), None)
        turns = read([last], Talk(datetime.now(UTC), called="messages")).turns if last else []
        return turns[0].text if turns else ""

    @property
    def session(self) -> str:
        """What the talk is called where the client does not say it: it begins with the same message each time."""
        first = next((each for each in self.messages if each.get("role") not in _INSTRUCTIONS), {})
        return f"chat-{hashlib.sha256(_canonical(first)).hexdigest()[:16]}"

    def with_memory(self, told: str) -> bytes:
        """The request with a text in front of its messages, and otherwise as it came, to the byte.

        Instructions of the client's own stand behind it in the same message: many models take only one, the first.
        """
        try:
            sent = self._with_memory(self.text, told)
        except NamedTwice:  # what was read here is what counts
            sent = self._with_memory(json.dumps(self.body), told)
        return sent.encode("utf-8", "surrogatepass")

    def _with_memory(self, text: str, told: str) -> str:
        messages, _ = members_at(text, behind_space(text))["messages"]
        begin = end = messages + len("[")
        first = self.messages[0]
        if first.get("role") not in _INSTRUCTIONS:
            piece = f"{json.dumps({'role': 'system', 'content': told})}, "
        elif "content" not in first:
            begin = end = behind_space(text, begin) + len("{")
            piece = f'"content": {json.dumps(told)}, '
        else:
            own = first["content"]
            begin, end = members_at(text, behind_space(text, begin))["content"]
            piece = json.dumps(told)
            if isinstance(own, str):
                begin = end = begin + len('"')
                piece = json.dumps(f"{told}\n\n")[1:-1]
            elif isinstance(own, list):
                begin = end = begin + len("[")
                piece = json.dumps({"type": "text", "text": f"{told}\n\n"}) + (", " if own else "")
        return f"{text[:begin]}{piece}{text[end:]}"


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way through the proxy.

    Args:
        cube: as the client names it; None: the one that the user means.
        prompt: what is told of the cube; None: memory gave no answer.
        header: what the client is told of that.
    """

    request: Completion
    user_id: str
    cube: str | None
    session_id: str
    at: datetime
    prompt: MemoryPrompt | None
    header: str
    sent: bytes
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class _Turn:
    """What is to be remembered of a call that is over.

    Args:
        digest: of all messages: the same call again has the same.
        new: what can be read of the messages behind the assistant's last one.
        said: what the model answered; "": nothing that is remembered.
    """

    user_id: str
    cube: str | None
    session_id: str
    trace_id: str | None
    at: datetime
    answered_at: datetime
    digest: str
    question: str
    new: Sequence[Mapping[str, Any]]
    said: str
    broke_off: bool
    memory_ids: Sequence[str]

    @classmethod
    def of(cls, call: Call, said: str, *, broke_off: bool) -> Self:
        """As of a chat's: an answer that broke off is not remembered, and what was asked is."""
        request, now = call.request, datetime.now(UTC)
        return cls(
            *(call.user_id, call.cube, call.session_id, call.trace_id, call.at, now),
            digest=hashlib.sha256(_canonical(request.messages)).hexdigest(),
            question=request.question,
            new=_readable(request.new, call.user_id),
            said="" if broke_off else said,
            broke_off=broke_off,
            memory_ids=call.prompt.memory_ids if call.prompt else [],
        )

    @property
    def size(self) -> int:
        """Characters, about."""
        return len(self.question) + len(self.said) + sum(len(str(each)) for each in self.new)


class Proxy:
    """Puts memory into requests, and what came of them into memory."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self.upstream = Upstream(scheduler.settings)
        self._scheduler = scheduler
        self._patience = Patience()
        """With the queue's server."""
        self._remembering: set[asyncio.Task[None]] = set()

    async def begin(
        self,
        raw: bytes,
        request: Completion,
        user_id: str,
        cube: str | None,
        session_id: str | None,
        trace_id: str | None = None,
    ) -> Call:
        """What goes to the model's server. Without memory's servers that is what the client sent.

        Raises CubeForbidden, UnknownCube, InvalidId, CubeNotSaid.
        """
        session, at = session_id or request.session, datetime.now(UTC)
        prompt, header = await self._told(request, user_id, cube, session)
        sent = raw if prompt is None else request.with_memory(prompt.text)
        return Call(request, user_id, cube, session, at, prompt, header, sent, trace_id)

    def remember(self, call: Call, said: str, *, broke_off: bool) -> None:
        """Have the scheduler told what was asked and answered; the client does not wait for it."""
        if not self._scheduler.settings.memory:
            return
        task = asyncio.create_task(self._remember(_Turn.of(call, said, broke_off=broke_off)))
        self._remembering.add(task)
        task.add_done_callback(self._remembering.discard)

    async def aclose(self) -> None:
        """Wait until what was said is submitted; close the connections."""
        if self._remembering:
            await asyncio.wait(self._remembering, timeout=_CLOSE_SECONDS)
        await self.upstream.aclose()

    # -- before the model ----------------------------------------------------------------------------------------

    async def _told(
        self, request: Completion, user_id: str, cube: str | None, session: str
    ) -> tuple[MemoryPrompt | None, str]:
        if not self._scheduler.settings.memory:
            return None, "off"
        if self._patience.is_over:
            return None, UNAVAILABLE
        settings, question = self._scheduler.settings, request.question[:MAX_QUERY_CHARACTERS] or None
        most = settings.llm_context_tokens // _SHARE_OF_THE_CONTEXT
        try:
            view = await self._patience.wait(lambda: self._view(user_id, cube), _MEMORY_SECONDS)
            prompt = await self._patience.wait(
                lambda: self._scheduler.prompt(user_id, view.name, question, session, most, search="auto"),
                _MEMORY_SECONDS + settings.prompt_search_seconds,
            )
        except _AWAY as error:
            self._patience.lose()
            log.warning(
                "memory gives no answer; calls of models go on without it",
                action="proxy.without_memory",
                error=str(error) or type(error).__name__,
            )
            return None, UNAVAILABLE
        failed = prompt.sufficient.reason == "search_failed"
        found = "search=unavailable" if failed else f"found={len(prompt.found)}"
        # Which adapter answers is the client's to say: it names the model.
        return prompt.answered_by(None), f"used; {found} block={prompt.activation.version}"

    async def _view(self, user_id: str, cube: str | None) -> CubeView:
        """The user's cube. Raises as ``begin``."""
        scheduler = self._scheduler
        cubes = Cubes(await scheduler.server(), scheduler.keys, scheduler.settings)
        return await cubes.view(user_id, cube or await cube_meant(cubes, user_id), Permission.READ)

    # -- after it ------------------------------------------------------------------------------------------------

    async def _remember(self, turn: _Turn) -> None:
        await self._scheduler.held_turns.send(lambda: self._submit(turn), of=(turn.user_id, turn.cube), size=turn.size)

    async def _submit(self, turn: _Turn) -> None:
        """Raises NOT_NOW."""
        try:
            view = await self._view(turn.user_id, turn.cube)
            tags: list[str] = []
            if turn.memory_ids and self._scheduler.release.asks:
                services = await self._scheduler.memory()
                tags = await services.tags_told(turn.user_id, view.ref, turn.memory_ids)
            if messages := list(self._messages(turn, view, tags)):
                await self._scheduler.submit_messages(messages)
        except NOT_NOW:
            raise
        except MemschedError as error:
            log.warning(
                "what was said through the proxy could not be submitted; this turn is not remembered",
                action="proxy.not_submitted",
                error=str(error),
            )

    def _messages(self, turn: _Turn, view: CubeView, tags: Sequence[str]) -> Iterable[ScheduleMessageItem]:
        """``query``, ``answer`` and ``add``; who may only read the cube asks, and no more."""
        name = hashlib.sha256(_canonical([turn.user_id, view.name, turn.session_id, turn.digest])).hexdigest()

        def message(label: str, content: str, at: datetime, **more: Any) -> ScheduleMessageItem:
            # After an answer that broke off the client may ask again, and that answer shall count.
            cause = f"{name} {label}{' broken off' if turn.broke_off else ''}"
            return ScheduleMessageItem(
                item_id=str(uuid5(_TURNS, cause)),
                user_id=turn.user_id,
                mem_cube_id=view.name,
                label=label,
                content=content,
                timestamp=at,
                session_id=turn.session_id,
                trace_id=turn.trace_id,
                **more,
            )

        if turn.question and any(each.get("role") == "user" for each in turn.new):
            yield message(QUERY_TASK_LABEL, turn.question, turn.at)
        if not view.permission.allows(Permission.WRITE):
            return
        if turn.said:
            yield message(ANSWER_TASK_LABEL, turn.said, turn.answered_at, info={"memory_ids": [*turn.memory_ids]})
        history = [with_time(each, turn.at) for each in turn.new]
        if turn.said:
            history.append({"role": "assistant", "content": turn.said, "timestamp": turn.answered_at.isoformat()})
        if history:
            yield message(ADD_TASK_LABEL, "", turn.at, chat_history=history, info={"tags": tags} if tags else None)


def _readable(messages: Sequence[Mapping[str, Any]], user_id: str) -> list[Mapping[str, Any]]:
    """Those that say something, by the one reader of conversations; what it cannot read is left out, and told."""
    plain = [without_files(each) for each in messages]
    try:
        reading = read(plain, Talk(datetime.now(UTC), known_as=(user_id,), called="messages"))
    except InvalidMessage as error:
        log.info("what a client sent is not remembered", action="proxy.not_read", error=str(error))
        return []
    if reading.refused:
        log.info("some of what a client sent is not remembered", action="proxy.not_read", error=reading.refused[0].why)
    return [plain[turn.position] for turn in reading.turns]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _number(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _no_number(constant: str) -> float:
    raise ValueError(constant)
