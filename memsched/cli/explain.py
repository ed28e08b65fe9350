"""`memsched explain`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from memsched.cli.at_cube import at_cube, whole_id
from memsched.cli.memory_table import short_id, shortened
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from memsched.tiers.explanation import Explanation, MemoryExplained
    from memsched.tiers.moves import Move

_MOVES_SHOWN = 12
_ARCHIVED = {
    "cold": "nothing needed it for long",
    "capacity": "there were too many",
    "asked": "somebody asked for it",
    "merged": "another one says the same",
}


def explain(
    user: User,
    cube: Cube,
    memory: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="A memory (the first characters of its id): why it stands where it does.",
            show_default=False,
        ),
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
    async with at_cube(settings, user, cube) as scheduler:
        memory_id = None if memory is None else await whole_id(scheduler, user, cube, memory)
        return await scheduler.explain(user, cube, memory_id)


def _print_cube(out: Console, found: Explanation) -> None:
    at = f"{found.at:%Y-%m-%d %H:%M} UTC" if found.at else "nothing was told yet"
    size = found.capacities["working"]
    sizes = f"{found.sizes['working']} of {size} in the working set (MEMSCHED_WORKING_SET_SIZE is {size} here)"
    sizes += f", {found.sizes['pinned']} of {found.capacities['pinned']} pinned, {found.sizes['activated']} activated"
    out.print(as_text(f"{at}: {sizes}, {found.sizes['near']} may be near, {found.sizes['archived']} archived"))
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
    _print_set(out, found)
    for sentence in found.activation.said:
        out.print(as_text(sentence))
    _print_moves(out, found.moves, found.texts)


def _print_set(out: Console, found: Explanation) -> None:
    table = new_table()
    for name in ("working set", "told"):
        table.add_column(name, no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    table.add_column("memory", overflow="fold")
    for each in found.working_set:
        said = shortened(found.texts.get(each.memory_id, each.text))
        cells = (
            short_id(each.memory_id),
            f"{each.local_at:%Y-%m-%d}",
            f"{each.score:.4f}",
            ", ".join(each.sources),
            said,
        )
        table.add_row(*map(as_text, cells))
    if found.working_set:
        out.print(table)


def _print_memory(out: Console, memory: MemoryExplained) -> None:
    tags = [name for name, holds in (("pinned", memory.pinned), ("activated", memory.activated)) if holds]
    out.print(as_text(memory.text, "bold"))
    tier = f"{memory.tier} ({_ARCHIVED.get(memory.archived_because)})" if memory.archived_because else memory.tier
    out.print(as_text(f"{memory.memory_id}: {', '.join([tier, *tags])}"))
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
    _print_moves(out, memory.moves, {})
    out.print(as_text(memory.outlook))


def _print_moves(out: Console, moves: list[Move], texts: dict[str, str]) -> None:
    for move in moves[-_MOVES_SHOWN:]:
        what = ""
        if move.subject == "memory" and move.subject_id in texts:
            what = f"{short_id(move.subject_id)} \u201c{shortened(texts[move.subject_id])}\u201d: "
        out.print(as_text(f"{move.at:%Y-%m-%d}  {move.from_tier} to {move.to_tier}: {what}{move.why}"))


def _shares(shares: dict[str, float], digits: int = 2) -> str:
    return ", ".join(f"{name} {share:.{digits}f}" for name, share in shares.items()) or "none"
