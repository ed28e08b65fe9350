"""Groups of commands of which each is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def lazy_group(places: Mapping[str, str]) -> type[TyperGroup]:
    """A group that imports the file of a command that is called; of all, where they are listed or one is called that is
    none.

    Args:
        places: by command, ``module:name`` of its function, or of its own group.
    """

    class LazyGroup(TyperGroup):
        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in self.commands:
                for name in [cmd_name] if cmd_name in places else places:
                    self.commands.setdefault(name, _imported(name, places[name]))
            return super().get_command(ctx, cmd_name)

        def list_commands(self, ctx: Any) -> list[str]:
            return [*places, *(name for name in super().list_commands(ctx) if name not in places)]

    return LazyGroup


def _imported(name: str, place: str) -> Any:
    """The command, or the group of commands, as click knows it."""
    module, _, attribute = place.partition(":")
    command: typer.Typer | Callable[..., None] = getattr(import_module(module), attribute)
    around = typer.Typer()
    if isinstance(command, typer.Typer):
        around.add_typer(command, name=name)
    else:
        around.command(name)(command)
    return typer.main.get_group(around).commands[name]
