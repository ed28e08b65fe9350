"""Which lanes there are: the set of their names, and their streams with the consumer group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from memsched.broker.client import Server, answered
from memsched.broker.keys import GROUP, Keys, Lane
from memsched.broker.scripting import Command, as_int, as_text, as_texts

T = TypeVar("T")


async def register_lanes(server: Server, keys: Keys, lanes: Sequence[Lane]) -> None:
    """Make lanes known to workers and to the status."""
    await server.persistently(lambda: server.call(register_lanes_command(keys, lanes)))


def register_lanes_command(keys: Keys, lanes: Iterable[Lane]) -> Command[int]:
    return Command(("SADD", keys.lanes, *(lane.name for lane in lanes)), as_int)


async def known_lanes(server: Server, keys: Keys) -> list[Lane]:
    """All lanes that ever had a message or a worker, by name."""
    return await server.call(known_lanes_command(keys))


def known_lanes_command(keys: Keys) -> Command[list[Lane]]:
    return Command(("SMEMBERS", keys.lanes), lambda names: [keys.lane_named(name) for name in sorted(as_texts(names))])


async def ask_every_lane(
    server: Server,
    keys: Keys,
    ask: Callable[[Lane], Command[T]],
    *,
    these_too: Iterable[Lane] = (),
    and_ask: Sequence[Command[Any]] = (),
) -> tuple[dict[Lane, T | Exception], list[Any]]:
    """The answer of every known lane, and the replies to ``and_ask``, at one instant (on a Cluster: nearly).

    In place of an answer that the server refused: why it did.

    One instant, because a message may go from lane to lane: looked at one after another, it might be seen nowhere.
    """
    known = await known_lanes(server, keys)
    while True:
        lanes = list(dict.fromkeys((*known, *these_too)))
        before, *replies = await server.run_at_one_instant([known_lanes_command(keys), *and_ask, *map(ask, lanes)])
        if answered(before) == known:
            return dict(zip(lanes, replies[len(and_ask) :], strict=True)), replies[: len(and_ask)]
        known = answered(before)


_TYPES = {
    "stream": "stream",
    "delayed": "zset",
    "dead": "stream",
    "users": "hash",
    "parked": "hash",
    "outbox": "hash",
    "stats": "hash",
}


async def wrong_keys(server: Server, lane: Lane) -> list[str]:
    """The keys of a lane that hold something else than they should, and what."""
    keys = {getattr(lane, name): kind for name, kind in _TYPES.items()}
    found = await server.run([Command(("TYPE", key), as_text) for key in keys])
    told = zip(keys.items(), found, strict=True)
    return [f"{key} is a {kind}, not a {wanted}" for (key, wanted), kind in told if kind not in (wanted, "none")]


async def ensure_groups(server: Server, lanes: Sequence[Lane]) -> None:
    """Create the lanes' streams and groups where they are missing. A new group starts with the oldest entry.

    Raises ServerRefused if that was refused for all of them. One whose key another program uses keeps nobody from the
    others; who reads it learns of it.
    """
    create = [Command(("XGROUP", "CREATE", lane.stream, GROUP, "0", "MKSTREAM"), lambda reply: reply) for lane in lanes]
    replies = await server.run(create) if create else []
    refused = [reply for reply in replies if isinstance(reply, Exception) and not str(reply).startswith("BUSYGROUP")]
    if replies and len(refused) == len(replies):
        answered(refused[0])
