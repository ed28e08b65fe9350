"""`memsched explain`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from memsched.tiers.explanation import Explanation, MemoryExplained
    from memsched.tiers.moves import Move

_MOVES_SHOWN = 12


def explain(
    user: User,
    cube: Cube,
    memory: Annotated[
        str | None, typer.Option("--memory", "-m", metavar="ID", help="A memory: why it stands where it does.")
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show what stands where in a cube, and why; of a memory also what would make it move.

    The time of all of it is that of the cube's latest message.
    """
    found = asyncio.run(_read(tool_settings(redis_url=redis_url, prefix=prefix), user, cube, memory))
    if as_json:
        typer.echo(found.model_dump_json())
        return
    out = console()
    if found.memory is not None:
        _print_memory(out, found.memory)
    else:
        _print_cube(out, found)


async def _read(settings: Settings, user: str, cube: str, memory: str | None) -> Explanation:
    scheduler = AsyncMemScheduler(settings)
    try:
        return await scheduler.explain(user, cube, memory)
    finally:
        await scheduler.stop()


def _print_cube(out: Console, found: Explanation) -> None:
    at = f"{found.at:%Y-%m-%d %H:%M} UTC" if found.at else "nothing was told yet"
    sizes = f"{found.sizes['working']} of {found.capacities['working']} in the working set"
    sizes += f", {found.sizes['pinned']} of {found.capacities['pinned']} pinned, {found.sizes['activated']} activated"
    out.print(as_text(f"{at}: {sizes}, {found.sizes['near']} near in all, {found.sizes['archived']} archived"))
    out.print(as_text(f"modes: {_shares(found.shares)}"))
    table = new_table()
    for name in ("theme", "state"):
        table.add_column(name, overflow="fold")
    for name in ("heat", "share", "memories"):
        table.add_column(name, justify="right")
    table.add_column("why", overflow="fold")
    for theme in found.themes:
        why = f"since {theme.since:%Y-%m-%d}: {theme.reason}" if theme.since else ""
        cells = (theme.label, theme.state, f"{theme.heat:.1f}", f"{theme.share:.2f}", len(theme.memory_ids), why)
        table.add_row(*map(as_text, cells))
    if found.themes:
        out.print(table)
    _print_moves(out, found.moves)


def _print_memory(out: Console, memory: MemoryExplained) -> None:
    tags = [name for name, holds in (("pinned", memory.pinned), ("activated", memory.activated)) if holds]
    out.print(as_text(memory.text, "bold"))
    out.print(as_text(f"{memory.memory_id}: {', '.join([memory.tier, *tags])}"))
    place = "not to be near" if memory.place is None else f"number {memory.place} by value"
    out.print(as_text(f"value {memory.value:.6f}, {place}; of it {_shares(memory.by_mode, 6)}"))
    used = f", last on {memory.last_used:%Y-%m-%d}" if memory.last_used else ""
    out.print(as_text(f"used by {memory.uses} answers{used}; credited by {len(memory.credited)} of the last 64"))
    if memory.theme is not None:
        theme = memory.theme
        out.print(as_text(f"theme {theme.label}: {theme.state}, heat {theme.heat:.1f}, share {theme.share:.2f}"))
    table = new_table()
    table.add_column("feature")
    table.add_column("is", justify="right")
    modes = list(memory.features[0].by_mode) if memory.features else []
    for mode in modes:
        table.add_column(mode, justify="right")
    for each in memory.features:
        row = (each.name, f"{each.value:.3f}", *(f"{each.by_mode[mode]:+.3f}" for mode in modes))
        table.add_row(*map(as_text, row))
    out.print(table)
    _print_moves(out, memory.moves)
    out.print(as_text(memory.outlook))


def _print_moves(out: Console, moves: list[Move]) -> None:
    for move in moves[-_MOVES_SHOWN:]:
        what = "" if move.subject == "theme" else f"{move.subject_id}: "
        out.print(as_text(f"{move.at:%Y-%m-%d}  {move.from_tier} to {move.to_tier}: {what}{move.why}"))


def _shares(shares: dict[str, float], digits: int = 2) -> str:
    return ", ".join(f"{name} {share:.{digits}f}" for name, share in shares.items()) or "none"
