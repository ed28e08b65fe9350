"""The original system's requests, under its names, and what they mean here: for its scripts (``memsched.api``) and for
clients of its HTTP routes (``/product``).

Fields of the original that change nothing here are taken, and left aside; what cannot be done here is refused.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from memsched.durations import Seconds
from memsched.errors import WaitTimeout
from memsched.memory.ingest.turns import MAX_STATEMENT_CHARACTERS
from memsched.memory.metadata import LONGEST_TEXT, METADATA_SCHEMA, MOST_NAMES, MOST_VALUES
from memsched.memory.model import Memory
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.retriever import MAX_QUERY_CHARACTERS
from memsched.messages import ADD_TASK_LABEL, MAX_ID_CHARACTERS, MEM_FEEDBACK_TASK_LABEL, ScheduleMessageItem
from memsched.mos.mos import AsyncMOS, FoundInCube
from memsched.mos.tasks import TaskFailed

Waits = Literal["async", "sync"]
Unused = Any
"""What a field is that changes nothing here."""
_SAYS_SOMETHING = r"^[^\u0000]*[^\u0000\s][^\u0000]*$"


def _truth(given: Any) -> Any:
    """To Python, 0 is False; to JSON it is not."""
    return given if isinstance(given, bool) else None


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing is said")
    return text


def _whole(given: Any) -> Any:
    return int(given) if isinstance(given, float) and given.is_integer() else given


Name = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
Said = Annotated[str, AfterValidator(_said), Field(json_schema_extra={"pattern": _SAYS_SOMETHING})]
No = Annotated[Literal[False], BeforeValidator(_truth)]
Yes = Annotated[Literal[True], BeforeValidator(_truth)]
Metadata = Annotated[dict[str, Any], WithJsonSchema({**METADATA_SCHEMA, "maxProperties": MOST_NAMES - 2})]
"""With tags and source there may be as many names as metadata has."""
TopK = Annotated[int, Field(ge=1, le=100, strict=True), BeforeValidator(_whole)]
_OTHER_KINDS = ("act_mem", "para_mem", "pref_mem", "tool_mem", "skill_mem")
"""Of memory, in the original's answers; here all that is found is text, preferences among it."""


_ONLY_MESSAGES: JsonDict = {
    "required": ["messages"],
    "properties": {"messages": {"not": {"type": "null"}}, "memory_content": {"type": "null"}},
}
_ONLY_CONTENT: JsonDict = {
    "required": ["memory_content"],
    "properties": {"memory_content": {"type": "string"}, "messages": {"type": "null"}},
}


class BaseRequest(BaseModel):
    """What all requests have."""

    model_config = ConfigDict(extra="forbid")

    user_id: Name | None = Field(None, description="Whom it is for.", examples=["ada"])
    manager_user_id: Unused = Field(None, description="Changes nothing here.")
    project_id: Unused = Field(None, description="Changes nothing here.")


