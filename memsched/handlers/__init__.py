"""The handlers of memsched's own labels, one file each. It is imported when the first message of its label comes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from memsched.messages import (
    ADD_TASK_LABEL,
    ANSWER_TASK_LABEL,
    MEM_FEEDBACK_TASK_LABEL,
    MEM_ORGANIZE_TASK_LABEL,
    MEM_READ_TASK_LABEL,
    MEM_UPDATE_TASK_LABEL,
    PREF_ADD_TASK_LABEL,
    QUERY_TASK_LABEL,
    ScheduleMessageItem,
)
from memsched.task_status import TaskPriorityLevel
from memsched.worker.handlers import Handler, Orchestrator

if TYPE_CHECKING:
    from memsched.handlers.lazy_services import LazyServices
    from memsched.worker.context import HandlerContext

_PRIORITIES = {
    QUERY_TASK_LABEL: TaskPriorityLevel.LEVEL_1,
    MEM_UPDATE_TASK_LABEL: TaskPriorityLevel.LEVEL_1,
    ANSWER_TASK_LABEL: TaskPriorityLevel.LEVEL_1,
    MEM_FEEDBACK_TASK_LABEL: TaskPriorityLevel.LEVEL_1,
    ADD_TASK_LABEL: TaskPriorityLevel.LEVEL_2,
    MEM_READ_TASK_LABEL: TaskPriorityLevel.LEVEL_2,
    PREF_ADD_TASK_LABEL: TaskPriorityLevel.LEVEL_2,
    MEM_ORGANIZE_TASK_LABEL: TaskPriorityLevel.LEVEL_3,
}
"""The question that is being asked comes before what was said, and that before tidying up."""

MEMORY_LABELS = tuple(_PRIORITIES)


@dataclass(frozen=True)
class MemoryHandler:
    """The handler of one label of memsched's own: the function of that name in the module of that name."""

    label: str
    shared: LazyServices

    async def __call__(self, messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        from memsched.handlers.admission import handle
        from memsched.memory.access.permissions import Permission

        work = getattr(import_module(f"memsched.handlers.{self.label}"), self.label)
        # Who may only read a cube may ask: the query handler looks itself whether he may change the working set.
        need = Permission.READ if self.label == QUERY_TASK_LABEL else Permission.WRITE
        await handle(work, self.shared, need, messages, ctx)


def add_memory_handlers(orchestrator: Orchestrator, shared: LazyServices) -> None:
    """Register them for the labels that have no handler of the user's own."""
    for label, priority in _PRIORITIES.items():
        if label not in orchestrator.handlers:
            orchestrator.register({label: Handler(MemoryHandler(label, shared), priority)})
