"""The routes, one file a subject. A new file's ``router`` stands here."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.routing import Route

from memsched.service.dashboard import (
    cube_pages,
    dead_letter_pages,
    message_pages,
    pages,
    queue_pages,
    static_files,
)
from memsched.service.routes import (
    chat,
    completions,
    cubes,
    dead_letters,
    events,
    health,
    keys,
    mcp,
    memories,
    metrics,
    product,
    prompt,
    scheduler,
    search,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    metrics.router,
    prompt.router,
    memories.router,
    search.router,
    cubes.router,
    chat.router,
    users.router,
    keys.router,
    completions.router,
    scheduler.router,
    dead_letters.router,
    events.router,
    product.router,
    static_files.router,
    pages.router,
    queue_pages.router,
    cube_pages.router,
    mcp.router,
    message_pages.router,
    dead_letter_pages.router,
)


def methods_at(path: str) -> set[str]:
    """What is answered at a path: each route knows its own method only."""
    routes = (route for router in ROUTERS for route in router.routes if isinstance(route, Route))
    return {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
