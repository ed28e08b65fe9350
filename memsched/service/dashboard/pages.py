"""What all pages share: their headers, where changes may come from, errors as pages; and logging in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from memsched.errors import ServerUnreachable
from memsched.service.callers import principal_in
from memsched.service.dashboard.frames import PATIENCE_SECONDS, Produce
from memsched.service.dashboard.rendering import away, fragment
from memsched.service.dashboard.sessions import COOKIE, Begun, cookie_in, is_page, may_log_in
from memsched.service.problems import Problem, log_failure, problem_of, problem_of_validation
from memsched.service.state import Here

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers say of a form's origin that it is null
    "X-Content-Type-Options": "nosniff",
}
_MOST_FIELDS, _MOST_BYTES = 50, 64 * 1024
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose answers are pages: with their headers, and problems as a page too. Changes are asked for by the
    service's own pages only. A field that a form leaves empty is not given: browsers send it as ``name=``.
    """

    def get_route_handler(self) -> Handler:
        """As FastAPI asks for it."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                if request.method not in ("GET", "HEAD"):
                    _expect_own_page(request)
                given = request.scope["query_string"].split(b"&")
                request.scope["query_string"] = b"&".join(each for each in given if each.partition(b"=")[2])
                response = await handler(request)
            except Exception as error:  # noqa: BLE001  what it is stands on a page
                response = _failed(request, error)
            return _with_headers(response)

        return answer


def _with_headers(answer: Response) -> Response:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def page_router() -> APIRouter:
    """A router for pages."""
    return APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)


router = page_router()


def render(request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page.

    Args:
        name: of its template.
        values: by name, for the template; it also has ``request``, and ``caller``: who looks (a Principal), None where
            nobody is logged in.
    """
    caller = principal_in(request.scope)
    given = {"request": request, "caller": caller, **values}
    return HTMLResponse(fragment(name, **given), status)


async def first_frame(produce: Produce) -> str:
    """What a page shows before its stream begins: a frame, or that a server is away."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await produce()
    except (ServerUnreachable, TimeoutError) as error:
        return away(error)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that was sent; of a field that stands several times, the last one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise Problem(413, f"A form of a page has at most {_MOST_BYTES:,} bytes.", headers={"Connection": "close"})
    try:
        given = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Problem(422, "It is no form of this page.", kind="InvalidRequest") from None
    return {name: values[-1] for name, values in given.items()}


def see(path: str) -> RedirectResponse:
    """Go to a page: the answer to a change."""
    return RedirectResponse(path, 303)


def _expect_own_page(request: Request) -> None:
    """Raises a problem unless a page of this service asks: the browser says where the request comes from."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = site == "same-origin" if site is not None else origin is not None
    if origin is not None:
        own = own and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not own:
        raise Problem(403, "Only a page of this service may ask for this (Origin, Sec-Fetch-Site).", kind="NotAllowed")


def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        problem = problem_of_validation(error)
    elif isinstance(error, HTTPException):
        problem = Problem(error.status_code, str(error.detail), headers=error.headers)
    else:
        problem = problem_of(error)
    if problem.status >= 500:
        log_failure(request.scope, error, problem.status)
    return _problem_page(request, problem)


def _problem_page(request: Request, problem: Problem) -> Response:
    if request.headers.get("hx-request"):  # a part of a page: what shows it reads the problem itself
        return problem.response(request.url.path)
    again = problem.status == 503 and request.method == "GET"
    page = render(request, "problem.html", status=problem.status, problem=problem, again=again)
    page.headers.update(problem.headers)
    return page


def answer_problem(request: Request, problem: Problem) -> Response:
    """A problem as whoever asked can read it: a page for a browser that goes there, problem+json for programs."""
    accepts = request.headers.get("accept", "")
    if request.method != "GET" or "text/html" not in accepts or request.url.path.startswith(("/v1/", "/mcp")):
        return problem.response(request.url.path)
    if problem.status == 404 or not request.app.state.methods_at(request.url.path):  # the gate lets nobody look
        problem = Problem(404, "There is no such page.", kind="NotFound")
    return _with_headers(_problem_page(request, problem))


# -- logging in and out ------------------------------------------------------------------------------------------------


@router.get("/login", name="get_login")
async def get_login(request: Request, here: Here, once: str = "", to: str = "/") -> Response:
    """The form; with a one-time code, the session at once."""
    if not once:
        return render(request, "login.html", to=_own(to), refused="")
    key_id = here.login_codes.use(once)
    if key_id is None:
        return render(
            request,
            "login.html",
            status=401,
            to="/",
            refused="This link was used, or is too old: use a key, or start memsched up again for a new one.",
        )
    principal = await here.api_keys.known(key_id)
    if principal is None:
        return render(request, "login.html", status=401, to="/", refused="The key of this link is good no more.")
    # A page and no redirect: a cookie that is SameSite=Strict is not sent where a link of another site leads on.
    return _with_cookie(request, render(request, "logged_in.html"), await here.sessions.begin(principal))


@router.post("/login", name="post_login")
async def post_login(request: Request, here: Here) -> Response:
    """A session for who shows a key."""
    form = await form_of(request)
    to = _own(form.get("to", "/"))
    principal = await here.api_keys.principal(form.get("token", "").strip())
    if principal is None:
        refused = "This key is not valid (any more). memsched keys create makes one."
        return render(request, "login.html", status=401, to=to, refused=refused)
    if not may_log_in(principal):
        refused = f"There is no page for a key of the role {principal.role}."
        return render(request, "login.html", status=403, to=to, refused=refused)
    return _with_cookie(request, see(to), await here.sessions.begin(principal))


@router.post("/logout", name="post_logout")
async def post_logout(request: Request, here: Here) -> Response:
    """End the session, here and in all processes."""
    await here.sessions.end(cookie_in(request.scope))
    answer = see("/login")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_secure(request))
    return answer


def _with_cookie(request: Request, answer: Response, begun: Begun) -> Response:
    answer.set_cookie(
        COOKIE, begun.cookie, max_age=begun.seconds, httponly=True, samesite="strict", secure=_is_secure(request)
    )
    return answer


def _is_secure(request: Request) -> bool:
    """Whether the browser speaks https, to this process or to what passes its requests on."""
    said = request.headers.get("x-forwarded-proto", "") or urlsplit(request.headers.get("origin", "")).scheme
    return "https" in (request.url.scheme, said.lower())


def _own(to: str) -> str:
    """Where to go after logging in: a page of this service, whatever was given."""
    found = urlsplit(to)
    is_own = to.startswith("/") and not to.startswith(("//", "/\\")) and not found.netloc and is_page(found.path)
    return to if is_own and not found.path.startswith(("/login", "/logout", "/ui/")) else "/"
