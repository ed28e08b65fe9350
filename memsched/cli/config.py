"""`memsched config`: the settings that are in force, and where each of them comes from."""

from __future__ import annotations

import json
import os
from textwrap import fill
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from memsched.broker.client import clients_for
from memsched.cli.shared_options import AsJson
from memsched.console.output import as_text, console, new_table
from memsched.env_file import read_env_file
from memsched.settings import ORIGINAL_SWITCHES, PREFIX, Settings

_HEAD = """\
# Every setting of memsched with its default. Copy this file to .env and take the # away from what you change; a
# variable of the environment wins over its line here. `memsched config` shows what is in force.
# Written from memsched/settings.py: memsched config --env-example
"""
_LINE = 110


def config(
    as_json: AsJson = False,
    env_example: Annotated[
        bool, typer.Option("--env-example", help="Print a file for .env with every variable and its default.")
    ] = False,
) -> None:
    """Show the settings that are in force, and where each comes from. Passwords are masked."""
    if env_example:
        typer.echo(env_file(), nl=False)
        return
    settings = Settings.load()
    if not settings.redis_url.startswith("embedded://"):
        clients_for(settings.redis_url, settings)  # what every other command would refuse is refused here too
    values = settings.shown()
    sources = {name: _source(name) for name in values}
    if as_json:
        document = {name: {"value": value, "source": sources[name]} for name, value in values.items()}
        typer.echo(json.dumps(document, indent=2))
        return
    _print_table(values, sources)


def _print_table(values: dict[str, Any], sources: dict[str, str]) -> None:
    table = new_table()
    table.add_column("variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for name, value in values.items():
        source = sources[name]
        style = "dim" if source == "default" else "bold"
        table.add_row(as_text(name, style), as_text(value, style), as_text(source, style))
    console().print(table)


def _source(name: str) -> str:
    """Where a setting comes from, in the order in which Settings looks."""
    in_file, in_environment = (
        {key.upper() for key, value in place.items() if value.strip()} for place in (read_env_file(), os.environ)
    )
    for places, source in ((in_environment, "environment"), (in_file, ".env")):
        if name in places:
            return source
    if name == f"{PREFIX}REDIS_URL":
        for switch in ORIGINAL_SWITCHES:
            for places, source in ((in_environment, "environment"), (in_file, ".env")):
                if switch in places:
                    return f"{switch} ({source})"
    return "default"


def env_file() -> str:
    """The text of .env.example. Everything in it is commented out: so it says the defaults and sets nothing."""
    return _HEAD + "".join(_entry(name, field) for name, field in Settings.model_fields.items())


def _entry(name: str, field: FieldInfo) -> str:
    comment = fill(meaning(field), _LINE, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return f"\n{comment}\n# {PREFIX}{name.upper()}={field.default}\n"


def meaning(field: FieldInfo) -> str:
    """What a setting is for, which values are allowed, and whether it is a secret: sentences for people."""
    told = [field.description or "", _limits(field)]
    if field.annotation is SecretStr:
        told.append("Secret.")
    return " ".join(filter(None, told))


def _limits(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal and (choices := get_args(field.annotation)):
        return f"One of {', '.join(f'`{choice}`' for choice in choices)}."
    said = {"gt": "Above", "ge": "At least", "lt": "below", "le": "at most"}
    bounds = {sign: getattr(limit, sign) for limit in field.metadata for sign in said if hasattr(limit, sign)}
    if not bounds:
        return ""
    if set(bounds) == {"ge", "le"}:
        return f"{bounds['ge']} to {bounds['le']}."
    return ", ".join(f"{said[sign]} {bound}" for sign, bound in bounds.items()) + "."
