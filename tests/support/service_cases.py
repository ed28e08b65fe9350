"""A request for every route of the service, by which tests ask them all; a route without one fails the tenant test.

In the texts of a case stand the names of what is asked for, in braces: ``{memory_id}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from memsched.service.dashboard.static_files import static_url

QUESTION = "What is the code of the safe?"
_OF_PAGE = {"Origin": "http://localhost"}
_TALK = [{"role": "user", "content": QUESTION}]


@dataclass(frozen=True)
class Case:
    """One request.

    Args:
        route: method and path, as the application has it.
        path: and what stands behind the question mark.
        who: users (it acts for one), operators, viewers, apps; anybody: without a key.
        names_user: where the user stands whom it acts for: a name in the query, or in the body; owner: in the path.
        changes: asked for one's own things, it takes them away.
        endless: what is one's own is streamed for good.
        form: the body is sent as a page's form.
        answers: to whom it is for.
    """

    route: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    who: Literal["users", "operators", "viewers", "apps", "anybody"] = "users"
    names_user: str = "user_id"
    changes: bool = False
    endless: bool = False
    form: bool = False
    answers: int = 200

    @property
    def id(self) -> str:
        return f"{self.route.split()[0]} {self.path}"

    def names(self) -> set[str]:
        """Of what it asks for."""
        text = repr((self.path, self.body, self.headers))
        return {name for name in NAMES if f"{{{name}}}" in text}

    async def ask(
        self, client: httpx.AsyncClient, things: Mapping[str, str], user: str | None = None
    ) -> httpx.Response:
        """Ask for these things, and for a user if one is named."""
        method = self.route.split()[0]
        if user is not None and self.names_user == "owner":
            things, user = {**things, "owner": user}, None
        body = None if self.body is None else filled(self.body, things)
        path, _, query = filled(self.path, {n: v.replace("/", "%2F") for n, v in things.items()}).partition("?")
        params = httpx.QueryParams(query)
        if user is not None and body is not None and self.names_user != "user_id in the query":
            body = {**body, self.names_user: user}
        elif user is not None:
            params = params.set(self.names_user.split()[0], user)
        headers = filled(self.headers, things)
        given: dict[str, Any] = {"data" if self.form else "json": body}
        return await client.request(method, path, params=params, headers=headers, **given)


NAMES = (
    "owner",
    "memory_id",
    "item_id",
    "task_id",
    "token",
    "etag",
    "cube",
    "invitation",
    "cursor",
    "label",
    "someone",
)


def filled(value: Any, things: Mapping[str, str]) -> Any:
    """With the things in place of their names."""
    if isinstance(value, str):
        for name, thing in things.items():
            value = value.replace(f"{{{name}}}", thing)
        return value
    if isinstance(value, Mapping):
        return {name: filled(each, things) for name, each in value.items()}
    return [filled(each, things) for each in value] if isinstance(value, list) else value


def _get(path: str, at: str = "", **more: Any) -> Case:
    return Case(f"GET {at or path.partition('?')[0]}", path, **more)


def _post(path: str, body: Mapping[str, Any] | None = None, at: str = "", **more: Any) -> Case:
    return Case(f"POST {at or path.partition('?')[0]}", path, body, **more)


def _tool(name: str, arguments: Mapping[str, Any], **more: Any) -> Case:
    """A call of a tool of the MCP server; the name behind the question mark is for the test's."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    headers = {"Accept": "application/json, text/event-stream"}
    return _post(f"/mcp?tool={name}", call, at="/mcp", headers=headers, names_user="", **more)


