"""Registers memsched's own handlers with a worker: for each label its priority, and the permission that it needs.

The functions stand in ``memsched.handlers.table``, which takes seconds to import: they wait for the first message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from memsched.errors import InvalidMessage
from memsched.handlers.admission import handle
from memsched.handlers.lazy_services import LazyServices
from memsched.memory.access.permissions import Permission
from memsched.messages import (
    ACTIVATION_UPDATE_TASK_LABEL,
    ADD_TASK_LABEL,
    ANSWER_TASK_LABEL,
    MEM_ARCHIVE_TASK_LABEL,
    MEM_FEEDBACK_TASK_LABEL,
    MEM_ORGANIZE_TASK_LABEL,
    MEM_READ_TASK_LABEL,
    MEM_REREAD_TASK_LABEL,
    MEM_UPDATE_TASK_LABEL,
    PARAMETER_EXPORT_TASK_LABEL,
    PARAMETER_TRAIN_TASK_LABEL,
    PREDICT_TASK_LABEL,
    PREF_ADD_TASK_LABEL,
    PRELOAD_TASK_LABEL,
    QUERY_TASK_LABEL,
    ScheduleMessageItem,
)
from memsched.redaction import redact
from memsched.task_status import TaskPriorityLevel
from memsched.worker.context import HandlerContext
from memsched.worker.handlers import Handler, Orchestrator


@dataclass(frozen=True, slots=True)
class Rule:
    """How urgent a label is, and what its user must be allowed to do with the cube."""

    priority: TaskPriorityLevel
    needs: Permission


RULES = {
    QUERY_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_1, Permission.READ),
    PREDICT_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_1, Permission.READ),
    PRELOAD_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_1, Permission.READ),
    MEM_UPDATE_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_1, Permission.WRITE),
    ANSWER_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_1, Permission.WRITE),
    MEM_FEEDBACK_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_1, Permission.WRITE),
    ADD_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_2, Permission.WRITE),
    MEM_READ_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_2, Permission.WRITE),
    PREF_ADD_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_2, Permission.WRITE),
    MEM_REREAD_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_3, Permission.WRITE),
    MEM_ORGANIZE_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_3, Permission.WRITE),
    MEM_ARCHIVE_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_3, Permission.WRITE),
    ACTIVATION_UPDATE_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_3, Permission.WRITE),
    PARAMETER_EXPORT_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_3, Permission.WRITE),
    PARAMETER_TRAIN_TASK_LABEL: Rule(TaskPriorityLevel.LEVEL_3, Permission.WRITE),
}
"""The question that is being asked comes before what was said, and that before tidying up."""


def register_memory_handlers(orchestrator: Orchestrator, services: LazyServices) -> None:
    """Register them for the labels that have no handler of the user's own.

    A burst of a cube costs one pass, and what was said first is remembered first: batches, in order.
    """
    for label, rule in RULES.items():
        if label not in orchestrator.handlers:
            function = MemoryHandler(label, rule.needs, services)
            handler = Handler(function, rule.priority, batch_size=services.settings.batch_size, ordered=True)
            if label == PARAMETER_TRAIN_TASK_LABEL:
                timeout = services.settings.parameter_timeout_seconds
                handler = replace(handler, batch_size=1, concurrency=1, timeout_seconds=timeout)
            orchestrator.register({label: handler})


@dataclass(frozen=True, slots=True)
class MemoryHandler:
    """What the worker calls for one label: the function that the table has for it, once the messages are admitted."""

    label: str
    needs: Permission
    services: LazyServices

    async def __call__(self, messages: list[ScheduleMessageItem], ctx: HandlerContext) -> None:
        plain = []
        for message in messages:  # of producers that are not memsched's
            try:
                redact(message, self.services.settings.secrets)
                plain.append(message)
            except InvalidMessage as error:
                ctx.fail(message, error)
        if plain:
            await handle(await self.services.function(self.label), self.services, self.needs, plain, ctx)
