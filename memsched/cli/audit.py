"""`memsched audit`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.cli.shared_options import AsJson, Prefix, RedisUrl, parse_age
from memsched.cli.tool_settings import tool_settings
from memsched.console.output import console
from memsched.escaping import plain
from memsched.memory.access.audit import Audit, AuditEntry, AuditFilter

_SHOWN_IDS = 3


def audit(
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="Only what was done for them.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", "-k", metavar="ID", help="Only with this API key, and what it minted.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", "-a", help="Only what has this in it: DELETE, /v1/prompt.")
    ] = None,
    since: Annotated[
        float | None, typer.Option("--since", metavar="AGE", parser=parse_age, help="Only as old: 15m, 2h, 7d.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then those that come, until Ctrl-C.")] = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Show who read and changed what over HTTP, oldest first. --json prints one JSON document per line."""
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    which = AuditFilter(user, key, action, 0.0 if since is None else time.time() - since)
    show = _show_json if as_json else _show

    async def run() -> None:
        server = await Server.connect(settings)
        try:
            log = Audit(server, Keys(settings.prefix), settings.audit_maxlen)
            found = await log.read(which, limit)
            show(found)
            if not (found or follow or as_json):
                console().print("nothing is in the audit that fits")
            if follow:
                async for entry in log.follow(which):
                    show([entry])
        finally:
            await server.aclose()

    asyncio.run(run())


def _show_json(entries: Sequence[AuditEntry]) -> None:
    for entry in entries:
        typer.echo(json.dumps(entry.as_dict(), ensure_ascii=False))


def _show(entries: Sequence[AuditEntry]) -> None:
    """One line each, so that those that come stand under those that were there."""
    for entry in entries:
        ids = ", ".join(each[:8] for each in entry.ids[:_SHOWN_IDS])
        more = f" and {len(entry.ids) - _SHOWN_IDS} more" if len(entry.ids) > _SHOWN_IDS else ""
        who = " ".join(
            filter(None, (entry.key_id and f"key={entry.key_id}", entry.user_id and f"user={entry.user_id}"))
        )
        about = " ".join(filter(None, (entry.cube and f"cube={entry.cube}", ids and f"ids={ids}{more}")))
        parts = (f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.action, entry.outcome, who, about)
        typer.echo("  ".join(plain(each) for each in parts if each))
