"""What a policy looks at beside the memories: the recent talk, and which memories answers used."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TalkEvent(BaseModel):
    """One thing said lately that the working set should cover.

    Attributes:
        event_id: the id of the message that said it.
        at: ms since the epoch.
        hits: what search found for it, (memory id, score from 0 to 1), best first; None while nobody looked.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    at: int
    text: str
    hits: list[tuple[str, float]] | None = None

    @property
    def order(self) -> tuple[int, str]:
        return self.at, self.event_id


class Use(BaseModel):
    """How often answers used a memory, and when lately.

    Attributes:
        times: (ms since the epoch, message id), oldest first; the latest 8.
    """

    model_config = ConfigDict(frozen=True)

    count: int = 0
    times: list[tuple[int, str]] = Field(default_factory=list)
