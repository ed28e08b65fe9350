"""memsched: a memory scheduler for AI agents. Replicated workers on Redis Streams that lose nothing.

The names below are imported when they are first used: whoever needs one module (a healthcheck every few
seconds, the status script) does not wait for all the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memsched.version import __version__

if TYPE_CHECKING:
    from memsched.errors import (
        HandlerTimeout,
        InvalidMessage,
        LeaseLost,
        MemschedError,
        QueueFull,
        WaitTimeout,
    )
    from memsched.messages import (
        ACTIVATION_MEMORY_TYPE,
        ACTIVATION_UPDATE_TASK_LABEL,
        ADD_LABEL,
        ADD_TASK_LABEL,
        ANSWER_LABEL,
        ANSWER_TASK_LABEL,
        LONG_TERM_MEMORY_TYPE,
        MEM_ARCHIVE_TASK_LABEL,
        MEM_FEEDBACK_TASK_LABEL,
        MEM_ORGANIZE_TASK_LABEL,
        MEM_READ_TASK_LABEL,
        MEM_UPDATE_TASK_LABEL,
        PARAMETER_MEMORY_TYPE,
        PREDICT_TASK_LABEL,
        PREF_ADD_TASK_LABEL,
        PRELOAD_TASK_LABEL,
        QUERY_LABEL,
        QUERY_TASK_LABEL,
        USER_MEMORY_TYPE,
        WORKING_MEMORY_TYPE,
        ScheduleLogForWebItem,
        ScheduleMessageItem,
        SubmitResult,
        TaskPriorityLevel,
        TaskState,
    )
    from memsched.scheduler import AsyncMemScheduler, MemScheduler, TaskStatus, show_web_logs
    from memsched.settings import Settings
    from memsched.worker.context import HandlerContext, SyncHandlerContext
    from memsched.worker.orchestrator import Handler
else:
    _HOMES = {
        "memsched.errors": "HandlerTimeout InvalidMessage LeaseLost MemschedError QueueFull WaitTimeout",
        "memsched.scheduler": "AsyncMemScheduler MemScheduler TaskStatus show_web_logs",
        "memsched.settings": "Settings",
        "memsched.worker.context": "HandlerContext SyncHandlerContext",
        "memsched.worker.orchestrator": "Handler",
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF.get(name, "memsched.messages")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "ACTIVATION_MEMORY_TYPE",
    "ACTIVATION_UPDATE_TASK_LABEL",
    "ADD_LABEL",
    "ADD_TASK_LABEL",
    "ANSWER_LABEL",
    "ANSWER_TASK_LABEL",
    "LONG_TERM_MEMORY_TYPE",
    "MEM_ARCHIVE_TASK_LABEL",
    "MEM_FEEDBACK_TASK_LABEL",
    "MEM_ORGANIZE_TASK_LABEL",
    "MEM_READ_TASK_LABEL",
    "MEM_UPDATE_TASK_LABEL",
    "PARAMETER_MEMORY_TYPE",
    "PREDICT_TASK_LABEL",
    "PREF_ADD_TASK_LABEL",
    "PRELOAD_TASK_LABEL",
    "QUERY_LABEL",
    "QUERY_TASK_LABEL",
    "USER_MEMORY_TYPE",
    "WORKING_MEMORY_TYPE",
    "AsyncMemScheduler",
    "Handler",
    "HandlerContext",
    "HandlerTimeout",
    "InvalidMessage",
    "LeaseLost",
    "MemScheduler",
    "MemschedError",
    "QueueFull",
    "ScheduleLogForWebItem",
    "ScheduleMessageItem",
    "Settings",
    "SubmitResult",
    "SyncHandlerContext",
    "TaskPriorityLevel",
    "TaskState",
    "TaskStatus",
    "WaitTimeout",
    "__version__",
    "show_web_logs",
]
