"""Admission: may the user do this with the cube, and is memory there? Messages that may not are dead letters; messages
that cannot now are retried later, at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from memsched.errors import CubeForbidden, EmbeddedServerError, InvalidId, InvalidMessage, SettingsError, UnknownCube
from memsched.handlers.lazy_services import LazyServices
from memsched.logs import get_logger
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import Permission
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.ingest.turns import turns_of
from memsched.memory.store.errors import EmbedderMismatch, SchemaTooNew, StoreUnavailable
from memsched.messages import ScheduleMessageItem
from memsched.settings import Settings
from memsched.tiers.hot_state import HotStateContested
from memsched.worker.context import HandlerContext

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices
    from memsched.handlers.table import MemoryFunction

log = get_logger(__name__)

_OPERATOR_NEEDED_SECONDS = 30.0
_CONTESTED_SECONDS = 0.2


async def handle(
    function: MemoryFunction,
    shared: LazyServices,
    needs: Permission,
    messages: list[ScheduleMessageItem],
    ctx: HandlerContext,
) -> None:
    """Call ``function`` with the cube of the messages, if their user may.

    The permission is resolved here, once for all messages of the call; the functions get what was found. A follow-up
    is a message of its own, and so is asked again: between two messages a share may be revoked.

    Who may not: the messages go to the dead letters with that reason. No store or model there, or too many who write at
    once: they wait, which uses up none of their retries, however long it lasts.
    """
    first = messages[0]
    try:
        services = await shared.get()
        cube = await services.cubes.view(first.user_id, first.mem_cube_id, needs)
        cube = replace(cube, emptied=await services.tombstones.emptied(cube.ref))
        ctx.cube = (cube.ref.user_id, cube.ref.mem_cube_id)
        if current := await _current(services, cube, messages, ctx):
            await function(services, cube, current, ctx)
    except (CubeForbidden, UnknownCube, InvalidId, InvalidMessage) as error:
        for message in messages:
            ctx.fail(message, error)
    except (StoreUnavailable, EmbeddedServerError) as error:
        _retry_later(messages, ctx, error, shared.settings.store_retry_after_seconds)
    except HotStateContested as error:
        _retry_later(messages, ctx, error, _CONTESTED_SECONDS)
    except EmbeddingError as error:
        _retry_later(messages, ctx, error, _until_embedding_helps(error, shared.settings))
    except (EmbedderMismatch, SchemaTooNew, SettingsError) as error:
        _retry_later(messages, ctx, error, _OPERATOR_NEEDED_SECONDS)


async def _current(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> list[ScheduleMessageItem]:
    """The messages submitted after all of the cube was deleted last. The others are over, and leave nothing."""
    current = [each for each in messages if not cube.emptied or ctx.submitted_ms(each) > cube.emptied]
    over = [each for each in messages if each not in current]
    for message in over:
        with suppress(InvalidMessage):
            item_id = str((message.info or {}).get("read_for") or message.item_id)
            await services.writer.take_back(cube.ref, {item_id: turns_of(message)}, message.user_id)
    if over:
        log.info(
            "all of the cube was deleted after these messages were submitted; they are over",
            action="memory.deleted_before",
            count=len(over),
            label=over[0].label,
            user_id=over[0].user_id,
            mem_cube_id=over[0].mem_cube_id,
        )
    return current


def _until_embedding_helps(error: EmbeddingError, settings: Settings) -> float:
    """Seconds."""
    if not error.temporary:
        return _OPERATOR_NEEDED_SECONDS
    asked = min(error.retry_after or 0.0, settings.retry_cap_ms / 1000)
    return max(asked, settings.store_retry_after_seconds)


def _retry_later(messages: Sequence[ScheduleMessageItem], ctx: HandlerContext, error: Exception, delay: float) -> None:
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
