"""The routes, one file a subject. A new file's ``router`` stands here."""

from __future__ import annotations

from fastapi import APIRouter

from memsched.service.routes import (
    completions,
    cubes,
    dead_letters,
    events,
    health,
    keys,
    memories,
    product,
    prompt,
    scheduler,
    search,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    prompt.router,
    memories.router,
    search.router,
    cubes.router,
    users.router,
    keys.router,
    completions.router,
    scheduler.router,
    dead_letters.router,
    events.router,
    product.router,
)
