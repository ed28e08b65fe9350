"""The pipeline: what the duties of a worker ask of the server goes in one round trip, each reply to whoever asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from memsched.broker.client import Server
from memsched.broker.scripting import Command


@dataclass(frozen=True, slots=True)
class Request:
    """One command, and what is done with its parsed reply. Not called when the server refused the command.

    Args:
        put_off: told when the server refused it: until when (loop.time()) not to ask again.
    """

    command: Command[Any]
    receive: Callable[[Any], None]
    put_off: Callable[[float], None] | None = None


def one_way(command: Command[Any]) -> Request:
    """A command whose reply says nothing."""
    return Request(command, lambda _: None)


async def send(
    server: Server, requests: Sequence[Request], on_refused: Callable[[Request, Exception], Awaitable[None]]
) -> None:
    """Send all requests in one round trip, and pass their replies on. Raises UnreachableError: nobody got a reply."""
    replies = await server.run([request.command for request in requests])
    for request, reply in zip(requests, replies, strict=True):
        if isinstance(reply, Exception):
            await on_refused(request, reply)
        else:
            request.receive(reply)
