"""The epoch: a random word at the server. When another stands there, or none, the server was emptied in between."""

from __future__ import annotations

from uuid import uuid4

from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text


def begun_epoch(keys: Keys) -> Command[str]:
    """The epoch of the server, which begins now if there is none."""
    new = uuid4().hex
    return Command(("SET", keys.epoch, new, "NX", "GET"), lambda old: new if old is None else as_text(old))


def current_epoch(keys: Keys) -> Command[str]:
    """The epoch of the server; '' if there is none."""
    return Command(("GET", keys.epoch), lambda word: "" if word is None else as_text(word))
