"""Before a model call: what a cube knows, as text and as messages."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator
from pydantic.config import JsonDict

from memsched.errors import QueueFull, ServerRefused, ServerUnreachable
from memsched.lexicon import estimate_tokens
from memsched.logs import get_logger
from memsched.memory_prompt import MemoryPrompt, Reason
from memsched.messages import QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler
from memsched.service.bodies import (
    MOST_MESSAGES,
    WHOLE,
    Body,
    CubeName,
    ModelMessage,
    SessionId,
    Text,
    TopK,
    UserId,
    an_example,
)
from memsched.service.callers import Caller, principal_of, traceparent_of
from memsched.service.state import SESSION, Here, Service, service_of
from memsched.service.views import View
from memsched.service.writes import After, AfterWrite, wait_for_write
from memsched.tiers.hot_state import WorkingMemory

log = get_logger(__name__)

router = APIRouter(prefix="/v1/prompt", tags=["prompt"])

_HALF_A_QUESTION = 2_000
"""Characters: more is a document, and to look for all of its words helps nobody."""
Role = Annotated[Text, Field(max_length=200, description="In which role the user acts.", examples=["engineer"])]
Task = Annotated[Text, Field(max_length=200, description="At which task.", examples=["atlas"])]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000, description="Of the text, estimated.", examples=[2000]), WHOLE]


_NOT_BOTH: JsonDict = {
    "anyOf": [{"properties": {"query": {"type": "null"}}}, {"properties": {"messages": {"type": "null"}}}]
}


class PromptRequest(Body):
    """What somebody asks, as a query or as the messages that go to the model; or neither, for what is near anyway."""

    model_config = an_example(_NOT_BOTH, query="Where is the boat?", user_id="ada", session_id="monday")

    query: Text | None = Field(default=None, description="What somebody asks.")
    messages: list[ModelMessage] | None = Field(
        default=None,
        max_length=MOST_MESSAGES,
        description="The messages that go to the model, in OpenAI's form: the last one of the user is what is asked.",
    )
    user_id: UserId | None = None
    cube: CubeName | None = None
    session_id: SessionId | None = None
    role: Role | None = None
    task: Task | None = None
    max_tokens: MaxTokens | None = None
    top_k: TopK | None = Field(default=None, description="Memories that are searched for.")
    search: Literal["auto", "never", "always"] = Field(
        default="auto", description="auto: search only where no memory that is near answers the question by its words."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> PromptRequest:
        if self.query is not None and self.messages is not None:
            raise ValueError("give query or messages, one of both")
        return self


class Activation(View):
    """The activation block: with it the text begins, byte for byte, as long as it can."""

    text: str
    version: str = Field(description="Of the text: another one when its bytes are others.")


class NearMemory(View):
    """A memory that is near."""

    id: str
    text: str
    score: float
    parts: dict[str, float] = Field(description="What the score is made of.")
    tier: Literal["activation", "working"] = Field(description="activation: it stands in the block.")
    theme: str = Field(description="What it is about; empty without a theme.")
    at: datetime = Field(description="When it was said.")
    cube: str = Field(description="The cube it is from, in a set of several cubes (role, task); else empty.")

    @staticmethod
    def of(memory: WorkingMemory, held: Set[str]) -> NearMemory:
        """What of it is told.

        Args:
            held: the ids of what stands in the block.
        """
        return _near(memory, memory.memory_id in held)


@lru_cache(maxsize=4_096)
def _near(memory: WorkingMemory, is_held: bool) -> NearMemory:
    """Cached, because what is near is told with each question."""
    return NearMemory(
        id=memory.memory_id,
        text=memory.said,
        score=memory.score,
        parts=memory.parts,
        tier="activation" if is_held else "working",
        theme=memory.theme,
        at=memory.at,
        cube=memory.cube,
    )


class Sufficient(View):
    """Whether what is near answers the question, and how that is known."""

    value: bool
    reason: Reason
    searched: bool


class PromptAnswer(View):
    """What goes before a model call."""

    text: str = Field(description="The system message: salt, instructions, block, what was found, what is near.")
    messages: list[Any] = Field(description="Ready for the model: the text first, then what was given.")
    activation: Activation
    working_set: list[NearMemory]
    sufficient: Sufficient
    tokens: int = Field(description="Of the text, estimated.")
    as_of: datetime
    memory_ids: list[str] = Field(description="What the text holds: say with POST /v1/memories which were used.")
    scheduled: bool = Field(description="Whether the scheduler is told what was asked.")


@router.post("", summary="What goes before a model call", operation_id="create_prompt", response_model=PromptAnswer)
async def create_prompt(request: Request, body: PromptRequest, after: After = None) -> Response:
    """The prompt block goes first, byte for byte, so that the model's server keeps it; the question is told to the
    scheduler, which brings near what the next one will need."""
    # Without dependencies, which would be a tenth of what it takes: this is asked before each call of a model.
    await wait_for_write(request, after)
    here, user = service_of(request), principal_of(request).user(body.user_id)
    query = body.query if body.messages is None else question_in(body.messages)
    options = body.model_dump(include={"max_tokens", "top_k", "search", "role", "task"})
    prompt, scheduled = await prompt_for(
        here, user, query, body.cube, body.session_id, await traceparent_of(request), **options
    )
    given = body.messages if body.query is None else [{"role": "user", "content": body.query}]
    answer = _answer(prompt, given, scheduled=scheduled)
    # Written here, since what was made of checked parts would be checked once more on its way out.
    return Response(answer.model_dump_json(), media_type="application/json")


async def prompt_for(
    here: Service,
    user: str,
    query: str | None,
    cube: str | None,
    session_id: str | None,
    traceparent: str | None,
    **options: Any,
) -> tuple[MemoryPrompt, bool]:
    """What goes before a model call, and whether the scheduler is told what was asked.

    Args:
        options: of ``AsyncMOS.prompt``.
    """
    query = asked_of(query)
    cube = cube or await here.mos.cube_meant(user)
    prompt = await here.mos.prompt(query, cube, user, session_id, **options)
    scheduled = False
    if query and query.strip() and prompt.is_there:  # else a mistyped name would make a cube
        asked = ScheduleMessageItem(
            user_id=user,
            mem_cube_id=cube,
            label=QUERY_TASK_LABEL,
            content=query,
            session_id=session_id or SESSION,
            trace_id=traceparent,
        )
        scheduled = await _schedule(here.scheduler, asked)
    return prompt, scheduled


@router.get("", summary="What is near, without a question and without effects", operation_id="get_prompt")
async def get_prompt(
    here: Here,
    caller: Caller,
    _after: AfterWrite = None,
    user_id: Annotated[UserId | None, Query()] = None,
    cube: Annotated[CubeName | None, Query()] = None,
    session_id: Annotated[SessionId | None, Query()] = None,
    role: Annotated[Role | None, Query()] = None,
    task: Annotated[Task | None, Query()] = None,
    max_tokens: Annotated[MaxTokens | None, Query()] = None,
) -> PromptAnswer:
    """The same as the POST without what is asked: texts do not belong into addresses."""
    prompt = await here.mos.prompt(
        *(None, cube, caller.user(user_id), session_id, max_tokens), search="never", role=role, task=task
    )
    return _answer(prompt, None, scheduled=False)


async def _schedule(scheduler: AsyncMemScheduler, asked: ScheduleMessageItem) -> bool:
    try:
        await scheduler.submit_messages(asked)
    except (QueueFull, ServerRefused, ServerUnreachable) as error:  # the prompt is there, and the model waits for it
        log.warning("the scheduler is not told what was asked", action="http.not_scheduled", error=str(error))
        return False
    return True


def asked_of(said: str | None) -> str | None:
    """Of what somebody says, as much as memory is asked for: of a long text its beginning and its end."""
    if said is None or len(said) <= 2 * _HALF_A_QUESTION:
        return said
    return f"{said[:_HALF_A_QUESTION]}\n{said[-_HALF_A_QUESTION:]}"


def question_in(messages: Sequence[Any]) -> str | None:
    """What the user says last."""
    said = next((each.get("content") for each in reversed(messages) if each["role"] == "user"), None)
    if isinstance(said, list):
        return "\n".join(part["text"] for part in said if isinstance(part, dict) and isinstance(part.get("text"), str))
    return said if isinstance(said, str) else None


def _answer(prompt: MemoryPrompt, messages: Sequence[Any] | None, *, scheduled: bool) -> PromptAnswer:
    block = prompt.activation
    held = frozenset(block.memory_ids)
    return PromptAnswer(
        text=prompt.text,
        messages=[*prompt.messages] if messages is None else [prompt.messages[0], *messages],
        activation=Activation(text=block.text, version=block.version),
        working_set=[NearMemory.of(each, held) for each in prompt.working_set],
        sufficient=Sufficient(
            value=prompt.sufficient.value, reason=prompt.sufficient.reason, searched=prompt.sufficient.searched
        ),
        tokens=estimate_tokens(prompt.text),
        as_of=datetime.now(UTC),
        memory_ids=prompt.memory_ids,
        scheduled=scheduled,
    )
