"""The table of memsched's own handlers: which function runs which label.

Priorities and permissions stand in ``memsched.handlers.registration``, which a worker needs before its first message.
Everything here may import what is slow: ``memsched.handlers.lazy_services`` loads it in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from memsched.handlers.activation_update import activation_update
from memsched.handlers.add import add
from memsched.handlers.answer import answer
from memsched.handlers.mem_archive import mem_archive
from memsched.handlers.mem_feedback import mem_feedback
from memsched.handlers.mem_organize import mem_organize
from memsched.handlers.mem_read import mem_read, mem_reread
from memsched.handlers.mem_update import mem_update
from memsched.handlers.parameter_export import parameter_export
from memsched.handlers.parameter_train import parameter_train
from memsched.handlers.predict import predict
from memsched.handlers.pref_add import pref_add
from memsched.handlers.preload import preload
from memsched.handlers.query import query
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
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
from memsched.worker.context import HandlerContext

MemoryFunction: TypeAlias = Callable[
    [MemoryServices, CubeView, list[ScheduleMessageItem], HandlerContext], Awaitable[None]
]
"""Gets messages of one user's cube, who may do with it what the label's rule asks for."""

FUNCTIONS: Mapping[str, MemoryFunction] = {
    QUERY_TASK_LABEL: query,
    PREDICT_TASK_LABEL: predict,
    PRELOAD_TASK_LABEL: preload,
    MEM_UPDATE_TASK_LABEL: mem_update,
    ANSWER_TASK_LABEL: answer,
    MEM_FEEDBACK_TASK_LABEL: mem_feedback,
    ADD_TASK_LABEL: add,
    MEM_READ_TASK_LABEL: mem_read,
    MEM_REREAD_TASK_LABEL: mem_reread,
    PREF_ADD_TASK_LABEL: pref_add,
    MEM_ORGANIZE_TASK_LABEL: mem_organize,
    MEM_ARCHIVE_TASK_LABEL: mem_archive,
    ACTIVATION_UPDATE_TASK_LABEL: activation_update,
    PARAMETER_EXPORT_TASK_LABEL: parameter_export,
    PARAMETER_TRAIN_TASK_LABEL: parameter_train,
}
