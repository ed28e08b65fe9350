"""The journal of requests to forget: what was said before one, and comes after it, is put away like the rest.

An import may tell the newest first, and messages overtake each other. So each request is written down before anybody
looks for what it names, and whoever stores something looks here afterwards: one of the two sees the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_texts
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_requests import ForgetRequest, names
from memsched.memory.ingest.forgettable import Asker
from memsched.memory.model import from_ms, to_ms

REQUESTS_KEPT = 1_000
"""Of a cube, those that were said last: each a few hundred bytes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made, and by whom and when.

    Args:
        request: None: somebody undid it.
        trigrams: of its turn, by which it is known when its history is told again.
    """

    request: ForgetRequest | None
    asker: Asker
    trigrams: tuple[str, ...] = ()


class ForgetJournal:
    """A sorted set of the cube's, by the times of the requests, without what else their turns said.

    What a request names is in it. So with a memory that is deleted for good the requests go that name it, and with one
    that is restored too: that request does not hold any more.
    """

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def write(self, ref: CubeRef, asked: Sequence[Asked]) -> None:
        """Write requests down; once more, it changes nothing."""
        laid = [part for each in asked for part in (to_ms(each.asker.at), _to_text(each))]
        if laid:
            key = self._key(ref)
            commands = [("ZADD", key, *laid), ("ZREMRANGEBYRANK", key, 0, -REQUESTS_KEPT - 1)]
            await self._server.persistently(
                lambda: self._server.run([Command(each, lambda reply: reply) for each in commands])
            )

    async def since(self, ref: CubeRef, at: datetime) -> list[Asked]:
        """The requests of then or later, the oldest first, but for those that were undone."""
        return [each for each in map(_of_text, await self._texts(ref, to_ms(at))) if each.request is not None]

    async def first_told(self, ref: CubeRef, trigrams: Sequence[str]) -> Asked | None:
        """The first request that was made in the same place of a history, also if it was undone since."""
        told = set(trigrams)
        asked = map(_of_text, await self._texts(ref, "-inf")) if told else ()
        return next((each for each in asked if told.intersection(each.trigrams)), None)

    async def undo(self, ref: CubeRef, texts: Sequence[str]) -> None:
        """Strike out the requests that name one of these."""
        kept = {each: _of_text(each) for each in await self._texts(ref, "-inf")} if texts else {}
        void = {
            name: each
            for name, each in kept.items()
            if each.request is not None and any(names(each.request, text) for text in texts)
        }
        if void:
            await self.write(ref, [replace(each, request=None) for each in void.values()])
            await self._server.persistently(lambda: self._server.execute("ZREM", self._key(ref), *void))

    async def forget(self, ref: CubeRef) -> None:
        """Of a cube that was emptied."""
        await self._server.persistently(lambda: self._server.execute("DEL", self._key(ref)))

    async def _texts(self, ref: CubeRef, least: int | str) -> list[str]:
        command = Command(("ZRANGEBYSCORE", self._key(ref), least, "+inf"), as_texts)
        return await self._server.persistently(lambda: self._server.call(command))

    def _key(self, ref: CubeRef) -> str:
        return self._keys.cube(ref.user_id, ref.mem_cube_id).asked


def _to_text(asked: Asked) -> str:
    each = () if asked.request is None else asked.request.each
    requests = [{**asdict(one), "rest": "", "more": ()} for one in each]
    asker = {**asdict(asked.asker), "at": to_ms(asked.asker.at)}
    return json.dumps({"requests": requests, "asker": asker, "trigrams": asked.trigrams}, sort_keys=True)


def _of_text(text: str) -> Asked:
    kept: Mapping[str, Any] = json.loads(text)
    asker = Asker(**{**kept["asker"], "at": from_ms(kept["asker"]["at"])})
    requests = [ForgetRequest(**{**each, "more": ()}) for each in kept["requests"]]
    request = replace(requests[0], more=tuple(requests[1:])) if requests else None
    return Asked(request, asker, tuple(kept.get("trigrams", ())))
