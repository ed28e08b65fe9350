"""Copies memories from one collection to another, with new vectors, while both may be written to.

Round after round, each copies what is new or changed since the one before. What was copied is known by a digest per
memory, so a round over many memories of which few changed costs little more than reading them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models

from memsched.lexicon import stems
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.model import Memory, readable
from memsched.memory.search.bm25 import document_weights
from memsched.memory.store.client import RetryingClient
from memsched.memory.store.points import DENSE, LEXICAL

_PAGE = 256
_POINTS_PER_CALL = 128
_DIGEST_BYTES = 8
_TEXT = ("text", "speaker")
"""What is embedded, of a payload."""

Payload = Mapping[str, Any]
Tell = Callable[[int, int], None]
"""Told how many memories of the round are looked through, and of how many."""


@dataclass(slots=True)
class CollectionCopy:
    """Copies ``source`` to ``target``; raises what the store and the embedder raise, and may be called again.

    Args:
        fence: awaited before each write; raises if it is not ours to do any more.
        batch: texts that are embedded at once.
        embedded: how many were until now.
        copied: by id, the digest of what was copied; what the target holds and is not in it, somebody else wrote.
    """

    client: RetryingClient
    embedder: Embedder
    source: str
    target: str
    fence: Callable[[], Awaitable[None]]
    batch: int = 64
    embedded: int = 0
    copied: dict[str, bytes] = field(default_factory=dict)

    async def resume(self, tell: Tell) -> None:
        """Go on where an earlier copy ended: look at what it has copied."""
        total = await self._count(self.target)
        async for records in self.client.pages(self.target, _PAGE):
            self.copied.update((str(record.id), digest(record.payload or {})) for record in records)
            tell(min(len(self.copied), total), total)

    async def copy_changes(self, tell: Tell) -> int:
        """One round, while nobody else writes to the target. Returns how many memories it changed there."""

        async def copy(changed: Sequence[models.Record]) -> None:
            said_anew: list[models.Record] = []
            others: list[models.Record] = []
            for record in changed:
                before = self.copied.get(str(record.id), b"")
                same = before[_DIGEST_BYTES:] == digest(record.payload or {})[_DIGEST_BYTES:]
                (others if same else said_anew).append(record)
            await self._embed(said_anew)
            await self._update(
                [
                    models.OverwritePayloadOperation(
                        overwrite_payload=models.SetPayload(payload=record.payload or {}, points=[record.id])
                    )
                    for record in others
                ]
            )

        return await self._round(copy, tell)

    async def copy_last_changes(self, tell: Tell, complete_until: int | None = None) -> int:
        """The last round, when the target is in use: what others changed there meanwhile stays.

        Args:
            complete_until: ms since the epoch, for one that does not know what was copied: what was changed in the
                source before that was copied for certain.
        """

        async def copy(changed: Sequence[models.Record]) -> None:
            ids = [record.id for record in changed]
            records = await self.client.ask(lambda client: client.retrieve(self.target, ids, with_payload=True))
            there: dict[str, Payload] = {str(record.id): record.payload or {} for record in records}
            new, operations = [], []
            for record in changed:
                late, memory_id = record.payload or {}, str(record.id)
                if memory_id in there:
                    present = there[memory_id]
                    untouched = self.copied.get(memory_id) == digest(present)
                    if change := difference(present, late if untouched else merged(present, late)):
                        operations.append(
                            models.SetPayloadOperation(
                                set_payload=models.SetPayload(payload=change, points=[record.id])
                            )
                        )
                elif memory_id not in self.copied and not _before(late, complete_until):
                    new.append(record)
                # else it was copied, and deleted there since
            await self._embed(new, only_new=True)
            await self._update(operations)

        return await self._round(copy, tell)

    # -- steps ---------------------------------------------------------------------------------------------------

    async def _round(self, copy: Callable[[Sequence[models.Record]], Awaitable[None]], tell: Tell) -> int:
        total = await self._count(self.source)
        seen: set[str] = set()
        changes = 0
        async for records in self.client.pages(self.source, max(_PAGE, self.batch)):
            changed = [each for each in records if self.copied.get(str(each.id)) != digest(each.payload or {})]
            for at in range(0, len(changed), self.batch):
                some = changed[at : at + self.batch]
                await copy(some)
                self.copied.update((str(each.id), digest(each.payload or {})) for each in some)
                tell(min(len(seen) + at + len(some), total), total)
            seen.update(str(record.id) for record in records)
            changes += len(changed)
            tell(min(len(seen), total), total)
        gone = sorted(self.copied.keys() - seen)
        await self._delete(gone)
        for each in gone:
            del self.copied[each]
        return changes + len(gone)

    async def _embed(self, records: Sequence[models.Record], *, only_new: bool = False) -> None:
        """Store with new vectors: an upsert, or with ``only_new`` an insert that leaves alone what is there."""
        if not records:
            return
        texts = [_indexed(str(record.id), record.payload or {}) for record in records]
        vectors = await self.embedder.embed_documents(texts)
        mode = models.UpdateMode.INSERT_ONLY if only_new else models.UpdateMode.UPSERT
        points = []
        for record, text, vector in zip(records, texts, vectors, strict=True):
            words = document_weights(stems(text))
            lexical = models.SparseVector(indices=words.indices, values=words.values)
            points.append(
                models.PointStruct(id=record.id, vector={DENSE: vector, LEXICAL: lexical}, payload=record.payload)
            )
        for at in range(0, len(points), _POINTS_PER_CALL):
            part = points[at : at + _POINTS_PER_CALL]
            await self.fence()
            await self.client.ask(
                lambda client, part=part: client.upsert(self.target, part, wait=True, update_mode=mode)  # type: ignore[misc]
            )
        self.embedded += len(records)

    async def _update(self, operations: Sequence[Any]) -> None:
        for at in range(0, len(operations), _POINTS_PER_CALL):
            part = operations[at : at + _POINTS_PER_CALL]
            await self.fence()
            await self.client.ask(
                lambda client, part=part: client.batch_update_points(self.target, part, wait=True)  # type: ignore[misc]
            )

    async def _delete(self, memory_ids: Sequence[str]) -> None:
        for at in range(0, len(memory_ids), _PAGE):
            selector = models.PointIdsList(points=list(memory_ids[at : at + _PAGE]))
            await self.fence()
            await self.client.ask(
                lambda client, selector=selector: client.delete(self.target, selector, wait=True)  # type: ignore[misc]
            )

    async def _count(self, name: str) -> int:
        return (await self.client.ask(lambda client: client.count(name, exact=True))).count


def digest(payload: Payload) -> bytes:
    """Of all of the payload, and then of what is embedded."""
    return _short(payload) + _short([payload.get(name) for name in _TEXT])


def _short(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=_DIGEST_BYTES).digest()


def merged(present: Payload, late: Payload) -> dict[str, Any]:
    """One payload of two that began as one and were changed by processes that did not see each other.

    Field by field the one changed later (``updated_at``; ``present`` if neither was), but nothing that was counted or
    gathered is lost.
    """
    older, newer = (present, late) if _updated_at(late) > _updated_at(present) else (late, present)
    values = {**older, **newer}
    if sources := {**(late.get("sources") or {}), **(present.get("sources") or {})}:
        values["sources"] = sources
    if replaces := list(dict.fromkeys([*(older.get("replaces") or ()), *(newer.get("replaces") or ())])):
        values["replaces"] = replaces
    for name in ("use_count", "last_used_at", "version"):
        if known := [each[name] for each in (present, late) if each.get(name) is not None]:
            values[name] = max(known)
    return values


def difference(present: Payload, wanted: Payload) -> dict[str, Any]:
    """The fields to set so that ``present`` becomes ``wanted``. Not the text: its vectors would be of the other one."""
    return {
        name: value
        for name, value in wanted.items()
        if name not in (*_TEXT, "content_hash") and (name not in present or present[name] != value)
    }


def _before(payload: Payload, complete_until: int | None) -> bool:
    return complete_until is not None and _updated_at(payload) <= complete_until


def _updated_at(payload: Payload) -> int:
    return int(payload.get("updated_at") or 0)


def _indexed(memory_id: str, payload: dict[str, Any]) -> str:
    """The text of a point; "" for what cannot be read."""
    known = readable(payload)
    return "" if known is None else Memory.as_stored(memory_id, known).indexed_text
