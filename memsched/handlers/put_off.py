"""Put off: what the model cannot do now is done later, by a delayed follow-up, until it is given up.

The follow-up is a message like any other: it survives every process, uses up no retry, and waits in a lane of its own
(``mem_reread``), whose ``delayed`` in the status is the number of messages that wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from memsched.backoff import backoff
from memsched.handlers.follow_ups import follow_up
from memsched.handlers.memory_events import USER_INPUT, event
from memsched.handlers.services import MemoryServices
from memsched.llm.errors import LLMError, LLMTimeout, LLMUnavailable
from memsched.logs import get_logger, log_fields
from memsched.messages import LONG_TERM_MEMORY_TYPE, MEM_REREAD_TASK_LABEL, ScheduleMessageItem
from memsched.worker.context import HandlerContext

log = get_logger(__name__)

_LONGEST_SECONDS = 3600.0
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class _Since:
    """When a message was put off first, ms since the epoch, and how often by now."""

    ms: int
    tries: int

    @classmethod
    def of(cls, message: ScheduleMessageItem) -> _Since:
        """From its ``info``, which anybody may have written."""
        given = (message.info or {}).get("put_off")
        since, tries = (given.get("since"), given.get("tries")) if isinstance(given, dict) else (None, None)
        now = round(time.time() * 1000)
        if not isinstance(since, int) or not isinstance(tries, int):
            return cls(now, 0)
        return cls(min(since, now), max(0, tries))


def may_help_later(error: LLMError) -> bool:
    """Whether the same question may be answered another time: not what the model answered, or declined."""
    return isinstance(error, LLMUnavailable | LLMTimeout)


def put_off(
    services: MemoryServices, message: ScheduleMessageItem, read_for: str, error: LLMError, ctx: HandlerContext
) -> None:
    """Have the conversation in a message read later, or give that up: then the message is a dead letter.

    Args:
        read_for: the message whose turns were stored.
    """
    settings, since = services.settings, _Since.of(message)
    waited_days = (time.time() * 1000 - since.ms) / _DAY_MS
    if settings.llm_put_off_days and waited_days < settings.llm_put_off_days:
        _again(services, message, read_for, error, since, ctx)
        return
    log.warning(
        "the model did not help; the conversation is remembered as it was said",
        action="memory.local_form",
        task="extract",
        tries=since.tries + 1,
        error=str(error),
        **log_fields(message),
    )
    if since.tries:
        why = f"the model could not read it for {waited_days:.3g} days (MEMSCHED_LLM_PUT_OFF_DAYS). Last: {error}"
        _tell(message, f"Given up: {why}", {"given_up": error.kind, "tries": since.tries + 1}, ctx)
        ctx.fail(message, why)


def _again(
    services: MemoryServices,
    message: ScheduleMessageItem,
    read_for: str,
    error: LLMError,
    since: _Since,
    ctx: HandlerContext,
) -> None:
    delay = backoff(since.tries, base=services.settings.llm_put_off_seconds, cap=_LONGEST_SECONDS, least=0.5)
    asked = error.retry_after if isinstance(error, LLMUnavailable) else None
    delay = max(delay, min(asked or 0.0, _LONGEST_SECONDS))
    info: dict[str, Any] = {**(message.info or {}), "read_for": read_for}
    info["put_off"] = {"since": since.ms, "tries": since.tries + 1}
    later = follow_up(message, MEM_REREAD_TASK_LABEL, message.content, info, chat_history=message.chat_history)
    ctx.submit(later, delay_ms=round(delay * 1000))
    log.warning(
        "the model did not help; what was said is remembered, and read later",
        action="memory.read_later",
        tries=since.tries + 1,
        delay_seconds=round(delay, 1),
        error=str(error),
        **log_fields(message),
    )
    if not since.tries:
        said = f"Remembered as it was said, and read later: the model is of no use now ({error.kind})"
        _tell(message, said, {"put_off": error.kind, "again_in_seconds": round(delay, 1)}, ctx)


def _tell(message: ScheduleMessageItem, said: str, metadata: dict[str, Any], ctx: HandlerContext) -> None:
    ctx.log(event(message, said, from_type=USER_INPUT, to_type=LONG_TERM_MEMORY_TYPE, metadata=metadata))
