"""What answers are made of: memories as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from memsched.memory.model import Memory


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class CubeView(View):
    """A cube as a user sees it."""

    cube_id: str = Field(description="The user's name of it.", examples=["default"])
    owner_id: str = Field(examples=["ada"])
    permission: Literal["read", "write"] = Field(examples=["write"])


class MemoryView(View):
    """A memory."""

    id: str = Field(examples=["6f1de0c4-3f0a-5d3c-8b69-0d7c6f3a52c1"])
    text: str = Field(examples=["The boat is in the harbour of Kiel."])
    caption: str = Field(default="", description="What is seen on the picture that came with it.")
    kind: str = Field(examples=["turn"])
    memory_type: str = Field(examples=["LongTermMemory"])
    speaker: str = Field(examples=["ada"])
    session_id: str
    at: datetime = Field(description="When it was said.")
    created_at: datetime
    updated_at: datetime
    event_date: str = Field(description="When what it tells happened or will happen, as far as is known.")
    status: str = Field(examples=["activated"])
    version: int = Field(examples=[1])
    tags: list[str]
    metadata: dict[str, Any]
    replaces: list[str] = Field(description="The memories that it corrects.")
    superseded_by: str | None = Field(description="The memory that corrects it.")
    superseded_because: str
    may_be_revised_by: list[str] = Field(description="Later memories that may say what holds now.")
    use_count: int = Field(description="How many answers used it.")
    last_used_at: datetime | None

    @classmethod
    def of(cls, memory: Memory) -> MemoryView:
        """What of a memory is told."""
        return cls(
            id=memory.memory_id,
            text=memory.text,
            caption=memory.caption,
            kind=memory.kind,
            memory_type=memory.memory_type,
            speaker=memory.speaker,
            session_id=memory.session_id,
            at=memory.at,
            created_at=memory.created_at,
            updated_at=memory.updated_at,
            event_date=memory.event_date,
            status=memory.status,
            version=memory.version,
            tags=memory.tags,
            metadata=memory.metadata,
            replaces=memory.replaces,
            superseded_by=memory.superseded_by,
            superseded_because=memory.superseded_because,
            may_be_revised_by=list(memory.may_be_revised_by),
            use_count=memory.use_count,
            last_used_at=memory.last_used_at,
        )
