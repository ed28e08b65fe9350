"""`memsched activation files`: what llama.cpp's server keeps on disk of cubes' prompts."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from memsched.activation.files import SlotFiles, cube_hash
from memsched.activation.place import all_files_of, files_of
from memsched.cli.shared_options import AsJson
from memsched.console.output import as_text, console, new_table
from memsched.errors import SettingsError
from memsched.settings import Settings

_SHOWN_HASH = 12

files = typer.Typer(help="What llama.cpp's server keeps on disk of cubes' prompts.", no_args_is_help=True)


@files.command("list")
def list_files(as_json: AsJson = False) -> None:
    """Show the files, those of the most used cubes first. They name no cube: `cube` is a hash.

    Also those of models of before, in the same embedded folder.
    """
    _folder()
    now = time.time()
    found = [each for folder in all_files_of(Settings.load()) for each in folder.all()]
    found.sort(key=lambda each: -each.value(now))
    rows = [
        {
            "cube": each.cube,
            "key": each.key,
            "tokens": each.tokens,
            "megabytes": round(each.size / 1024**2, 1),
            "saved_at": _said(each.saved_at),
            "needed_at": _said(each.touched_at),
            "value": round(each.value(now), 2),
        }
        for each in found
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        console().print("no files")
        return
    table = new_table()
    for name in ("cube", "key", "tokens", "MB", "saved at", "needed at", "value"):
        table.add_column(name)
    for row in rows:
        cube, key, *rest = row.values()
        table.add_row(*map(as_text, (str(cube)[:_SHOWN_HASH], str(key)[:_SHOWN_HASH], *rest)))
    console().print(table)


@files.command("remove")
def remove(
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="The cube's owner.")] = None,
    cube: Annotated[str | None, typer.Option("--cube", "-c", metavar="ID", help="The cube.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all cubes.")] = False,
) -> None:
    """Delete a cube's files, or all. The server reads those prompts anew when they are needed."""
    if everything == (user is not None or cube is not None) or (user is None) != (cube is None):
        raise typer.BadParameter("name one cube by both, or --all", param_hint="--user and --cube")
    gone = 0
    for folder in all_files_of(Settings.load()) or [_folder()]:
        names = [each.cube for each in folder.all()] if everything else [cube_hash(str(user), str(cube))]
        gone += sum(len(folder.forget(each)) for each in dict.fromkeys(names))
    typer.echo("1 file was deleted." if gone == 1 else f"{gone} files were deleted.")


def _folder() -> SlotFiles:
    settings = Settings.load()
    found = files_of(settings)
    if found is None:
        why = "MEMSCHED_ACTIVATION_FILES_MB is 0"
        if settings.activation_files_mb:
            why = "MEMSCHED_ACTIVATION_FILES is not set, and no server of our own (MEMSCHED_LLM_BASE_URL, _MODEL)"
        raise SettingsError([f"{why}: nothing is kept on disk."])
    return found


def _said(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
