"""Extension points: what other packages put in the place of a part of memsched, found by its name.

A package declares an entry point of the part's group (``memsched.strategies``, ...), and a setting names it. A setting
may also say ``module:attribute``, as an entry point does, for what is no package yet.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from importlib import metadata
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from memsched.errors import SettingsError


def extension(setting: str, group: str, name: str, methods: tuple[str, ...], shipped: Mapping[str, Any]) -> Any:
    """The object that a setting names; of a class, an instance made without arguments.

    Raises SettingsError, which names what there is, for a name that nobody has, and for what cannot be loaded or used.

    Args:
        setting: the environment variable, for the error.
        methods: what it must have.
        shipped: memsched's own, by name; they are never replaced.
    """
    if name in shipped:
        return _made(shipped[name])
    others = {each.name: each for each in entry_points(group=group)}
    if name not in others and ":" not in name:
        known = ", ".join(sorted({*shipped, *others})) or "none"
        raise SettingsError(
            [f"{setting}: there is no {name!r} (entry points of {group}, or module:attribute); there are: {known}."]
        )
    point = others.get(name) or EntryPoint(name, name, group)
    if not point.pattern.match(point.value):
        raise SettingsError([f"{setting}={name} must be module:attribute, or the name of an entry point of {group}."])
    try:
        found = _made(point.load())
    except (Exception, SystemExit) as error:  # whatever the code of others raises
        raise SettingsError([f"{setting}={name} cannot be loaded: {_why(error)}."]) from error
    if lacking := [method for method in methods if not callable(getattr(found, method, None))]:
        raise SettingsError([f"{setting}={name} is a {type(found).__name__} without {', '.join(lacking)}()."])
    if waiting := [method for method in methods if _waits(getattr(found, method))]:
        raise SettingsError([f"{setting}={name}: {waiting[0]}() is async; it must be a plain function."])
    return found


def _why(error: BaseException) -> str:
    """What Python itself says of it; of what the code of others raised only where, for its words may hold a secret."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, (ImportError, SyntaxError)) or place.filename in (__file__, metadata.__file__):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} in {place.filename}, line {place.lineno} (its words are not shown)"


def _waits(method: Any) -> bool:
    return any(inspect.iscoroutinefunction(each) for each in (method, getattr(method, "__call__", None)))  # noqa: B004


def _made(found: Any) -> Any:
    return found() if isinstance(found, type) else found
