"""An answer that knows what a cube knows: whole, or piece by piece."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import Field

from memsched.errors import MemschedError
from memsched.service.bodies import MOST_MESSAGES, Body, CubeName, Json, Said, SessionId, TopK, UserId, an_example
from memsched.service.callers import Caller
from memsched.service.problems import problem_of
from memsched.service.sse import until_stopped
from memsched.service.state import Here, Service
from memsched.service.views import View

router = APIRouter(prefix="/v1/chat", tags=["chat"])

_NOT_HELD_BACK = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class ChatRequest(Body):
    """A question, and where its answer comes from."""

    model_config = an_example(query="Where is the boat?", user_id="ada", session_id="monday")

    query: Said = Field(min_length=1, max_length=100_000)
    user_id: UserId | None = None
    cube: CubeName | None = None
    session_id: SessionId | None = None
    history: list[Json] = Field(
        default=[], max_length=MOST_MESSAGES, description="The turns before; the service keeps none of its own."
    )
    remember_in: CubeName | None = Field(default=None, description="Keep question and answer in this cube instead.")
    top_k: TopK | None = None


class ChatAnswer(View):
    """What is answered."""

    answer: str


@router.post("", summary="Ask, and be answered", operation_id="chat")
async def chat(here: Here, caller: Caller, body: ChatRequest) -> ChatAnswer:
    """What the cube knows goes into the prompt, question and answer into the cube. Without a model it says what is
    remembered."""
    answer = await here.mos.chat(
        *(body.query, caller.user(body.user_id), body.cube, body.session_id, body.history),
        remember_in=body.remember_in,
        top_k=body.top_k,
    )
    return ChatAnswer(answer=answer)


@router.post(
    "/stream",
    summary="Ask, and be answered piece by piece",
    operation_id="chat_stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events: text, then end, or error."}},
)
async def chat_stream(here: Here, caller: Caller, body: ChatRequest) -> Response:
    """Events: `text` with `{"text": ...}`, then `end`; or `error` with a problem."""
    source = here.mos.chat_stream(
        *(body.query, caller.user(body.user_id), body.cube, body.session_id, body.history),
        remember_in=body.remember_in,
        top_k=body.top_k,
    )
    first = await anext(source, "")  # what cannot be asked is refused before an answer begins
    return StreamingResponse(_events(here, first, source), media_type="text/event-stream", headers=_NOT_HELD_BACK)


async def _events(here: Service, first: str, source: AsyncGenerator[str, None]) -> AsyncIterator[bytes]:
    try:
        yield _text(first)
        async for piece in until_stopped(here, source):
            yield _text(piece)
    except MemschedError as error:
        yield format_sse_event(event="error", data_str=bytes(problem_of(error).response().body).decode())
        return
    yield format_sse_event(event="end", data_str="{}")


def _text(piece: str) -> bytes:
    return format_sse_event(event="text", data_str=json.dumps({"text": piece}, ensure_ascii=False))
