"""Pausing a label: workers take none of its messages until it is resumed. What runs ends; what comes is kept."""

from __future__ import annotations

from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys, escape
from memsched.broker.scripting import Command, as_text, script

_PAUSE = script("pause")


async def pause(server: Server, keys: Keys, label: str) -> bool:
    """Pause a label for all workers, those that start later too; whether it was not paused already."""
    return await server.persistently(lambda: server.call(_command(keys, label, "pause")))


async def resume(server: Server, keys: Keys, label: str) -> bool:
    """Let a label go on; whether it was paused."""
    return await server.persistently(lambda: server.call(_command(keys, label, "resume")))


def paused_command(keys: Keys) -> Command[frozenset[str]]:
    """Asks which labels are paused."""

    def parse(reply: Any) -> frozenset[str]:
        return frozenset(map(as_text, reply))

    return Command(("HKEYS", keys.paused), parse)


def _command(keys: Keys, label: str, what: str) -> Command[bool]:
    return _PAUSE.command([keys.paused], [what, label, keys.wake, escape(label)], bool)
