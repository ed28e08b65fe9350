"""What can be said of a task (one message on its way): its priority, its state, what became of submitting it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class TaskPriorityLevel(IntEnum):
    """Which label goes first while several have messages waiting. Lower ones are slowed, never starved."""

    LEVEL_1 = 1
    LEVEL_2 = 2
    LEVEL_3 = 3


class TaskState(StrEnum):
    """Where one message is."""

    WAITING = "waiting"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of one submitted message: ``accepted`` holds for a duplicate too, it is already there."""

    item_id: str
    outcome: str
    """``queued``, ``delayed``, ``duplicate`` or ``full``."""

    @property
    def accepted(self) -> bool:
        return self.outcome != "full"
