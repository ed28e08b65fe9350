"""`memsched keys ...`: the API keys of the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.exit_codes import complain
from memsched.cli.shared_options import AsJson, Prefix, RedisUrl, parse_age
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import as_text, console, new_table
from memsched.console.terminal import duration
from memsched.escaping import plain
from memsched.memory.access.api_keys import ApiKeys, KeyInfo, Role
from memsched.settings import Settings

keys = typer.Typer(help="API keys of the service: create, list or revoke them.", no_args_is_help=True)


@keys.command()
def create(
    role: Annotated[Role, typer.Option("--role", "-r", help="What it is for (docs/access.md).")] = Role.USER,
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="Of a user key: whose it is.")] = None,
    users: Annotated[
        str | None,
        typer.Option("--users", metavar="PATTERN", help="Of an app key: for whom it acts, such as 'acme-*'."),
    ] = None,
    reading_as: Annotated[
        list[str] | None,
        typer.Option("--reading-as", metavar="ROLE", help="A role of the access policy; may be given several times."),
    ] = None,
    name: Annotated[str, typer.Option("--name", "-n", metavar="TEXT", help="For people: where it is used.")] = "",
    ttl: Annotated[
        float | None,
        typer.Option("--ttl", metavar="AGE", parser=parse_age, help="It expires after that: 12h, 30d. Default: never."),
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Make an API key. It is printed once, and can never be shown again; what it is goes to stderr."""
    if role is Role.USER and not user:
        raise typer.BadParameter("give --user ID (with --role app: --users PATTERN)", param_hint="--user")
    if role is Role.APP and not users:
        raise typer.BadParameter("give --users PATTERN, such as 'acme-*', or '*' for everybody", param_hint="--users")
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> tuple[str, KeyInfo]:
        async with _api_keys(settings) as api_keys:
            return await api_keys.create(
                role, user_id=user, users=users, reading_as=reading_as or (), name=name, ttl=ttl
            )

    token, made = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps({"token": token, **_as_dict(made)}, ensure_ascii=False))
        return
    typer.echo(token)
    until = f", until {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else ""
    typer.echo(
        f"key {made.key_id} of the role {made.role}{_for_whom(made)}{until}; keep it, it is not shown again", err=True
    )


@keys.command("list")
def list_(
    minted: Annotated[bool, typer.Option("--minted", help="Also those that app keys minted.")] = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """List the API keys that are good now, the oldest first. --json prints one JSON document per line."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> list[KeyInfo]:
        async with _api_keys(settings) as api_keys:
            return await api_keys.list()

    found = asyncio.run(run())
    shown = [each for each in found if minted or not each.minted_by]
    if as_json:
        for each in shown:
            typer.echo(json.dumps(_as_dict(each), ensure_ascii=False))
    else:
        _print(shown, hidden=len(found) - len(shown))


@keys.command()
def revoke(
    key_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of keys, as `list` shows them.")],
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """End API keys, and what they minted: every process refuses them within 5 s."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)

    async def run() -> list[str]:
        async with _api_keys(settings) as api_keys:
            return [each for each in key_ids if not await api_keys.revoke(each)]

    missing = asyncio.run(run())
    for each in key_ids:
        if each not in missing:
            typer.echo(f"{plain(each)} is revoked")
    if missing:
        complain(f"there is no key {', '.join(map(plain, missing))}; `memsched keys list` shows their ids.")
        raise typer.Exit(1)


@asynccontextmanager
async def _api_keys(settings: Settings) -> AsyncIterator[ApiKeys]:
    server = await Server.connect(settings)
    try:
        yield ApiKeys(server, Keys(settings.prefix))
    finally:
        await server.aclose()


def _as_dict(info: KeyInfo) -> dict[str, Any]:
    def moment(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat(timespec="seconds")

    return {
        "key_id": info.key_id,
        "role": info.role,
        "user_id": info.user_id,
        "users": info.users,
        "reading_as": sorted(info.reading_as),
        "name": info.name,
        "created_at": moment(info.created_at),
        "expires_at": moment(info.expires_at),
        "last_used_at": moment(info.last_used_at),
        "minted_by": info.minted_by,
    }


def _for_whom(info: KeyInfo) -> str:
    whom = info.user_id or info.users
    return f" for {plain(whom)}" if whom else ""


def _print(found: Sequence[KeyInfo], *, hidden: int) -> None:
    now = datetime.now(UTC)
    table = new_table()
    for name in ("id", "role", "for", "reading as", "name", "expires", "last used"):
        table.add_column(name, no_wrap=name == "id", overflow="fold")
    for each in found:
        expires = "never" if each.expires_at is None else f"in {duration((each.expires_at - now).total_seconds())}"
        used = each.last_used_at
        table.add_row(
            *map(
                as_text,
                (
                    each.key_id,
                    each.role,
                    each.user_id or each.users,
                    ", ".join(sorted(each.reading_as)),
                    each.name,
                    expires,
                    "not yet" if used is None else f"{duration(max(0.0, (now - used).total_seconds()))} ago",
                ),
            )
        )
    console().print(table if found else "no keys: without one, only this machine is served (memsched keys create)")
    if hidden:
        typer.echo(f"and {hidden} that app keys minted (--minted)")
