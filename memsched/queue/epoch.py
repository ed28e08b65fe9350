"""The epoch: a random word at the server. When another stands there, or none, the server was emptied in between."""

from __future__ import annotations

from uuid import uuid4

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text


async def begun_epoch(server: Server, keys: Keys) -> str:
    """The epoch of the server, which begins now if there is none."""
    begin = Command(("SET", keys.epoch, uuid4().hex, "NX"), bool)
    began, epoch = await server.persistently(lambda: server.run([begin, _ask(keys)]))
    answered(began)
    return str(answered(epoch))


async def current_epoch(server: Server, keys: Keys) -> str:
    """The epoch of the server; '' if there is none."""
    return await server.persistently(lambda: server.call(_ask(keys)))


def _ask(keys: Keys) -> Command[str]:
    return Command(("GET", keys.epoch), lambda word: "" if word is None else as_text(word))
