"""Memories made up for tests of what is done with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.model import Memory

FIRST = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def memory(text: str = "Rex eats carrots.", minute: float = 0, **fields: Any) -> Memory:
    """One of Alice's cube ``home``, said so many minutes after FIRST; its id is its text unless given."""
    at = FIRST + timedelta(minutes=minute)
    speaker = fields.get("speaker", "")
    values = {
        "memory_id": text,
        "user_id": "alice",
        "mem_cube_id": "home",
        "text": text,
        "at": at,
        "created_at": at,
        "updated_at": at,
        "content_hash": content_hash(speaker, text),
    }
    return Memory(**{**values, **fields})
