"""What schemathesis is told of the service, because a JSON schema cannot say it: which values would make a run long,
which must be used once only, and which fit together.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import schemathesis
from schemathesis import GenerationMode

LONGEST = {"wait": 1, "timeout": 0.5, "timeout_seconds": 0.5}
"""Seconds that a request may ask to wait."""
WAITING = {"/v1/scheduler/wait": "timeout", "/product/scheduler/wait": "timeout_seconds"}
"""Where it waits unless it says how long."""
SAID = ({"role": "user", "content": "I have a dog, Max."}, {"role": "assistant", "content": "How old is Max?"})
FILTER = {"project": "atlas", "year": {"gte": 2025}, "not": {"@kind": "turn"}}
AS_IT_IS = ("/v1/scheduler/messages", "/product/feedback")
"""Where messages are no conversation, or nothing reads them."""
SHORT = 255
"""A cube that is shared is called after its owner too."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A legal value stays legal, and an illegal one illegal."""
    query, headers = case.query or {}, case.headers or {}
    if (name := WAITING.get(case.operation.path)) and isinstance(query, dict):
        query.setdefault(name, LONGEST[name])
        case.query = query
    for name, most in LONGEST.items():
        try:
            if most < float(query[name]) <= 600:
                query[name] = most
        except (KeyError, TypeError, ValueError):
            continue
    if isinstance(case.body, dict) and case.body.get("async_mode") == "sync":
        case.body["async_mode"] = "async"
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= 255 and all("\x21" <= each <= "\x7e" for each in key):
        headers["Idempotency-Key"] = str(uuid4())
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        _fit(case, query)


def _fit(case: Any, query: dict[str, Any]) -> None:
    """A request whose every part is legal, as one that is legal as a whole."""
    path, parts = case.operation.path, case.path_parameters or {}
    if "confirm" in query:
        query["confirm"] = parts["name"]
    if path.endswith("/shares"):
        parts["name"] = parts["name"][:SHORT]
    if query.get("filter"):
        query["filter"] = json.dumps(FILTER)
    body = case.body
    if not isinstance(body, dict):
        return
    for name in ("messages", "history"):
        if isinstance(said := body.get(name), list) and path not in AS_IT_IS:
            body[name] = [SAID[number % 2] for number in range(len(said))]
    if body.get("filter"):
        body["filter"] = FILTER
    if body.get("since") and body.get("until"):
        del body["until"]