_MEMORY, _SCHEDULER, _ID = "/v1/memories/{memory_id}", "/v1/scheduler", {"memory_ids": ["{memory_id}"]}
CASES = [
    *(_get(path, who="anybody") for path in ("/healthz", "/readyz")),
    _get("/metrics", who="viewers"),
    # pages
    _get(static_url("memsched.css"), at="/ui/static/{path:path}", who="anybody"),
    *(_get(path, who="anybody") for path in ("/", "/login")),
    _post("/login", {"token": "msk_none"}, who="anybody", headers=_OF_PAGE, form=True, answers=401),
    _post("/logout", who="anybody", headers=_OF_PAGE, answers=303),
    _get("/ui/frames/queue", who="viewers", endless=True),
    _get("/cubes"),
    *(
        _get(f"/cubes/{{owner}}/{{cube}}{more}", at="/cubes/{at:path}", names_user="owner")
        for more in ("", "?q=What+is+the+code%3F&archived=true", "?memory={memory_id}")
    ),
    _get("/ui/frames/cube?user_id={owner}&cube={cube}", endless=True),
    *(
        _post(
            f"/ui/cubes/{what}",
            {"user_id": "{owner}", "cube": "{cube}", "memory_id": "{memory_id}"},
            headers=_OF_PAGE,
            form=True,
            answers=303,
            changes=what == "delete",
        )
        for what in ("pin", "unpin", "archive", "restore", "delete")
    ),
    _get("/queue/{label}/overview", at="/queue/{label:path}/overview", who="viewers"),
    _get("/ui/frames/queue/{label}", at="/ui/frames/queue/{label:path}", who="viewers", endless=True),
    *(
        _get(f"/queue/{{label}}/{state}", at="/queue/{label:path}/{state}", who="viewers")
        for state in ("waiting", "delayed", "dead")
    ),
    _get("/workers", who="viewers"),
    _get("/ui/frames/workers", who="viewers", endless=True),
    _post("/ui/labels/{label}/resume", at="/ui/labels/{label:path}/{how}", who="operators", headers=_OF_PAGE),
    _get("/messages"),
    _get("/ui/frames/messages", endless=True),
    _get("/messages/{item_id}", at="/messages/{item_id:path}"),
    _get("/ui/frames/messages/{item_id}", at="/ui/frames/messages/{item_id:path}", endless=True),
    _post(
        "/ui/messages/{item_id}/cancel",
        at="/ui/messages/{item_id:path}/cancel",
        names_user="user_id in the query",
        headers=_OF_PAGE,
        changes=True,
    ),
    _get("/dead-letters?item_id={item_id}", who="operators"),
    *(
        _post(f"/ui/dead-letters/{how}", {"item_id": "{item_id}"}, who="operators", headers=_OF_PAGE, form=True)
        for how in ("redrive", "purge")
    ),
    # before a model call, and after it
    _post("/v1/prompt", {"query": QUESTION, "search": "always", "session_id": "monday"}),
    _post("/v1/prompt", {"messages": _TALK, "cube": "{cube}"}),
    _post("/v1/prompt?after={token}", {"query": QUESTION}),
    _get("/v1/prompt?session_id=monday"),
    _get("/v1/prompt?cube={cube}"),
    _post("/v1/memories", {"text": "The safe is green.", "used_memory_ids": ["{memory_id}"], "cube": "{cube}"}),
    _post("/v1/memories", {"text": "The safe is green.", "cube": "{cube}"}),
    _get("/v1/memories"),
    _get("/v1/memories?cube={cube}"),
    _get("/v1/memories?after={token}"),
    _get("/v1/memories?cursor={cursor}"),
    _get(_MEMORY),
    _get(f"{_MEMORY}?cube={{cube}}", at=_MEMORY),
    _get(f"{_MEMORY}/history"),
    Case(
        f"PATCH {_MEMORY}",
        _MEMORY,
        {"text": "The safe is blue."},
        {"If-Match": "{etag}"},
        names_user="user_id in the query",
        changes=True,
    ),
    Case(f"DELETE {_MEMORY}", _MEMORY, changes=True),
    *(_post(f"{_MEMORY}/{what}") for what in ("pin", "unpin", "archive", "restore")),
    # what is found
    _post("/v1/search", {"query": QUESTION, "explain": True, "top_k": 100, "include_archived": True}),
    _post("/v1/search", {"query": QUESTION, "cubes": ["{cube}"]}),
    _post("/v1/search", {"query": QUESTION, "filter": {"owner": "same"}, "tags": ["same"], "session_id": ["monday"]}),
    _get("/v1/working-set?session_id=monday"),
    _get("/v1/working-set?cube={cube}"),
    _get("/v1/working-set?role=cook&task=dinner"),
    _get("/v1/themes"),
    _get("/v1/themes?cube={cube}"),
    _get("/v1/explain"),
    _get("/v1/explain?memory_id={memory_id}"),
    _post("/v1/preload", {"session_id": "monday", "cube": "{cube}"}),
    _post("/v1/typing", {"session_id": "monday", "text": QUESTION, "cube": "{cube}"}),
    _post("/v1/feedback", {"text": "The safe is red now.", "memory_id": "{memory_id}"}, changes=True),
    _post("/v1/feedback", {"text": "The safe is red now.", "cube": "{cube}"}, changes=True),
    _post("/v1/chat", {"query": QUESTION, "session_id": "monday"}),
    _post("/v1/chat", {"query": QUESTION, "cube": "{cube}", "remember_in": "{cube}"}),
    _post("/v1/chat/stream", {"query": QUESTION, "cube": "{cube}"}),
    _post("/v1/chat/completions", {"model": "m", "messages": _TALK}, names_user="user"),
    _post("/v1/chat/completions", {"messages": _TALK}, headers={"X-Memsched-Cube": "{cube}"}, names_user="user"),
    Case("GET /v1/models", "/v1/models", names_user=""),
    # users, cubes, keys
    _get("/v1/users/me"),
    Case("PUT /v1/users/me", "/v1/users/me", {"name": "Somebody"}),
    _post("/v1/keys", {"user_id": "{someone}"}, who="apps"),
    _get("/v1/cubes"),
    _post("/v1/cubes", {"name": "{cube}"}),
    _post(
        "/v1/cubes/{cube}/shares",
        {"with_user": "{someone}"},
        at="/v1/cubes/{name:path}/shares",
        names_user="user_id in the query",
        changes=True,
    ),
    Case(
        "DELETE /v1/cubes/{name:path}/shares/{with_user:path}",
        "/v1/cubes/{cube}/shares/{someone}",
        changes=True,
    ),
    Case("DELETE /v1/cubes/{name:path}/memories", "/v1/cubes/{cube}/memories?confirm={cube}", changes=True),
    _get("/v1/cubes/{cube}/events", at="/v1/cubes/{name:path}/events", headers={"Last-Event-ID": "1-1"}, endless=True),
    _get("/v1/invitations"),
    *(
        _post(f"/v1/invitations/{{invitation}}/{how}", at=f"/v1/invitations/{{name:path}}/{how}")
        for how in ("accept", "decline")
    ),
    # the scheduler
    _post(
        f"{_SCHEDULER}/messages",
        {"messages": [{"label": "query", "content": QUESTION, "mem_cube_id": "{cube}", "item_id": "same-again"}]},
    ),
    _get(f"{_SCHEDULER}/items/{{item_id}}", at=f"{_SCHEDULER}/items/{{item_id:path}}"),
    Case(f"DELETE {_SCHEDULER}/items/{{item_id:path}}", f"{_SCHEDULER}/items/{{item_id}}", changes=True),
    _get(f"{_SCHEDULER}/tasks/{{task_id}}", at=f"{_SCHEDULER}/tasks/{{task_id:path}}"),
    _get(f"{_SCHEDULER}/unfinished"),
    _get(f"{_SCHEDULER}/wait?timeout=20"),
    _get(f"{_SCHEDULER}/wait?timeout=20&task_id={{task_id}}"),
    _get(f"{_SCHEDULER}/wait/stream"),
    _get(f"{_SCHEDULER}/wait/stream?task_id={{task_id}}"),
    *(_get(f"{_SCHEDULER}/{what}", who="viewers") for what in ("status", "scaling")),
    *(
        _post(f"{_SCHEDULER}/labels/{{label}}/{how}", at=f"{_SCHEDULER}/labels/{{label:path}}/{how}", who="operators")
        for how in ("pause", "resume")
    ),
    _get(f"{_SCHEDULER}/dead-letters?item_id={{item_id}}", who="operators"),
    *(
        _post(f"{_SCHEDULER}/dead-letters/{how}", {"ids": ["{item_id}"]}, who="operators")
        for how in ("redrive", "purge")
    ),
    Case(
        f"GET {_SCHEDULER}/events",
        f"{_SCHEDULER}/events",
        headers={"Last-Event-ID": "1-1"},
        who="operators",
        endless=True,
    ),
    # the original's names
    _post("/product/add", {"memory_content": "The safe is green.", "mem_cube_id": "{cube}", "task_id": "same-add"}),
    _post("/product/search", {"query": QUESTION}),
    _post("/product/search", {"query": QUESTION, "readable_cube_ids": ["{cube}"]}),
    _post("/product/get_all", {}),
    _post("/product/get_all", {"mem_cube_ids": ["{cube}"]}),
    _get("/product/get_memory/{memory_id}"),
    _post("/product/delete_memory", _ID, changes=True),
    _post("/product/feedback", {"feedback_content": "No.", "retrieved_memory_ids": ["{memory_id}"]}, changes=True),
    _post("/product/chat/complete", {"query": QUESTION}),
    _post("/product/chat/complete", {"query": QUESTION, "mem_cube_id": "{cube}"}),
    _post("/product/chat/stream", {"query": QUESTION}),
    _get("/product/scheduler/status"),
    _get("/product/scheduler/status?task_id={task_id}"),
    _get("/product/scheduler/status?task_id={item_id}"),
    _get("/product/scheduler/allstatus", who="viewers"),
    _get("/product/scheduler/task_queue_status"),
    _post("/product/scheduler/wait?timeout_seconds=20", names_user="user_name"),
    _get("/product/scheduler/wait/stream?timeout_seconds=20", names_user="user_name"),
    # tools for agents; whose user nobody can name
    _tool("get_context", {"query": QUESTION, "session_id": "monday"}),
    _tool("get_context", {"query": QUESTION, "cube": "{cube}"}),
    _tool("remember", {"text": "The safe is green.", "cube": "{cube}", "used_memory_ids": ["{memory_id}"]}),
    _tool("recall", {"query": QUESTION, "top_k": 100}),
    _tool("recall", {"query": QUESTION, "cube": "{cube}"}),
    _tool("list_memories", {"cube": "{cube}", "include_archived": True}),
    _tool("list_memories", {"cursor": "{cursor}"}),
    _tool("task_status", {"task_id": "{task_id}"}),
    _tool("task_status", {"task_id": "{item_id}"}),
    _tool("correct", {"memory_id": "{memory_id}", "text": "The safe is blue."}, changes=True),
    _tool("forget", {"memory_id": "{memory_id}"}, changes=True),
    _tool("forget", {"scope": {"cube": "{cube}", "session_id": "monday"}}, changes=True),
    _tool("forget", {"scope": {"cube": "{cube}"}}, changes=True),
]