class APIADDRequest(BaseRequest):
    """Have something remembered.

    ``info``, ``custom_tags`` (as ``tags``) and ``source`` are kept as metadata.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [_ONLY_MESSAGES, _ONLY_CONTENT]})

    writable_cube_ids: list[Name] | None = Field(None, description="The cubes that keep it.", examples=[["home"]])
    mem_cube_id: Name | None = Field(None, description="The same, for one cube.")
    session_id: Name | None = None
    task_id: Name | None = Field(
        None, description="Of one's own, for one cube: with the same one again nothing is done twice."
    )
    messages: Said | Annotated[list[Any], Field(min_length=1)] | None = Field(
        None, description="What was said.", examples=[[{"role": "user", "content": "I have a dog, Max."}]]
    )
    memory_content: Said | None = Field(None, description="The same, as one text.")
    async_mode: Waits = Field("async", description="sync: the answer waits until it can be found.")
    info: Metadata | None = None
    custom_tags: list[Annotated[str, Field(max_length=LONGEST_TEXT)]] | None = Field(None, max_length=MOST_VALUES)
    source: str | None = Field(None, max_length=LONGEST_TEXT)
    doc_path: None = Field(None, description="Refused: files are not read here.")
    is_feedback: No = Field(False, description="Corrections are feedback requests.")
    mode: Unused = Field(None, description="Changes nothing here.")
    chat_history: Unused = Field(None, description="Changes nothing here.")
    operation: Unused = Field(None, description="Changes nothing here.")


class APISearchRequest(BaseRequest):
    """Look for memories."""

    query: str = Field(max_length=MAX_QUERY_CHARACTERS, examples=["What is my dog called?"])
    readable_cube_ids: list[Name] | None = Field(None, description="Where; without them in all that the user may read.")
    mem_cube_id: Name | None = Field(None, description="The same, for one cube.")
    top_k: TopK = 10
    filter: dict[str, Any] | None = Field(None, description="Of metadata, as everywhere here.")
    session_id: Unused = Field(None, description="Changes nothing here.")
    mode: Unused = Field(None, description="Changes nothing here.")
    relativity: Unused = Field(None, description="Changes nothing here.")
    threshold: Unused = Field(None, description="Changes nothing here.")
    dedup: Unused = Field(None, description="Changes nothing here.")
    include_preference: Unused = Field(None, description="Preferences are among the memories.")
    pref_top_k: Unused = Field(None, description="Changes nothing here.")
    search_tool_memory: Unused = Field(None, description="Changes nothing here.")
    tool_mem_top_k: Unused = Field(None, description="Changes nothing here.")
    include_skill_memory: Unused = Field(None, description="Changes nothing here.")
    skill_mem_top_k: Unused = Field(None, description="Changes nothing here.")
    search_memory_type: Unused = Field(None, description="Changes nothing here.")
    chat_history: Unused = Field(None, description="Changes nothing here.")
    internet_search: No = Field(False, description="Nothing is searched on the internet.")
    neighbor_discovery: Unused = Field(None, description="Changes nothing here.")
    moscube: Unused = Field(None, description="Changes nothing here.")
    operation: Unused = Field(None, description="Changes nothing here.")
    source: Unused = Field(None, description="Changes nothing here.")


class GetMemoryPlaygroundRequest(BaseRequest):
    """All memories, or those that fit a query."""

    memory_type: Literal["text_mem"] = Field("text_mem", description="The others have nothing to list here.")
    mem_cube_ids: list[Name] | None = Field(None, description="Where; without them in all that the user may read.")
    search_query: str | None = Field(None, max_length=MAX_QUERY_CHARACTERS)
    search_type: Unused = Field(None, description="Changes nothing here.")


class DeleteMemoryRequest(BaseRequest):
    """Delete memories for good. Nothing is deleted unless each of them is there and may be deleted."""

    memory_ids: list[str] = Field(min_length=1, max_length=1000)
    writable_cube_ids: list[Name] | None = Field(
        None, max_length=1, description="Where they are; without it in any of the user's."
    )


class APIFeedbackRequest(BaseRequest):
    """Say what is right: it takes the place of what it corrects."""

    feedback_content: Said = Field(max_length=MAX_STATEMENT_CHARACTERS, examples=["My dog is called Rex, not Max."])
    retrieved_memory_ids: list[str] | None = Field(
        None, description="One: that memory is corrected; otherwise the one that the words fit best."
    )
    writable_cube_ids: list[Name] | None = Field(
        None, max_length=1, description="The cube; without it the user's only one."
    )
    mem_cube_id: Name | None = Field(None, description="The same.")
    session_id: Name | None = None
    task_id: Unused = Field(None, description="Changes nothing here: the answer names the task.")
    async_mode: Waits = "async"
    info: Unused = Field(None, description="Changes nothing here.")
    history: Unused = Field(None, description="Changes nothing here.")
    feedback_time: Unused = Field(None, description="Changes nothing here.")
    corrected_answer: No = Field(False, description="No answer is written anew.")


class ChatRequest(BaseRequest):
    """Ask a cube. Which model answers, and how, the settings say."""

    query: Said = Field(max_length=MAX_QUERY_CHARACTERS, examples=["What is my dog called?"])
    readable_cube_ids: list[Name] | None = Field(None, max_length=1, description="The cube that is asked.")
    writable_cube_ids: list[Name] | None = Field(None, max_length=1, description="The cube that keeps what is said.")
    mem_cube_id: Name | None = Field(None, description="The same, for both.")
    history: list[Any] | None = Field(None, description="The turns before; without them those of the session.")
    session_id: Name | None = None
    top_k: TopK = 10
    add_message_on_answer: Yes = Field(True, description="A chat remembers what is said.")
    internet_search: No = Field(False, description="Nothing is searched on the internet.")
    system_prompt: None = Field(None, description="Refused: the prompt is memsched's own.")
    filter: None = Field(None, description="Refused.")
    mode: Unused = Field(None, description="Changes nothing here.")
    include_preference: Unused = Field(None, description="Changes nothing here.")
    pref_top_k: Unused = Field(None, description="Changes nothing here.")
    model_name_or_path: Unused = Field(None, description="The settings name the model.")
    max_tokens: Unused = Field(None, description="Changes nothing here.")
    temperature: Unused = Field(None, description="Changes nothing here.")
    top_p: Unused = Field(None, description="Changes nothing here.")
    relativity: Unused = Field(None, description="Changes nothing here.")
    threshold: Unused = Field(None, description="Changes nothing here.")
    moscube: Unused = Field(None, description="Changes nothing here.")


class ChatPlaygroundRequest(ChatRequest):
    """As ``ChatRequest``."""

    beginner_guide_step: Unused = Field(None, description="Changes nothing here.")


class OriginalCalls:
    """The original's calls, made with a MOS. Each takes a request, and returns the ``data`` of the answer.

    They raise what the MOS raises.
    """

    def __init__(self, mos: AsyncMOS) -> None:
        self._mos = mos

    async def add(self, request: APIADDRequest, timeout: Seconds | None = None) -> list[dict[str, Any]]:
        """One entry a cube: ``{"cube_id", "task_id", "status"}``, and what was waited for has ``memory_ids``."""
        metadata = {**(request.info or {})}
        metadata |= {"tags": request.custom_tags} if request.custom_tags else {}
        metadata |= {"source": request.source} if request.source else {}
        user, cubes = request.user_id or self._mos.user_id, _cubes(request.writable_cube_ids, request.mem_cube_id)
        added: list[dict[str, Any]] = []
        for cube in cubes:
            recorded = await self._mos.record(
                *(request.messages, request.memory_content, cube, user, request.session_id),
                metadata=metadata or None,
                item_id=request.task_id if len(cubes) == 1 else None,  # ids are the user's own, whatever the cube
            )
            added.append({"cube_id": recorded.mem_cube_id, "task_id": recorded.task_id, "status": "waiting"})
        if request.async_mode == "sync":
            for each in added:
                each.update(await self._became(each["task_id"], each["cube_id"], user, timeout))
        return added

    async def _became(self, task: str, cube: str, user: str, timeout: Seconds | None) -> dict[str, Any]:
        """What became of what was added, once it can be found."""
        try:
            await self._mos.wait(task, user_id=user, mem_cube_id=cube, timeout=timeout)
        except WaitTimeout:
            return {}
        except TaskFailed:
            return {"status": "failed"}
        status = await self._mos.mem_scheduler.get_task_status(task, user_id=user, label=ADD_TASK_LABEL)
        told = status.result if status is not None else None
        turns = told["turns"] if isinstance(told, Mapping) else {}
        ids = [memory_id for place in sorted(turns, key=int) for memory_id in turns[place][1]]
        return {"status": "completed", "memory_ids": list(dict.fromkeys(ids))}

    async def search(self, request: APISearchRequest) -> dict[str, Any]:
        """``{"text_mem": [{"cube_id", "memories", "total_nodes"}], ...}``, the best first."""
        cubes = request.readable_cube_ids or ([request.mem_cube_id] if request.mem_cube_id else None)
        found = await self._mos.search(request.query, request.user_id, cubes, request.top_k, filter=request.filter)
        others: dict[str, Any] = {name: [] for name in _OTHER_KINDS}
        return {"text_mem": _by_cube(found["text_mem"]), **others, "pref_note": "", "pref_string": ""}

    async def get_all(self, request: GetMemoryPlaygroundRequest) -> list[dict[str, Any]]:
        """``[{"cube_id", "memories", "total_nodes"}]``."""
        if request.search_query:
            searched = await self._mos.search(request.search_query, request.user_id, request.mem_cube_ids, 100)
            return _by_cube(searched["text_mem"])
        parts: list[FoundInCube] = []
        for cube in _cubes(request.mem_cube_ids):
            parts += (await self._mos.get_all(cube, request.user_id))["text_mem"]
        return _by_cube(parts)

    async def get_memory(self, memory_id: str, user_id: str | None) -> dict[str, Any]:
        """One memory. Raises UnknownMemory."""
        return memory_item(await self._mos.get(memory_id, None, user_id))

    async def delete(self, request: DeleteMemoryRequest) -> dict[str, Any]:
        """Raises UnknownMemory before anything was deleted."""
        cubes = _cubes(request.writable_cube_ids)
        for memory_id in request.memory_ids:
            await self._mos.get(memory_id, cubes[0], request.user_id)
        for memory_id in dict.fromkeys(request.memory_ids):
            await self._mos.delete(memory_id, cubes[0], request.user_id)
        return {"status": "success"}

    async def feedback(self, request: APIFeedbackRequest, timeout: Seconds | None = None) -> list[dict[str, Any]]:
        """``[{"cube_id", "task_id", "status"}]``."""
        cubes = _cubes(request.writable_cube_ids, request.mem_cube_id)
        user, text = request.user_id or self._mos.user_id, request.feedback_content
        named, place = request.retrieved_memory_ids or [], None
        if len(named) == 1:
            task = await self._mos.update(named[0], text, cubes[0], user)
        else:
            task, place = await self._correct(text, cubes[0], user, request.session_id)
        status = await self._waited(task, user, place, timeout) if request.async_mode == "sync" else "waiting"
        return [{"cube_id": cubes[0], "task_id": task, "status": status}]

    async def chat(self, request: ChatRequest) -> dict[str, Any]:
        """``{"response": the answer}``."""
        return {"response": await self._mos.chat(**_asked(request))}

    async def chat_events(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """The answer as events: ``{"type": "text", "data": a piece}`` each, and ``{"type": "end"}``."""
        async with aclosing(self._mos.chat_stream(**_asked(request))) as pieces:
            async for piece in pieces:
                yield event({"type": "text", "data": piece})
        yield event({"type": "end"})

    async def _correct(self, text: str, cube: str | None, user: str, session: str | None) -> tuple[str, str]:
        """Submit a correction of whatever memory its words fit best. Its task, and the cube that it is about."""
        name = (await self._mos.writable(cube, user)).name
        message = ScheduleMessageItem(
            user_id=user, mem_cube_id=name, label=MEM_FEEDBACK_TASK_LABEL, content=text, session_id=session
        )
        await self._mos.mem_scheduler.submit_messages(message)
        return message.item_id, name

    async def _waited(self, task: str, user: str | None, cube: str | None, timeout: Seconds | None) -> str:
        """What a task of feedback is after so long."""
        try:
            await self._mos.wait(task, user_id=user, mem_cube_id=cube, label=MEM_FEEDBACK_TASK_LABEL, timeout=timeout)
        except WaitTimeout:
            return "waiting"
        except TaskFailed:
            return "failed"
        return "completed"


def memory_item(memory: Memory, relativity: float | None = None) -> dict[str, Any]:
    """A memory in the original's form.

    Args:
        relativity: how probable it is that it answers what was asked, 0 to 1.
    """
    ref_id = f"[{memory.memory_id.partition('-')[0]}]"
    metadata = {
        **memory.metadata,
        "id": memory.memory_id,
        "ref_id": ref_id,
        "memory": memory.text,
        "memory_type": memory.memory_type,
        "type": memory.kind,
        "status": memory.status,
        "superseded_by": memory.superseded_by,
        "user_id": memory.user_id,
        "session_id": memory.session_id,
        "created_at": memory.created_at.isoformat(),
        "updated_at": memory.updated_at.isoformat(),
        "memory_time": memory.at.isoformat(),
    }
    if relativity is not None:
        metadata["relativity"] = round(relativity, 4)
    return {"id": memory.memory_id, "ref_id": ref_id, "memory": memory.text, "metadata": metadata}


def _by_cube(found: Iterable[FoundInCube]) -> list[dict[str, Any]]:
    cubes = []
    for each in found:
        items = [
            memory_item(one.item, one.score) if isinstance(one, SearchResult) else memory_item(one)
            for one in each["memories"]
        ]
        cubes.append({"cube_id": each["cube_id"], "memories": items, "total_nodes": len(items)})
    return cubes


def _cubes(names: Sequence[str] | None, name: str | None = None) -> Sequence[str | None]:
    """Which cubes are meant; None: the user's own one."""
    return names or [name]


def _asked(request: ChatRequest) -> dict[str, Any]:
    """What a MOS is asked."""
    asked = _cubes(request.readable_cube_ids, request.mem_cube_id)[0]
    keeps = _cubes(request.writable_cube_ids)[0]
    return {
        "query": request.query,
        "user_id": request.user_id,
        "mem_cube_id": asked or keeps,
        "session_id": request.session_id,
        "history": request.history,
        "remember_in": keeps,
        "top_k": request.top_k,
    }


def event(data: Mapping[str, Any]) -> str:
    """An event of a stream (SSE)."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
