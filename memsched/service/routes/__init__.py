"""The routes, one file a subject. A new file's ``router`` stands here."""

from __future__ import annotations

from fastapi import APIRouter

from memsched.service.routes import completions, health, users

ROUTERS: tuple[APIRouter, ...] = (health.router, users.router, completions.router)
