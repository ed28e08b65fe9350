"""The options that several commands share."""

from __future__ import annotations

import re
from typing import Annotated

import typer

RedisUrl = Annotated[
    str | None, typer.Option("--redis-url", metavar="URL", help="Where the queue is (MEMSCHED_REDIS_URL).")
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", metavar="TEXT", help="First part of every key (MEMSCHED_PREFIX).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_age(text: str) -> float:
    """``90s``, ``15m``, ``2h``, ``7d`` (or seconds) as seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no age; write 90s, 15m, 2h or 7d.")
    return float(found[1]) * _SECONDS[found[2]]


def parse_rate(text: str) -> float:
    """``10``, ``10/s``, ``600/m`` as a number per second."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?", text.strip())
    if found is None or float(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no rate; write 10/s or 600/m.")
    return float(found[1]) / _SECONDS[found[2] or "s"]
