"""`memsched search`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memsched.cli.at_cube import at_cube
from memsched.cli.memory_table import short_id, shortened
from memsched.cli.shared_options import AsJson, Cube, Prefix, RedisUrl, User
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.memory.model import with_question
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.memory.search.arguments import FoundWord, SearchResult

_OPERATORS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}
_FILTER = re.compile(r"\s*(?P<name>[^=<>]*[^=<>\s])\s*(?P<operator>>=|<=|=|>|<)\s*(?P<value>.*)", re.DOTALL)


def search(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="What the memories are about.")],
    user: User,
    cube: Cube,
    top: Annotated[int, typer.Option("--top", "-k", min=0, max=1000, metavar="N", help="So many at most.")] = 10,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="As of this time, what held then: 2026-05-01, 2026-05-01T10:30:00Z."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="With this tag; several: with any of them.")] = None,
    session: Annotated[
        list[str] | None, typer.Option("--session", metavar="ID", help="Of this conversation, or of any of several.")
    ] = None,
    speaker: Annotated[list[str] | None, typer.Option("--speaker", help="Said by them, in any case.")] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help="By metadata: also >, >=, <, <= with a number; =, several times with one name: any of them. "
            "Or a whole filter as JSON (docs/http.md#filters).",
        ),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", min=0, max=1, metavar="P", help="Only what fits as probably as this.")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Say which words found each, and from which turn.")] = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Find memories of a cube and their ids, in the archive too: for `pin`, `archive`, `restore` and `explain`."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    args = {
        "include_archived": True,
        "explain": why,
        "at": at and _time(at),
        "tags": tag or [],
        "session_id": session or [],
        "speaker": speaker or [],
        "filter": _filter(given or []),
        "min_score": min_score or 0.0,
    }
    found = asyncio.run(_search(settings, user, cube, " ".join(words), top, args))
    if as_json:
        typer.echo(json.dumps([_as_json(each, why=why) for each in found], ensure_ascii=False))
    else:
        _print(found, why=why)


async def _search(
    settings: Settings, user: str, cube: str, query: str, top: int, args: dict[str, Any]
) -> list[SearchResult]:
    async with at_cube(settings, user, cube) as scheduler:
        return await scheduler.retriever.search(query, user, cube, top_k=top, search_args=args)


def _filter(given: Sequence[str]) -> dict[str, Any]:
    """What ``--filter`` says, as a search has it. A value is JSON (a number, true, "a text"), or else a text."""
    found: dict[str, Any] = {}
    whole: list[Any] = []
    for each in given:
        if each.startswith("{"):
            whole.append(_whole(each))
            continue
        if (read := _FILTER.fullmatch(each)) is None:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE", param_hint="--filter")
        name, operator, value = read["name"], read["operator"], _value(read["value"])
        before = found.setdefault(name, [] if operator == "=" else {})
        if isinstance(before, list) != (operator == "="):
            raise typer.BadParameter(f"{name} is asked for by its value and by its size", param_hint="--filter")
        if isinstance(before, list):
            before.append(value)
        else:
            before[_OPERATORS[operator]] = value
    return {"and": [found, *whole]} if whole else found


def _whole(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"it begins with {{ and is no JSON: {error}", param_hint="--filter") from error


def _time(text: str) -> datetime:
    """Without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        wanted = "a day (2026-05-01), or a time (2026-05-01T10:30:00Z)"
        raise typer.BadParameter(f"{text!r} is no time: write {wanted}", param_hint="--at") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _as_json(result: SearchResult, *, why: bool) -> dict[str, Any]:
    told = {
        **result.item.model_dump(mode="json"),
        "score": result.score,
        "points": result.points,
        "parts": result.parts,
    }
    return {**told, "found_by": [asdict(each) for each in result.found_by]} if why else told


def _print(found: Sequence[SearchResult], *, why: bool) -> None:
    table = new_table()
    for name in ("id", "told"):
        table.add_column(name, no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("memory", overflow="fold")
    for each in found:
        memory = each.item
        state = f"archived: {memory.archived_because or 'merged'}" if memory.status == "archived" else ""
        if memory.superseded_by is not None and not state:
            state = f"corrected by {short_id(memory.superseded_by)}"
        elif memory.may_be_revised_by and not state:
            state = f"may be revised by {', '.join(map(short_id, memory.may_be_revised_by))}"
        said = shortened(with_question(memory.indexed_text, each.asked))
        row = (short_id(memory.memory_id), f"{memory.local_at:%Y-%m-%d}", f"{each.score:.2f}", state, said)
        table.add_row(*map(as_text, row))
        for reason in _reasons(each) if why else ():
            table.add_row("", "", "", "", as_text(reason))
    console().print(table if found else "nothing was found")


def _reasons(result: SearchResult) -> list[str]:
    """The parts of a score, and the words with the turns that they are from."""
    lines = ["  = " + " + ".join(f"{value:.2f} {name}" for name, value in result.parts.items())]
    own = [f"{each.word} {each.points:.2f}" for each in result.found_by if not each.ahead]
    if own:
        lines.append(f"  its own words: {', '.join(own)}")
    turns: dict[str, list[FoundWord]] = {}
    for each in result.found_by:
        if each.ahead:
            turns.setdefault(each.memory_id, []).append(each)
    for words_of_it in turns.values():
        first = words_of_it[0]
        steps = f"{abs(first.ahead)} turn{'s' * (abs(first.ahead) > 1)} {'before' if first.ahead > 0 else 'after'}"
        listed = ", ".join(f"{each.word} {each.points:.2f}" for each in words_of_it)
        lines.append(f"  from {steps}: {listed}" + (f" (\u201c{shortened(first.text)}\u201d)" if first.text else ""))
    return lines
