"""What schemathesis is told of the service: which values would make a run long, and which must be used once only."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import schemathesis

LONGEST = {"wait": 1, "timeout": 0.5, "timeout_seconds": 0.5}
"""Seconds that a request may ask to wait."""
WAITING = {"/v1/scheduler/wait": "timeout", "/product/scheduler/wait": "timeout_seconds"}
"""Where it waits unless it says how long."""


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
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= 255 and all("\x21" <= each <= "\x7e" for each in key):
        headers["Idempotency-Key"] = str(uuid4())
