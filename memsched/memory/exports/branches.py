"""Of a tree of messages, edited and answered again, the branch that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shown(parents: Mapping[str, Any], leaf: Any = None) -> list[str]:
    """The messages up to the one that is shown last, in their order.

    What hangs together with that one and is not before it was edited or asked for again. Where a link is missing,
    nobody knows that of the rest: it is before, the branch of each part with the message that is last in it.

    Args:
        parents: of each message the one before, the oldest first.
        leaf: the one that is shown last; if it is none of them, the newest that nothing follows.
    """
    parts: dict[str, list[str]] = {}
    origins: dict[str, str] = {}
    for each in parents:
        parts.setdefault(_origin(each, parents, origins), []).append(each)
    followed = {each for each in parents.values() if isinstance(each, str)}
    last = [next((each for each in reversed(part) if each not in followed), part[-1]) for part in parts.values()]
    if not isinstance(leaf, str) or leaf not in parents:
        places = {each: place for place, each in enumerate(parents)}
        leaf = max(last, key=places.__getitem__, default="")
    others = [each for each in last if origins[each] != origins.get(leaf)]
    return [each for end in (*others, leaf) for each in _up_to(end, parents)]


def _origin(message: str, parents: Mapping[str, Any], origins: dict[str, str]) -> str:
    """What the links lead back to; of a circle, the same for all in it. What is found out stands in ``origins``."""
    way: list[str] = []
    at = message
    while at not in origins:
        origins[at] = at
        way.append(at)
        before = parents.get(at)
        if not isinstance(before, str):
            break
        at = before
    for each in way:
        origins[each] = origins[at]
    return origins[message]


def _up_to(end: str, parents: Mapping[str, Any]) -> list[str]:
    branch: dict[str, None] = {}
    at: Any = end
    while isinstance(at, str) and at in parents and at not in branch:
        branch[at] = None
        at = parents[at]
    return list(branch)[::-1]
