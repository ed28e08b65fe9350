"""Errors over HTTP: problem+json (RFC 9457), made from memsched's error classes by one table.

``type`` is ``urn:memsched:error:<class>`` (docs/reference/errors.md lists them). ``errors`` says which fields are
meant: ``{"detail", "pointer"}`` in the body (a JSON pointer), ``{"detail", "parameter"}`` elsewhere. What belongs to
others is answered as what is not there. No problem has a traceback, an address, or what was said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from memsched import errors
from memsched.broker.lock import LockHeld
from memsched.llm.errors import LLMError, LLMRefused
from memsched.logs import exception_field, get_logger
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.search.arguments import InvalidSearch
from memsched.memory.store.errors import EmbedderMismatch, SchemaTooNew, StoreRefused, StoreUnavailable
from memsched.mos.lookup import CubeNotSaid
from memsched.mos.tasks import UnknownTask
from memsched.redaction import redacted
from memsched.tiers.hot_state import HotStateContested

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_OF_OPENAI = ("/v1/chat/completions", "/v1/models")
_TRY_AGAIN_SECONDS = 2
Respond = Callable[[Request, "Problem"], Response]


class Problem(Exception):
    """An answer other than success, as a route says it.

    Args:
        kind: the last part of its ``type``; None: what the status says, and no more.
        fields: which fields are meant: ``[{"detail", "pointer"}]``.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        fields: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.detail = detail
        self.kind = kind
        self.fields = fields
        self.headers = dict(headers or {})
        super().__init__(detail)

    @property
    def title(self) -> str:
        """What kind of problem it is, for people."""
        return _TITLES.get(self.kind or "") or _phrase(self.status)

    def response(self, path: str = "") -> JSONResponse:
        """The answer, as problem+json.

        Args:
            path: what was asked for. Clients of OpenAI's routes look for an ``error`` as well.
        """
        content: dict[str, Any] = {
            "type": f"urn:memsched:error:{self.kind}" if self.kind else "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.fields:
            content["errors"] = [dict(each) for each in self.fields]
        if path.startswith(_OF_OPENAI):
            kind = self.kind or content["title"]
            content["error"] = {"message": self.detail, "type": kind, "param": None, "code": None}
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 499 is nginx's
        return "Nobody waits"


def not_found() -> Problem:
    """The one answer to what is not there, and to what is another's."""
    return Problem(404, "There is no such thing, or it is not yours.", kind="NotFound")


def at_field(status: int, detail: str, *path: str | int, kind: str = "InvalidRequest") -> Problem:
    """A problem with one field of the body."""
    return Problem(status, detail, kind=kind, fields=[{"detail": detail, "pointer": pointer(path)}])


def at_parameter(detail: str, name: str, where: str, status: int = 422) -> Problem:
    """A problem with a parameter of the query, or a header."""
    kind = "InvalidRequest" if status == 422 else None
    return Problem(status, detail, kind=kind, fields=[{"detail": detail, "parameter": name, "in": where}])


def pointer(path: Iterable[str | int]) -> str:
    """A JSON pointer, as a URI fragment (RFC 6901)."""
    return "#" + "".join(f"/{str(each).replace('~', '~0').replace('/', '~1')}" for each in path)


_TITLES = {
    "NotFound": "Not found",
    "InvalidRequest": "The request cannot be understood",
    "RateLimited": "Too many requests",
    "Internal": "Something went wrong in memsched",
}

_NOT_FOUND = (
    errors.UnknownCube,
    errors.UnknownMemory,
    errors.UnknownUser,
    errors.UnknownInvitation,
    errors.CubeForbidden,
    UnknownTask,
)
_AWAY = (
    errors.ServerUnreachable,
    errors.ServerRefused,
    errors.UnreachableError,
    errors.SchedulerStopped,
    errors.EmbeddedServerError,
    errors.WaitTimeout,
    errors.AnswerTooLate,
    StoreUnavailable,
    StoreRefused,
    EmbedderMismatch,
    SchemaTooNew,
    EmbeddingError,
    HotStateContested,
    LockHeld,
)
"""What may be otherwise soon. Their own words have addresses in them, and are for the log."""
_STATUS: Mapping[type[Exception], int] = {
    errors.NotAllowed: 403,
    errors.CubeExists: 409,
    errors.TooManyPins: 409,
    errors.MemoryPinned: 409,
    errors.MemorySuperseded: 409,
    errors.InvalidMessage: 422,
    errors.InvalidArgument: 422,
    errors.InvalidId: 422,
    InvalidSearch: 422,
    LLMRefused: 502,
    LLMError: 503,
}
"""What is told in the error's own words, but for LLMError's, which quote a server."""


def problem_of(error: Exception) -> Problem:
    """What is answered where a call of the library raised this."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, _NOT_FOUND):
        return not_found()
    kind = next(name for each in type(error).__mro__ if not (name := each.__name__).startswith("_"))
    if isinstance(error, errors.QueueFull):
        detail = f"{_summary(error)} Try again in {error.retry_after:g} s."
        return Problem(503, detail, kind=kind, headers=_retry_after(error.retry_after))
    if isinstance(error, CubeNotSaid):
        detail = f"There are several cubes: say which with cube, one of {', '.join(map(repr, error.names))}."
        return Problem(422, detail, kind=kind)
    if isinstance(error, _AWAY):
        return Problem(503, _summary(error), kind=kind, headers=_retry_after(_TRY_AGAIN_SECONDS))
    for known, status in _STATUS.items():
        if isinstance(error, known):
            detail = _summary(error) if isinstance(error, LLMError) else redacted(str(error))
            headers = _retry_after(_TRY_AGAIN_SECONDS) if status == 503 else {}
            return Problem(status, detail, kind=kind, fields=_fields(error, detail), headers=headers)
    detail = "It was written down, and nobody but the operator can tell what it was."
    return Problem(500, detail, kind="Internal")


def add_problem_handlers(app: FastAPI, respond: Respond) -> None:
    """Have every error that reaches the application answered as a problem.

    Args:
        respond: makes the answer.
    """
    app.state.respond = respond
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    for kind in (Problem, errors.MemschedError, errors.UnreachableError):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    return answer_of(request, error)


def answer_of(request: Request, error: Exception) -> Response:
    """The answer to a request that failed, as whoever asked can read it."""
    problem = problem_of(error)
    if problem.status >= 500:
        log_failure(request.scope, error, problem.status)
    return _respond(request, problem)


def _respond(request: Request, problem: Problem) -> Response:
    respond: Respond = request.app.state.respond
    return respond(request, problem)


def log_failure(scope: Mapping[str, Any], error: Exception, status: int) -> None:
    """Tell the operator why a request failed: of what is away one line, of a mistake where it is."""
    route = getattr(scope.get("route"), "path", "")
    if status == 500:
        log.error("a request failed", action="http.failed", route=route, **exception_field(error))
    else:
        log.warning("a request could not be served", action="http.not_served", route=route, error=str(error))


async def _answer_http(request: Request, error: Exception) -> Response:
    """Of Starlette and FastAPI: unknown routes, other methods, bodies that are too large or cannot be parsed."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's, for a body that json gave up on: bytes, depth, digits
        return _respond(request, at_field(422, "It is not JSON."))
    if error.status_code == 413:
        return _respond(request, too_large(request.app.state.service.settings.max_body_bytes))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        known = {*headers.get("Allow", "").split(", "), *request.app.state.methods_at(request.url.path)}
        headers["Allow"] = ", ".join(sorted(known - {""}))
    said = {404: "There is no such route.", 405: "The route does not know this method.", 408: str(error.detail)}
    detail = said.get(error.status_code, HTTPStatus(error.status_code).description or str(error.detail))
    return _respond(request, Problem(error.status_code, detail, headers=headers))


def too_large(limit: int) -> Problem:
    """For a body above MEMSCHED_MAX_BODY_BYTES."""
    return Problem(413, f"A body has at most {limit} bytes (MEMSCHED_MAX_BODY_BYTES).", headers={"Connection": "close"})


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _respond(request, problem_of_validation(error))


def problem_of_validation(error: RequestValidationError) -> Problem:
    """What pydantic found, field by field, without what was given."""
    fields = [_field(each) for each in error.errors()]
    detail = "; ".join(dict.fromkeys(each["detail"] for each in fields[:5]))
    return Problem(422, detail, kind="InvalidRequest", fields=fields[:100])


def _field(found: Mapping[str, Any]) -> dict[str, str]:
    where, *path = found["loc"]
    context = found.get("ctx") or {}
    said = _SAID.get(found["type"], found["msg"])
    if where != "body":
        name = str(path[0]) if path else str(where)
        return {"detail": f"{name}: {said}", "parameter": name, "in": str(where)}
    if found["type"] == "json_invalid":
        return {"detail": f"It is not JSON: {context.get('error', '')}", "pointer": "#"}
    path += context.get("at", ())
    name = ".".join(map(str, path)) or "body"
    return {"detail": f"{_shown(name)}: {said}", "pointer": _shown(pointer(path))}


_SAID = {
    "extra_forbidden": "There is no such field.",
    "model_attributes_type": "It must be a JSON object, with Content-Type: application/json.",
    "string_unicode": "It is not Unicode text: it has half a surrogate pair.",
}
"""In place of pydantic's words, by its types of errors."""
_LONGEST_NAME = 200


def _shown(name: str) -> str:
    """The name of a field, which may be a stranger's: as JSON can hold it, and without secrets."""
    return redacted(name[:_LONGEST_NAME].encode("utf-8", "replace").decode())


def _fields(error: Exception, detail: str) -> list[dict[str, str]]:
    name = getattr(error, "what", None) or getattr(error, "name", None)
    return [{"detail": detail, "pointer": pointer([name])}] if isinstance(name, str) else []


def _summary(error: Exception) -> str:
    return " ".join((type(error).__doc__ or "").split("\n\n")[0].split())


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
