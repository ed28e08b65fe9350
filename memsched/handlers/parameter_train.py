"""``parameter_train``: have the command of MEMSCHED_PARAMETER_COMMAND make an adapter, and let the gate judge it."""

from __future__ import annotations

import asyncio
from typing import Any

from memsched.broker.lock import Lock, LockHeld
from memsched.errors import InvalidMessage, SettingsError
from memsched.handlers.memory_events import event
from memsched.handlers.services import MemoryServices
from memsched.memory.access.cubes import CubeView
from memsched.messages import LONG_TERM_MEMORY_TYPE, ScheduleMessageItem
from memsched.parameters import dataset
from memsched.parameters.gate import Figures
from memsched.parameters.parameters import UnknownAdapter
from memsched.parameters.record import Adapter, AdapterState, WrongState
from memsched.parameters.training import TrainerPutsOff, TrainerRuns, name_of_weights, train
from memsched.worker.context import HandlerContext

_ANOTHER_RUNS_SECONDS = 15.0
_PUT_OFF_SECONDS = 300.0
_PUT_OFF_AT_MOST = 288
"""Times: for a day."""


async def parameter_train(
    services: MemoryServices, cube: CubeView, messages: list[ScheduleMessageItem], ctx: HandlerContext
) -> None:
    """``content`` is an adapter's id. One training at a time, of all workers; the others wait, at no cost.

    It is kept with the message that a training has begun: whoever takes the message over from a worker that died goes
    on in the same folders, with what the trainer had saved there.
    """
    for message in messages:
        try:
            services.parameters.refuse_strangers(cube.ref, message.user_id)
            await _train(services, cube, message, ctx)
        except (LockHeld, TrainerRuns) as error:
            ctx.retry(message, _ANOTHER_RUNS_SECONDS, str(error))
        except TrainerPutsOff as error:
            await _put_off(message, ctx, error)
        except (UnknownAdapter, WrongState, InvalidMessage, SettingsError) as error:
            ctx.fail(message, error)


async def _put_off(message: ScheduleMessageItem, ctx: HandlerContext, error: TrainerPutsOff) -> None:
    """Start the trainer again later, for a day."""
    kept = _kept(ctx)
    times = kept.get("put_off", 0) + 1
    if times > _PUT_OFF_AT_MOST:
        ctx.fail(message, error)
    else:
        await ctx.checkpoint({**kept, "training": message.content.strip(), "put_off": times}, message)
        ctx.retry(message, _PUT_OFF_SECONDS, str(error))


def _kept(ctx: HandlerContext) -> dict[str, Any]:
    return ctx.resume if isinstance(ctx.resume, dict) else {}


async def _train(services: MemoryServices, cube: CubeView, message: ScheduleMessageItem, ctx: HandlerContext) -> None:
    adapter = await services.parameters.adapter(cube.ref, message.content.strip())
    if adapter.state is AdapterState.EXPORTED:
        await ctx.checkpoint({**_kept(ctx), "training": adapter.adapter_id}, message)
        lock = Lock(services.server, services.training_key)
        adapter = await lock.during(_made(services, cube, adapter))
    elif adapter.state is AdapterState.TRAINED:  # somebody died between measuring and the gate
        adapter = await services.parameters.gate(cube.ref, adapter.adapter_id)
    elif ctx.resume is None:
        raise WrongState(adapter.adapter_id, adapter.state, "only one that is exported can be trained")
    figures = adapter.figures
    ctx.log(
        event(
            message,
            f"Adapter {adapter.adapter_id} is {adapter.state}{f': {adapter.reason}' if adapter.reason else ''}",
            from_type=LONG_TERM_MEMORY_TYPE,
            to_type=LONG_TERM_MEMORY_TYPE,
            metadata={"adapter_id": adapter.adapter_id, **(figures.model_dump() if figures else {})},
        )
    )


async def _made(services: MemoryServices, cube: CubeView, adapter: Adapter) -> Adapter:
    """The adapter after the trainer and the gate. Raises WrongState if it was revoked meanwhile."""
    parameters = services.parameters
    folder = parameters.folders.of(cube.ref, adapter.adapter_id)
    if not await asyncio.to_thread(dataset.is_whole, folder.data, adapter.data_hash):
        raise InvalidMessage(f"{folder.data} is not the data set that was exported; export it again")
    figures: Figures = await train(services.settings.parameter_command, folder, parameters.folders.lock)
    name = await asyncio.to_thread(name_of_weights, folder, figures, adapter.adapter_id)
    try:
        return await parameters.trained(cube.ref, adapter.adapter_id, name, figures)
    finally:
        await parameters.sweep(cube.ref)  # what was revoked while its trainer still wrote
