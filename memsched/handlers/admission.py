"""What all memory handlers have in common: may the user, is the store there, and events that tell what happened."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID, uuid5

import structlog

from memsched.errors import CubeForbidden, EmbeddedServerError, InvalidId, InvalidMessage, SettingsError, UnknownCube
from memsched.handlers.lazy_services import LazyServices
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.model import Memory
from memsched.memory.store.errors import EmbedderMismatch, SchemaTooNew, StoreUnavailable
from memsched.messages import (
    LONG_TERM_MEMORY_TYPE,
    USER_MEMORY_TYPE,
    ScheduleLogForWebItem,
    ScheduleMessageItem,
)
from memsched.settings import Settings
from memsched.tiers.hot_state import HotStateContested
from memsched.worker.context import HandlerContext

log = structlog.get_logger(__name__)

USER_INPUT = "UserInput"
"""Where a memory comes from that was not one before."""
_FOLLOW_UPS = UUID("0d2f6f0e-8a3c-4d52-9a55-9b8a0f6f7c11")
_SHOWN_CHARACTERS = 200
_OPERATOR_NEEDED_SECONDS = 30.0
_CONTESTED_SECONDS = 0.2

Work = Callable[[MemoryServices, CubeRef, list[ScheduleMessageItem], HandlerContext], Awaitable[None]]


async def handle(
    work: Work, shared: LazyServices, need: Permission, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """Do ``work`` for the cube of the messages, if their user may.

    Who may not: the messages go to the dead letters with that reason. No store or model there, or too many who write at
    once: they wait, which uses up none of their retries, however long it lasts.
    """
    first = messages[0]
    try:
        services = await shared.get()
        ref = await services.cubes.resolve(first.user_id, first.mem_cube_id, need)
        await work(services, ref, messages, ctx)
    except (CubeForbidden, UnknownCube, InvalidId, InvalidMessage) as error:
        for message in messages:
            ctx.fail(message, error)
    except (StoreUnavailable, EmbeddedServerError) as error:
        _put_off(messages, ctx, error, shared.settings.store_retry_after_seconds)
    except HotStateContested as error:
        _put_off(messages, ctx, error, _CONTESTED_SECONDS)
    except EmbeddingError as error:
        _put_off(messages, ctx, error, _until_embedding_helps(error, shared.settings))
    except (EmbedderMismatch, SchemaTooNew, SettingsError) as error:
        _put_off(messages, ctx, error, _OPERATOR_NEEDED_SECONDS)


def _until_embedding_helps(error: EmbeddingError, settings: Settings) -> float:
    """Seconds."""
    if not error.temporary:
        return _OPERATOR_NEEDED_SECONDS
    asked = min(error.retry_after or 0.0, settings.retry_cap_ms / 1000)
    return max(asked, settings.store_retry_after_seconds)


def _put_off(messages: Sequence[ScheduleMessageItem], ctx: HandlerContext, error: Exception, delay: float) -> None:
    log.warning(
        "memory cannot be reached or written now; the messages wait",
        action="memory.put_off",
        count=len(messages),
        label=messages[0].label,
        delay_seconds=delay,
        error=str(error),
    )
    ctx.follow_ups.clear()
    ctx.events.clear()
    for message in messages:
        ctx.retry(message, delay, str(error))


def follow_up(
    message: ScheduleMessageItem, label: str, content: str, info: dict[str, Any] | None = None, **more: Any
) -> ScheduleMessageItem:
    """The next step of a message. Its id follows from the message's: made twice, it is one.

    Also from whose message it is, and of which label: strangers, and other labels, may use the same ids.
    """
    cause = json.dumps([message.user_id, message.mem_cube_id, message.label, message.item_id, label])
    return ScheduleMessageItem(
        item_id=str(uuid5(_FOLLOW_UPS, cause)),
        user_id=message.user_id,
        mem_cube_id=message.mem_cube_id,
        label=label,
        content=content,
        timestamp=message.timestamp,
        task_id=message.task_id,
        session_id=message.session_id,
        trace_id=message.trace_id,
        user_name=message.user_name,
        info=info,
        **more,
    )


async def sizes_of(services: MemoryServices, ref: CubeRef) -> dict[str, int]:
    """How many memories the cube has, by type, for the events."""
    from memsched.memory.search.arguments import SearchArgs

    long_term = await services.store.count(ref, SearchArgs(memory_type=[LONG_TERM_MEMORY_TYPE]).conditions())
    user = await services.store.count(ref, SearchArgs(memory_type=[USER_MEMORY_TYPE]).conditions())
    return {"long_term_memory_size": long_term, "user_memory_size": user}


def event(
    message: ScheduleMessageItem,
    said: str,
    *,
    from_type: str,
    to_type: str,
    sizes: dict[str, int] | None = None,
    metadata: list[dict[str, Any]] | dict[str, Any] | None = None,
    capacity: int | None = None,
) -> ScheduleLogForWebItem:
    """An event about one message, for people to look at."""
    capacities = {} if capacity is None else {"working_memory_capacity": capacity}
    return ScheduleLogForWebItem(
        user_id=message.user_id,
        mem_cube_id=message.mem_cube_id,
        label=message.label,
        log_content=said,
        from_memory_type=from_type,
        to_memory_type=to_type,
        current_memory_sizes=sizes or {},
        memory_capacities=capacities,
        task_id=message.task_id,
        metadata=metadata,
    )


def shown(text: str) -> str:
    """A text, as long as an event may show of it."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}\u2026"


def shown_memories(memories: Sequence[Memory]) -> list[dict[str, Any]]:
    return [{"memory_id": memory.memory_id, "text": shown(memory.indexed_text)} for memory in memories]
