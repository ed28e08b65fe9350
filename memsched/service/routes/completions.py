"""OpenAI's own routes: a client changes its base URL, and has memory."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import unquote

import httpx
from fastapi import APIRouter, Header, Request, Response
from pydantic import TypeAdapter

from memsched.errors import InvalidArgument
from memsched.memory.access.api_keys import Principal
from memsched.messages import MAX_ID_CHARACTERS
from memsched.service.bodies import CubeName, SessionId
from memsched.service.callers import Caller, Traceparent
from memsched.service.heard import Heard
from memsched.service.problems import MEDIA_TYPE, Problem, at_field
from memsched.service.proxy import Completion
from memsched.service.relay import ClientGone, Relay, while_connected
from memsched.service.state import Here
from memsched.service.upstream import headers_back

router = APIRouter(prefix="/v1", tags=["model"])

MEMORY = "X-Memsched-Memory"
_CUBE, _SESSION = "X-Memsched-Cube", "X-Memsched-Session"
_NAMES: dict[str, TypeAdapter[str]] = {_CUBE: TypeAdapter(CubeName), _SESSION: TypeAdapter(SessionId)}
_HALF_A_BYTE = re.compile("%(?![0-9A-Fa-f]{2})")
_OPENING_SECONDS = 10.0
"""So long the first requests of a service wait for its memory; later ones have a second for it."""

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "OpenAI's. What else is in it, the model's server refuses or takes.",
                    "required": ["messages"],
                    "properties": {
                        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                        "user": {"type": ["string", "null"], "description": "Whom the call acts for."},
                    },
                    "additionalProperties": True,
                },
                "example": {
                    "model": "gpt-4o-mini",
                    "messages": [{"role": "user", "content": "What does my dog eat?"}],
                    "user": "ada",
                },
            }
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"What the model's server answered, as it came; {MEMORY} says what memory added.",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    },
    "default": {
        "description": "What the model's server refused, as it came; or it does not answer, or none is configured.",
        "content": {"application/json": {}, MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}

_LATER = "%[89ABab][0-9A-Fa-f]"
_CHARACTER = "|".join(
    (
        "([!-$&-~]",
        "%(0[1-9A-Fa-f]|[1-7][0-9A-Fa-f])",
        f"%([Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]){_LATER}",
        f"(%[Ee]0%[ABab][0-9A-Fa-f]|%[Ee][1-9ABCEFabcef]{_LATER}|%[Ee][Dd]%[89][0-9A-Fa-f]){_LATER}",
        f"(%[Ff]0%[9ABab][0-9A-Fa-f]|%[Ff][1-3]{_LATER}|%[Ff]4%8[0-9A-Fa-f]){_LATER}{_LATER})",
    )
)
"""Of a name in a header: UTF-8, percent-encoded where it is not ASCII."""
NameInHeader = Annotated[
    str | None,
    Header(
        description="Percent-encoded where it is not ASCII.",
        json_schema_extra={"pattern": f"^{_CHARACTER}{{1,{MAX_ID_CHARACTERS}}}$"},
    ),
]


@router.post(
    "/chat/completions",
    summary="Ask a model that knows what the cube knows",
    openapi_extra=_BODY,
    responses=_ANSWERS,
    response_class=Response,
)
async def create_chat_completion(
    request: Request,
    here: Here,
    caller: Caller,
    traceparent: Traceparent,
    x_memsched_cube: NameInHeader = None,
    x_memsched_session: NameInHeader = None,
) -> Response:
    """OpenAI's request and answer, plain or streamed. What the cube knows goes in front of the messages; the request is
    sent on otherwise as it came. The new messages and the answer are remembered.
    """
    raw = await request.body()
    asked = Completion.read(raw)
    user = _user(caller, asked)
    cube, session = _name(_CUBE, x_memsched_cube), _name(_SESSION, x_memsched_session)
    await here.opened(_OPENING_SECONDS)
    proxy = here.proxy
    call = await proxy.begin(raw, asked, user, cube, session, traceparent)
    sending = proxy.upstream.send("POST", "chat/completions", request.headers, call.sent)
    try:
        answer = await while_connected(request.receive, sending)
    except ClientGone:
        proxy.remember(call, "", broke_off=True)
        raise
    heard = Heard(streamed=_is_streamed(answer))

    def ended() -> None:
        if answer.is_success:
            proxy.remember(call, heard.said(), broke_off=not heard.is_whole)

    headers = [*headers_back(answer), (MEMORY.lower().encode(), call.header.encode())]
    if _is_streamed(answer):
        headers.append((b"x-accel-buffering", b"no"))  # nginx would collect it
    return Relay(answer, headers, heard.feed, ended)


@router.get(
    "/models",
    summary="The models of the model's server",
    response_class=Response,
    responses={"default": _ANSWERS["default"], 200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def list_models(request: Request, here: Here, caller: Caller) -> Response:
    """What the model's server answers."""
    caller.require_may("memory")
    answer = await while_connected(request.receive, here.proxy.upstream.send("GET", "models", request.headers))
    return Relay(answer, headers_back(answer))


def _user(caller: Principal, asked: Completion) -> str:
    """For whom the call acts. Raises NotAllowed, Problem."""
    try:
        return caller.user(asked.user)
    except InvalidArgument:
        raise at_field(422, f"A key of the role {caller.role} says for which user it acts.", "user") from None


def _name(header: str, given: str | None) -> str | None:
    """A name of the user's in a header: in UTF-8, or percent-encoded. Raises Problem."""
    if given is None:
        return None
    try:
        text = given.encode("latin-1").decode()
        if _HALF_A_BYTE.search(text):
            raise ValueError(text)
        return _NAMES[header].validate_python(unquote(text, errors="strict"))
    except ValueError:
        detail = f"{header}: it must be a name of 1 to 512 characters, in UTF-8 or percent-encoded."
        raise Problem(422, detail, kind="InvalidRequest", fields=[{"detail": detail, "parameter": header}]) from None


def _is_streamed(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("text/event-stream")
