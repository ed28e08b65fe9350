"""The files that pages are made with: style, program and icon, under addresses that change with their content.

They say nothing about anybody, so they need no key: the page to log in has them too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter, Request, Response

from memsched.service.problems import not_found

FOLDER = Path(__file__).parent / "static"
STATIC_PATH = "/ui/static/"
"""What is under it needs no key."""
_FOR_GOOD = "public, max-age=31536000, immutable"
_SERVED = {".css", ".js", ".svg"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file, read once."""

    content: bytes
    media_type: str
    address: str


def _read(file: Path) -> StaticFile:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return StaticFile(content, guess_type(file.name)[0] or "text/plain", f"{STATIC_PATH}{digest}/{file.name}")


FILES = {file.name: _read(file) for file in sorted(FOLDER.rglob("*")) if file.suffix in _SERVED}
_BY_ADDRESS = {each.address: each for each in FILES.values()}


def static_url(name: str) -> str:
    """The address of a file, for templates."""
    return FILES[name].address


@router.get(STATIC_PATH + "{path:path}")
async def get_static_file(request: Request) -> Response:
    """Another content has another address: whoever has one need not ask again."""
    found = _BY_ADDRESS.get(request.url.path)
    if found is None:
        raise not_found()
    headers = {"Cache-Control": _FOR_GOOD, "X-Content-Type-Options": "nosniff"}
    return Response(found.content, media_type=found.media_type, headers=headers)
