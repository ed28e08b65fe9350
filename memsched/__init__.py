"""memsched: a memory scheduler for AI agents. Replicated workers on Redis Streams that lose nothing.

The names below are imported when they are first used: whoever needs one module (a healthcheck every few
seconds, the status script) does not wait for all the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memsched.version import __version__

if TYPE_CHECKING:
    from memsched.errors import (
        CallEnded,
        CubeDumpError,
        CubeExists,
        CubeForbidden,
        HandlerTimeout,
        InvalidId,
        InvalidMessage,
        LeaseLost,
        MemoryPinned,
        MemorySuperseded,
        MemschedError,
        QueueFull,
        TooManyPins,
        UnknownCube,
        UnknownInvitation,
        UnknownMemory,
        UnknownUser,
        WaitTimeout,
    )
    from memsched.history import HistoryEntry
    from memsched.memory.access.permissions import CubeRef, Permission
    from memsched.memory.model import Memory
    from memsched.memory.search.arguments import InvalidSearch, SearchArgs, SearchResult
    from memsched.memory.store.errors import EmbedderMismatch, StoreRefused, StoreUnavailable
    from memsched.memory.transfer.cube_object import GeneralMemCube, GeneralMemCubeConfig
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
        MEM_REREAD_TASK_LABEL,
        MEM_UPDATE_TASK_LABEL,
        PARAMETER_EXPORT_TASK_LABEL,
        PARAMETER_MEMORY_TYPE,
        PARAMETER_TRAIN_TASK_LABEL,
        PREDICT_TASK_LABEL,
        PREF_ADD_TASK_LABEL,
        PRELOAD_TASK_LABEL,
        QUERY_LABEL,
        QUERY_TASK_LABEL,
        USER_MEMORY_TYPE,
        WORKING_MEMORY_TYPE,
        ScheduleLogForWebItem,
        ScheduleMessageItem,
    )
    from memsched.mos.mos import AsyncMOS
    from memsched.mos.options import MOSConfig
    from memsched.mos.sync import MOS
    from memsched.policy.block import ActivationBlock
    from memsched.policy.strategy import Candidate, Chosen, CubeState, WorkingSetPolicy
    from memsched.policy.transitions import StandardTransitions, TransitionRules
    from memsched.queue.status import TaskStatus
    from memsched.scheduler import AsyncMemScheduler
    from memsched.settings import Settings
    from memsched.sync_scheduler import MemScheduler, show_web_logs
    from memsched.task_status import SubmitResult, TaskPriorityLevel, TaskState
    from memsched.tiers.explanation import Explanation
    from memsched.tiers.hot_state import WorkingMemory
    from memsched.tiers.moves import Move
    from memsched.worker.context import HandlerContext, SyncHandlerContext
    from memsched.worker.handlers import Handler
    from memsched.worker.middleware import Middleware
else:
    _HOMES = {
        "memsched.errors": "CallEnded CubeDumpError CubeExists CubeForbidden HandlerTimeout InvalidId InvalidMessage "
        "LeaseLost MemoryPinned MemorySuperseded MemschedError QueueFull TooManyPins UnknownCube UnknownMemory "
        "UnknownInvitation UnknownUser WaitTimeout",
        "memsched.memory.transfer.cube_object": "GeneralMemCube GeneralMemCubeConfig",
        "memsched.memory.access.permissions": "CubeRef Permission",
        "memsched.history": "HistoryEntry",
        "memsched.tiers.explanation": "Explanation",
        "memsched.tiers.hot_state": "WorkingMemory",
        "memsched.tiers.moves": "Move",
        "memsched.memory.model": "Memory",
        "memsched.memory.search.arguments": "InvalidSearch SearchArgs SearchResult",
        "memsched.policy.block": "ActivationBlock",
        "memsched.policy.strategy": "Candidate Chosen CubeState WorkingSetPolicy",
        "memsched.policy.transitions": "StandardTransitions TransitionRules",
        "memsched.memory.store.errors": "EmbedderMismatch StoreRefused StoreUnavailable",
        "memsched.mos.mos": "AsyncMOS",
        "memsched.mos.options": "MOSConfig",
        "memsched.mos.sync": "MOS",
        "memsched.queue.status": "TaskStatus",
        "memsched.scheduler": "AsyncMemScheduler",
        "memsched.sync_scheduler": "MemScheduler show_web_logs",
        "memsched.settings": "Settings",
        "memsched.task_status": "SubmitResult TaskPriorityLevel TaskState",
        "memsched.worker.context": "HandlerContext SyncHandlerContext",
        "memsched.worker.handlers": "Handler",
        "memsched.worker.middleware": "Middleware",
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
    "MEM_REREAD_TASK_LABEL",
    "MEM_UPDATE_TASK_LABEL",
    "MOS",
    "PARAMETER_EXPORT_TASK_LABEL",
    "PARAMETER_MEMORY_TYPE",
    "PARAMETER_TRAIN_TASK_LABEL",
    "PREDICT_TASK_LABEL",
    "PREF_ADD_TASK_LABEL",
    "PRELOAD_TASK_LABEL",
    "QUERY_LABEL",
    "QUERY_TASK_LABEL",
    "USER_MEMORY_TYPE",
    "WORKING_MEMORY_TYPE",
    "ActivationBlock",
    "AsyncMOS",
    "AsyncMemScheduler",
    "CallEnded",
    "Candidate",
    "Chosen",
    "CubeDumpError",
    "CubeExists",
    "CubeForbidden",
    "CubeRef",
    "CubeState",
    "EmbedderMismatch",
    "Explanation",
    "GeneralMemCube",
    "GeneralMemCubeConfig",
    "Handler",
    "HandlerContext",
    "HandlerTimeout",
    "HistoryEntry",
    "InvalidId",
    "InvalidMessage",
    "InvalidSearch",
    "LeaseLost",
    "MOSConfig",
    "MemScheduler",
    "Memory",
    "MemoryPinned",
    "MemorySuperseded",
    "MemschedError",
    "Middleware",
    "Move",
    "Permission",
    "QueueFull",
    "ScheduleLogForWebItem",
    "ScheduleMessageItem",
    "SearchArgs",
    "SearchResult",
    "Settings",
    "StandardTransitions",
    "StoreRefused",
    "StoreUnavailable",
    "SubmitResult",
    "SyncHandlerContext",
    "TaskPriorityLevel",
    "TaskState",
    "TaskStatus",
    "TooManyPins",
    "TransitionRules",
    "UnknownCube",
    "UnknownInvitation",
    "UnknownMemory",
    "UnknownUser",
    "WaitTimeout",
    "WorkingMemory",
    "WorkingSetPolicy",
    "__version__",
    "show_web_logs",
]
