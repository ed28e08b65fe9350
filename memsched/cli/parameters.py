"""`memsched parameters ...`: adapters of a cube: export, train, activate, roll back, revoke; and who consents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memsched.cli.at_cube import at_cube
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User, Yes, confirm
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.messages import PARAMETER_TRAIN_TASK_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.parameters.parameters import Parameters
    from memsched.parameters.record import Adapter, ParameterState

parameters = typer.Typer(
    help="Adapters: what is stable in a cube, in the weights of the model. The plain text always stays.",
    no_args_is_help=True,
)

AdapterId = Annotated[str, typer.Argument(metavar="ADAPTER", help="The adapter's id, as `list` shows it.")]


@parameters.command("list")
def list_(user: User, cube: Cube, as_json: AsJson = False, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Show a cube's adapters: what state each is in, what was measured, and which one answers."""

    async def read(found: Parameters, ref: CubeRef, _: AsyncMemScheduler) -> ParameterState:
        await found.sweep(ref)
        return await found.states.load(ref)

    state = _run(read, user, cube, redis_url, prefix)
    if as_json:
        typer.echo(state.model_dump_json())
    else:
        _print(state)


@parameters.command()
def export(
    user: User,
    cube: Cube,
    facts: Annotated[bool, typer.Option("--facts", help="Facts too; they serve the cube's owner alone.")] = False,
    shared: Annotated[
        bool, typer.Option("--shared", help="For all who may read the cube: only of those who consented.")
    ] = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Choose what is stable enough for weights, and write its data set. Needs no torch."""

    async def run(found: Parameters, ref: CubeRef, _: AsyncMemScheduler) -> tuple[Adapter, str]:
        adapter = await found.export(ref, facts=facts, scope="shared" if shared else "own")
        return adapter, str(found.folders.of(ref, adapter.adapter_id).data)

    adapter, folder = _run(run, user, cube, redis_url, prefix)
    if as_json:
        told = {"adapter_id": adapter.adapter_id, "members": adapter.members, "folder": folder}
        typer.echo(json.dumps({**told, "hash": adapter.data_hash}))
    else:
        typer.echo(f"adapter {adapter.adapter_id}: {len(adapter.members)} memories, in {folder}")


@parameters.command()
def train(adapter: AdapterId, user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Have a worker train an adapter (MEMSCHED_PARAMETER_COMMAND), and the gate judge it. Returns at once."""

    async def run(found: Parameters, ref: CubeRef, scheduler: AsyncMemScheduler) -> str:
        known = await found.to_be_trained(ref, adapter)
        message = ScheduleMessageItem(
            user_id=user, mem_cube_id=cube, label=PARAMETER_TRAIN_TASK_LABEL, content=known.adapter_id
        )
        await scheduler.submit_messages(message)
        return message.item_id

    item_id = _run(run, user, cube, redis_url, prefix)
    typer.echo(
        f"submitted: `memsched task show {item_id} -u {user}` tells how far a worker is, and "
        f"`memsched parameters list -u {user} -c {cube}` what the gate says"
    )


@parameters.command()
def activate(
    adapter: AdapterId,
    user: User,
    cube: Cube,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Only beside, unseen, on a share of the chats; it is counted how it does.")
    ] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Have the model's server load an adapter, and chats name it from the next one on."""

    async def run(found: Parameters, ref: CubeRef, _: AsyncMemScheduler) -> Adapter:
        return await found.activate(ref, adapter, shadow=shadow)

    done = _run(run, user, cube, redis_url, prefix)
    typer.echo(f"{done.adapter_id} is {done.state}: {done.name}")


@parameters.command()
def rollback(user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Go back to the adapter that was active before, or to none; from the next chat on."""

    async def run(found: Parameters, ref: CubeRef, _: AsyncMemScheduler) -> Adapter | None:
        return await found.rollback(ref)

    done = _run(run, user, cube, redis_url, prefix)
    typer.echo(f"{done.adapter_id} is active: {done.name}" if done else "no adapter is active any more")


@parameters.command()
def revoke(
    adapter: AdapterId, user: User, cube: Cube, yes: Yes = False, redis_url: RedisUrl = None, prefix: Prefix = None
) -> None:
    """Delete an adapter for good: weights, data set, and what the model's server loaded of it."""
    if not yes:
        confirm(f"Delete adapter {adapter} for good?")

    async def run(found: Parameters, ref: CubeRef, _: AsyncMemScheduler) -> Adapter:
        await found.revoke(ref, adapter)
        return await found.adapter(ref, adapter)

    done = _run(run, user, cube, redis_url, prefix)
    left = "; something is left of it for now, and workers try again to remove it" if done.files else ""
    typer.echo(f"{adapter} is revoked{left}")


@parameters.command()
def consent(user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Let what you say in a cube go into weights that answer all who may read it."""

    async def run(found: Parameters, ref: CubeRef, _: AsyncMemScheduler) -> None:
        await found.consent(ref, user)

    _run(run, user, cube, redis_url, prefix, strangers=True)
    typer.echo(f"{user} consents; `memsched parameters withdraw` takes it back")


@parameters.command()
def withdraw(user: User, cube: Cube, redis_url: RedisUrl = None, prefix: Prefix = None) -> None:
    """Take your consent back: adapters that your memories went into are revoked with it.

    Also in a cube that is shared with you no longer.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> None:
        async with _once_shared(settings, user, cube) as (found, ref):
            await found.withdraw(ref, user)

    asyncio.run(run())
    typer.echo(f"{user} does not consent any more")


def _run(
    call: Callable[[Any, CubeRef, AsyncMemScheduler], Awaitable[Any]],
    user: str,
    cube: str,
    redis_url: str | None,
    prefix: str | None,
    *,
    strangers: bool = False,
) -> Any:
    """What a call gives about the parameter memory of a cube of the user's own (``strangers``: or a shared one)."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> Any:
        async with _parameters_of(settings, user, cube, strangers) as (found, ref, scheduler):
            return await call(found, ref, scheduler)

    return asyncio.run(run())


@asynccontextmanager
async def _parameters_of(
    settings: Settings, user: str, cube: str, strangers: bool
) -> AsyncIterator[tuple[Parameters, CubeRef, AsyncMemScheduler]]:
    async with at_cube(settings, user, cube) as scheduler:
        services = await scheduler.memory()
        ref = await services.cubes.resolve(user, cube, Permission.READ)
        await services.deletion.finish(ref)
        if not strangers:
            services.parameters.refuse_strangers(ref, user)
        yield services.parameters, ref, scheduler


@asynccontextmanager
async def _once_shared(settings: Settings, user: str, cube: str) -> AsyncIterator[tuple[Parameters, CubeRef]]:
    """The same for what a user may undo, also where they may see nothing any more."""
    scheduler = AsyncMemScheduler(settings)
    try:
        services = await scheduler.memory()
        ref = await services.cubes.once_shared(user, cube)
        if ref is not None:
            await services.deletion.finish(ref)
            yield services.parameters, ref
            return
    finally:
        await scheduler.stop()
    async with _parameters_of(settings, user, cube, strangers=True) as (parameters, own, _):
        yield parameters, own


def _print(state: ParameterState) -> None:
    table = new_table()
    for name in ("adapter", "state", "for"):
        table.add_column(name, no_wrap=True)
    for name in ("memories", "held out", "sure tokens", "harm", "refused"):
        table.add_column(name, justify="right")
    table.add_column("beside: asked, agreed, failed", justify="right")
    table.add_column("why", overflow="fold")
    for each in state.adapters.values():
        figures, shadow = each.figures, each.shadow
        measured = ("", "", "", "")
        if figures is not None:
            shares = (figures.held_out, figures.answer_tokens, figures.controls_refused)
            known, sure, refused = (f"{share:.1%}" for share in shares)
            measured = (known, sure, f"{figures.harm:+.1%}", refused)
        beside = f"{shadow.asked}, {shadow.agreed}, {shadow.failed}" if shadow.asked else ""
        whom = "all readers" if each.scope == "shared" else "the owner"
        cells = (each.adapter_id, each.state, whom, len(each.members), *measured, beside, each.reason)
        table.add_row(*map(as_text, cells))
    console().print(table if state.adapters else "no adapters")
