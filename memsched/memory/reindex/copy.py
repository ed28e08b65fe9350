"""Copies memories from one collection to another, with new vectors, while both may be written to.

Round after round, each copies what is new or changed since the one before. What was copied is known by a digest per
memory, so a round over many memories of which few changed costs little more than reading them. Windows follow after a
round, from what the target holds then (places.py): the memories of a session come with any page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models

from memsched.memory.content.content_value import text_value
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.ingest.places import Places, Tell
from memsched.memory.model import SCHEMA_VERSION, Memory, readable
from memsched.memory.search.window import Surroundings, own_vector, window_vector
from memsched.memory.store.client import RetryingClient
from memsched.memory.store.collection import InUse
from memsched.memory.store.points import DENSE, LEXICAL, Sparse

_PAGE = 256
_POINTS_PER_CALL = 128
_DIGEST_BYTES = 8
_TEXT = ("text", "caption", "speaker")
"""What is embedded, of a payload."""
_COPIED_FROM = "copied_from"
"""Of a copied payload: the collection that it was copied from."""
_OURS = ("value", "schema", "speaker_folded", "user_speaking", _COPIED_FROM)
"""What a copy has otherwise than its source."""
_ALONE = Surroundings(())

Payload = Mapping[str, Any]


@dataclass(slots=True)
class CollectionCopy:
    """Copies ``source`` to ``target``; raises what the store and the embedder raise, and may be called again.

    Args:
        places: of the target.
        fence: awaited before each write; raises if it is not ours to do any more.
        batch: texts that are embedded at once.
        keeps_dense: both collections are of the same model: the source's dense vectors are copied as they are.
        embedded: how many texts were until now.
        stored: how many memories were stored until now.
        copied: by id, the digest of what was copied; what the target holds and is not in it, somebody else wrote.
    """

    client: RetryingClient
    embedder: Embedder
    source: str
    target: InUse
    places: Places
    fence: Callable[[], Awaitable[None]]
    batch: int = 64
    keeps_dense: bool = False
    embedded: int = 0
    stored: int = 0
    copied: dict[str, bytes] = field(default_factory=dict)

    @property
    def progress(self) -> int:
        """Grows with whatever is done."""
        return self.stored + self.places.settled

    async def resume(self, tell: Tell) -> None:
        """Go on where an earlier copy ended: look at what it has copied. Nobody knows which windows it came to."""
        total = await self._count(self.target.name)
        async for records in self.client.pages(self.target.name, _PAGE):
            self.copied.update((str(record.id), digest(record.payload or {})) for record in records)
            self._touch(records)
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
            await self._store(said_anew)
            self._touch(said_anew)
            await self._update(
                [
                    models.OverwritePayloadOperation(
                        overwrite_payload=models.SetPayload(payload=self._payload(record), points=[record.id])
                    )
                    for record in others
                ]
            )

        return await self._round(copy, tell)

    async def copy_last_changes(self, tell: Tell, complete_until: int | None = None) -> int:
        """A round when the target is in use: what others changed there meanwhile stays.

        Args:
            complete_until: ms since the epoch, for one that does not know what was copied: what was changed in the
                source before that was copied for certain.
        """

        async def copy(changed: Sequence[models.Record]) -> None:
            there = await self._payloads([record.id for record in changed])
            new, operations = [], []
            for record in changed:
                late, memory_id = record.payload or {}, str(record.id)
                if memory_id in there:
                    present = there[memory_id]
                    untouched = self.copied.get(memory_id) == digest(present)
                    if change := difference(present, late if untouched else merged(present, late)) | emptied(
                        present, late
                    ):
                        operations.append(
                            models.SetPayloadOperation(
                                set_payload=models.SetPayload(payload=change, points=[record.id])
                            )
                        )
                elif memory_id not in self.copied and not _before(late, complete_until):
                    new.append(record)
                # else it was copied, and deleted there since: by somebody who may have taken its words for present
            await self._store(new, only_new=True)
            await self._delete(await self._gone([record.id for record in new]))
            await self._update(operations)
            self._touch(changed)

        if complete_until is None:
            return await self._round(copy, tell)
        return await self._round(copy, tell, await self._all_copied(tell))

    async def _all_copied(self, tell: Tell) -> list[Any]:
        """The ids of all that the target has of the source; all there is to be settled."""
        total = await self._count(self.target.name)
        ids: list[Any] = []
        looked = 0
        async for records in self.client.pages(self.target.name, _PAGE):
            self._touch(records)
            ids += [each.id for each in records if (each.payload or {}).get(_COPIED_FROM) == self.source]
            looked += len(records)
            tell(min(looked, total), total)
        return ids

    # -- steps ---------------------------------------------------------------------------------------------------

    async def _round(
        self, copy: Callable[[Sequence[models.Record]], Awaitable[None]], tell: Tell, copied: Sequence[Any] = ()
    ) -> int:
        """
        Args:
            copied: the ids of what was copied, beside those in ``self.copied``.
        """
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
        gone = sorted({*self.copied, *map(str, copied)} - seen)
        await self._delete(gone)
        for each in gone:
            self.copied.pop(each, None)
        return changes + len(gone)

    def _touch(self, records: Sequence[models.Record]) -> None:
        for record in records:
            if (memory := _memory(str(record.id), record.payload)) is not None:
                self.places.add(memory)

    async def _store(self, records: Sequence[models.Record], *, only_new: bool = False) -> None:
        """Store with new vectors: an upsert, or with ``only_new`` an insert that leaves alone what is there.

        The windows are still without what is around.
        """
        if not records:
            return
        dense = await (self._dense_of_source(records) if self.keeps_dense else self._embed(records))
        mode = models.UpdateMode.INSERT_ONLY if only_new else models.UpdateMode.UPSERT
        points = [
            models.PointStruct(
                id=record.id,
                vector={**dense[record.id], LEXICAL: _sparse(self._words(record))},
                payload=self._payload(record),
            )
            for record in records
            if record.id in dense
        ]
        for at in range(0, len(points), _POINTS_PER_CALL):
            part = points[at : at + _POINTS_PER_CALL]
            await self.fence()
            await self.client.ask(
                lambda client, part=part: client.upsert(self.target.name, part, wait=True, update_mode=mode)  # type: ignore[misc]
            )
        self.stored += len(points)

    async def _embed(self, records: Sequence[models.Record]) -> dict[Any, dict[str, Any]]:
        memories = [_memory(str(record.id), record.payload) for record in records]
        vectors = await self.embedder.embed_documents(["" if each is None else each.indexed_text for each in memories])
        self.embedded += len(records)
        return {record.id: {DENSE: vector} for record, vector in zip(records, vectors, strict=True)}

    async def _dense_of_source(self, records: Sequence[models.Record]) -> dict[Any, dict[str, Any]]:
        """What is gone meanwhile is not in it: the next round sees that too."""
        ids = [record.id for record in records]
        found = await self.client.ask(
            lambda client: client.retrieve(self.source, ids, with_payload=False, with_vectors=[DENSE])
        )
        return {record.id: dict(record.vector or {}) for record in found}  # type: ignore[arg-type]

    def _words(self, record: models.Record) -> Sparse:
        memory = _memory(str(record.id), record.payload)
        if memory is None:
            return Sparse([], [])
        return window_vector(memory.ref, memory, _ALONE) if self.target.has_windows else own_vector(memory)

    def _payload(self, record: models.Record) -> dict[str, Any]:
        payload = dict(record.payload or {})
        if (memory := _memory(str(record.id), payload)) is not None:
            value = text_value(memory.text, memory.turn)
            payload |= memory.looked_up | {"value": value, "schema": SCHEMA_VERSION, _COPIED_FROM: self.source}
        return payload

    async def _payloads(self, ids: Sequence[Any]) -> dict[str, Payload]:
        """What the target has of these."""
        found = await self.client.ask(lambda client: client.retrieve(self.target.name, list(ids), with_payload=True))
        return {str(record.id): record.payload or {} for record in found}

    async def _gone(self, ids: Sequence[Any]) -> list[str]:
        """Those of these that the source has no more: deleted before they were copied, and so from the source only."""
        if not ids:
            return []
        found = await self.client.ask(lambda client: client.retrieve(self.source, list(ids), with_payload=False))
        return [str(each) for each in ids if each not in {record.id for record in found}]

    async def _update(self, operations: Sequence[Any]) -> None:
        for at in range(0, len(operations), _POINTS_PER_CALL):
            part = operations[at : at + _POINTS_PER_CALL]
            await self.fence()
            await self.client.ask(
                lambda client, part=part: client.batch_update_points(self.target.name, part, wait=True)  # type: ignore[misc]
            )

    async def _delete(self, memory_ids: Sequence[str]) -> None:
        for at in range(0, len(memory_ids), _PAGE):
            part = list(memory_ids[at : at + _PAGE])
            for memory_id, payload in (await self._payloads(part)).items():
                if (memory := _memory(memory_id, payload)) is not None:
                    self.places.add(memory)
            await self.fence()
            await self.client.ask(
                lambda client, part=part: client.delete(  # type: ignore[misc]
                    self.target.name, models.PointIdsList(points=part), wait=True
                )
            )

    async def _count(self, name: str) -> int:
        return (await self.client.ask(lambda client: client.count(name, exact=True))).count


def digest(payload: Payload) -> bytes:
    """Of all of the payload that a copy leaves as it is, and then of what is embedded."""
    left = {name: value for name, value in payload.items() if name not in _OURS}
    return _short(left) + _short([payload.get(name) for name in _TEXT])


def _short(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=_DIGEST_BYTES).digest()


def merged(present: Payload, late: Payload) -> dict[str, Any]:
    """One payload of two that began as one and were changed by processes that did not see each other.

    Field by field the one changed later (``updated_at``; ``present`` if neither was), but nothing that was counted or
    gathered is lost.
    """
    older, newer = (present, late) if _updated_at(late) > _updated_at(present) else (late, present)
    values = {**older, **newer}
    for name in ("sources", "said_again", "asked_again", "trigrams"):
        if gathered := {**(late.get(name) or {}), **(present.get(name) or {})}:
            values[name] = gathered
    for name in ("replaces", "correctors"):
        if listed := list(dict.fromkeys([*(older.get(name) or ()), *(newer.get(name) or ())])):
            values[name] = listed
    for name in ("use_count", "last_used_at", "last_said", "version"):
        if known := [each[name] for each in (present, late) if each.get(name) is not None]:
            values[name] = max(known)
    return values


def difference(present: Payload, wanted: Payload) -> dict[str, Any]:
    """The fields to set so that ``present`` becomes ``wanted``. Not the text: its vectors would be of the other one."""
    return {
        name: value
        for name, value in wanted.items()
        if name not in (*_TEXT, *_OURS, "content_hash") and (name not in present or present[name] != value)
    }


def emptied(present: Payload, late: Payload) -> dict[str, Any]:
    """The fields to set where a deletion has begun: its text is taken first."""
    return {"text": "", "caption": ""} if late.get("text") == "" and present.get("text") else {}


def _before(payload: Payload, complete_until: int | None) -> bool:
    return complete_until is not None and _updated_at(payload) <= complete_until


def _updated_at(payload: Payload) -> int:
    return int(payload.get("updated_at") or 0)


def _memory(memory_id: str, payload: Payload | None) -> Memory | None:
    """The memory of a point; None for what cannot be read."""
    known = readable(dict(payload or {}))
    return None if known is None else Memory.as_stored(memory_id, known)


def _sparse(words: Sparse) -> models.SparseVector:
    return models.SparseVector(indices=words.indices, values=words.values)
