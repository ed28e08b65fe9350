"""Cache of the payloads that queries found lately, as JSON: reading and converting them is half of a query's cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import qdrant_edge as edge
from pydantic_core import to_json

MAX_BYTES = 64 * 1024 * 1024
ENTRY_BYTES = 300  # what an entry costs besides its text


class PayloadCache:
    """A cache that needs no invalidation: a point's version is the number of the
    last update that touched it, so id and version tell a payload."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[int, bytes]] = {}
        self._bytes = 0

    def clear(self) -> None:
        self._known.clear()
        self._bytes = 0

    def write(self, points: list[edge.ScoredPoint], read: Callable[[list[Any]], Iterable[edge.Record]]) -> bytes:
        """The points with all of their payload, as Qdrant's JSON.

        Args:
            read: returns the records of ids that are not in the cache.
        """
        if self._bytes > MAX_BYTES:
            self.clear()
        rows = [(point.id, point.version, point.score) for point in points]
        known = self._known
        found = {id_: entry[1] for id_, version, _ in rows if (entry := known.get(id_)) and entry[0] == version}
        if len(found) < len(rows):
            missing = {id_: version for id_, version, _ in rows if id_ not in found}
            for record in read(list(missing)):
                id_ = record.id
                found[id_] = text = b'"id":%b,"payload":%b' % (to_json(id_), to_json(record.payload or {}))
                if version := missing[id_]:  # 0 tells nothing of what the payload is
                    known[id_] = (version, text)
                    self._bytes += len(text) + ENTRY_BYTES
        return b'{"points":[%b]}' % b",".join(
            b'{%b,"version":%d,"score":%b}'
            % (found[id_], version, repr(score).encode() if isfinite(score) else b"null")
            for id_, version, score in rows
        )
