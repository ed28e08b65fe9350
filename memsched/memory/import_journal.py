"""The journal of imports: what of which conversation a cube has, so that no second time brings it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text
from memsched.memory.access.permissions import CubeRef

DIGEST_CHARACTERS = 10
"""Of a message: 40 bits, among the messages of one conversation."""


class ImportJournal:
    """A hash of the cube's, on the queue's own server: what loses the messages loses it too. ``delete_all`` ends it.

    Asked and written for a few dozen conversations at once.
    """

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def known(self, ref: CubeRef, names: Sequence[str]) -> list[set[str]]:
        """By conversation, the digests of its messages that were brought in."""

        def parse(reply: Any) -> list[set[str]]:
            return [_digests("" if text is None else as_text(text)) for text in reply]

        command = Command(("HMGET", self._key(ref), *names), parse)
        return await self._server.persistently(lambda: self._server.call(command)) if names else []

    async def write(self, ref: CubeRef, digests: Mapping[str, set[str]]) -> None:
        """Write down all that was brought in of some conversations until now."""
        flat = [part for name, each in digests.items() for part in (name, "".join(sorted(each)))]
        if flat:
            await self._server.persistently(lambda: self._server.execute("HSET", self._key(ref), *flat))

    async def forget(self, ref: CubeRef) -> None:
        """Of a cube that was emptied: an import brings all of it in again."""
        await self._server.persistently(lambda: self._server.execute("DEL", self._key(ref)))

    def _key(self, ref: CubeRef) -> str:
        return self._keys.cube(ref.user_id, ref.mem_cube_id).imported


def _digests(text: str) -> set[str]:
    return {text[at : at + DIGEST_CHARACTERS] for at in range(0, len(text), DIGEST_CHARACTERS)}
