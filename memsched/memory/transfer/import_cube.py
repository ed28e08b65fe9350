"""Import: the memories of a dump's folder, or of a cube as an object, into a cube of the store, page by page.

What comes in is a stranger's: it gets ids of the cube that it comes into, vectors of the model in use, and is checked
like a message. It is idempotent: what is there already stays as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol

from pydantic import ValidationError

from memsched.errors import CubeDumpError
from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.content_value import text_value
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.ingest.captions import plain_caption
from memsched.memory.ingest.deduplication import content_hash
from memsched.memory.ingest.places import Places
from memsched.memory.ingest.turn_places import TurnPlaces
from memsched.memory.ingest.windows import Windows
from memsched.memory.model import TIMES, Memory, from_ms, memory_id_for, to_ms, with_caption
from memsched.memory.search.term_statistics import TermStatistics, terms_of
from memsched.memory.store.points import Point
from memsched.memory.store.store import MemoryStore
from memsched.memory.tombstones import Tombstones
from memsched.memory.transfer.cube_object import GeneralMemCube, Standing
from memsched.messages import describe_validation_error
from memsched.redaction import Secrets, redacted, redacted_fields, redacted_id
from memsched.settings import Settings

_PAGE = 128
"""As many as are stored in one call."""
_EVENTS_KEPT = 64
_LARGEST_PLACE = 2**31 - 1
_FROM_A_DUMP = "import"
_TEXTS = ("text", "memory", "caption", "speaker", "said_by")
_IDS = ("replaces", "correctors", "derived_from", "undone_for")
_LINKS = ("may_revise", "may_be_revised_by", "undone")
Record = Mapping[str, Any]


class Services(Protocol):
    """What is needed of the services of a process."""

    @property
    def store(self) -> MemoryStore: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def embedder(self) -> Embedder: ...
    @property
    def terms(self) -> TermStatistics: ...
    @property
    def tombstones(self) -> Tombstones: ...
    @property
    def turn_places(self) -> TurnPlaces: ...
    async def stand(self, ref: CubeRef, standing: Standing) -> None: ...


@dataclass(frozen=True, slots=True)
class Imported:
    """How many memories came in, and how many were there already (and stayed as they are)."""

    added: int
    present: int


async def import_cube(
    services: Services,
    source: str | os.PathLike[str] | GeneralMemCube,
    ref: CubeRef,
    *,
    added_by: str = "",
    bring_back: bool = True,
) -> Imported:
    """Import the memories of a dump's folder, or of a cube as an object, into a cube of the store.

    A record needs no more than ``text`` (or ``memory``, the original system's name of it) beside its ``memory_id``.
    Memories that were dumped from this very cube and are still there are left alone; all others get an id that
    follows from the cube and their old one, so a second import adds nothing. Vectors are made anew, words counted
    once. Pins come in as far as there is room for them, and the log of what answers used as far as it is newer than
    what is forgotten here. Activation and parameter memory are not imported: nothing here keeps them yet.

    Raises CubeDumpError, StoreUnavailable, EmbeddingError; pages before the one that failed stay.

    Args:
        added_by: who did it.
        bring_back: also what somebody deleted from this cube since it was dumped, or since it came in before.
    """
    records: Iterable[Record]
    if isinstance(source, GeneralMemCube):
        cube, records = source, source.text_mem.all()
    else:
        cube, records = await asyncio.to_thread(GeneralMemCube.open, source)
    reading, places = iter(records), Places(services.store)
    added = present = number = 0
    now = datetime.now(UTC)
    while page := await asyncio.to_thread(lambda: list(islice(reading, _PAGE))):
        page = _redacted(page, services.settings.secrets)
        there = await _still_there(services.store, ref, page)
        deleted = await _deleted(services.tombstones, ref, page, bring_back)
        memories = []
        for record in page:
            number += 1
            if record["memory_id"] not in there and record["memory_id"] not in deleted:
                memories.append(_memory(record, ref, there, now, added_by, number))
        new = await store_page(services, ref, memories)
        for memory in memories:
            places.add(memory)
        added += new
        present += len(page) - new - len(deleted)
    await places.settle()  # once for all: a dump is in no order
    await services.stand(ref, await _standing_here(services.store, ref, cube.standing))
    return Imported(added, present)


def _redacted(page: Sequence[Record], how: Secrets) -> list[Record]:
    """The records without the secrets in their texts, metadata and names; without those that hold one in a text, where
    such texts are dropped.
    """
    kept: list[Record] = []
    for record in page:
        texts = {name: each for name in _TEXTS if isinstance(each := record.get(name), str)}
        plain = {name: redacted(each, how) for name, each in texts.items()}
        others = {name: redacted_fields(record[name], how) for name in ("metadata", "tags") if name in record}
        if isinstance(session := record.get("session_id"), str):
            others["session_id"] = redacted_id(session, how)
        if plain == texts or how == "mask":
            kept.append({**record, **plain, **others})
    return kept


async def _standing_here(store: MemoryStore, ref: CubeRef, standing: Standing) -> Standing:
    """Pins and log with the ids that the memories have in this cube; without what is not there, or is no event."""
    events = [(event, event.get("credited")) for event in standing.log[-_EVENTS_KEPT:]]
    logged = [
        (event, [each for each in ids if isinstance(each, str)]) for event, ids in events if isinstance(ids, list)
    ]
    named = dict.fromkeys([*standing.pins[:_PAGE], *(each for _, ids in logged for each in ids[:_PAGE])])
    here = {each: memory_id_for(ref, _FROM_A_DUMP, each) for each in named}
    there = await store.get(ref, [*named, *here.values()])
    found = {each: each if each in there else other for each, other in here.items() if {each, other} & there.keys()}
    return Standing(
        [found[each] for each in standing.pins if each in found],
        [{**event, "credited": [found[each] for each in ids if each in found]} for event, ids in logged],
    )


async def _deleted(tombstones: Tombstones, ref: CubeRef, page: Sequence[Record], bring_back: bool) -> set[Any]:
    """The ids of these records that are to stay deleted."""
    here = {each["memory_id"]: memory_id_for(ref, _FROM_A_DUMP, str(each["memory_id"])) for each in page}
    deleted = (await tombstones.among(ref, [*map(str, here), *here.values()])).memory_ids
    if bring_back:
        await tombstones.lift(ref, sorted(deleted.intersection(here.values())))
        return set()
    return {each for each, other in here.items() if deleted & {str(each), other}}


async def _still_there(store: MemoryStore, ref: CubeRef, page: Sequence[Record]) -> set[str]:
    """Of the ids in these records, those of memories that the cube has."""
    named = {str(record.get("memory_id")) for record in page}
    for record in page:
        named.update(each for each in (record.get("superseded_by"), *_listed(record)) if isinstance(each, str))
    return set(await store.get(ref, sorted(named)))


def _listed(record: Record) -> Sequence[Any]:
    """The ids in its lists and links of other memories."""
    lists = [each for name in _IDS if isinstance(each := record.get(name), list)]
    links = [each for name in _LINKS if isinstance(each := record.get(name), dict)]
    return [record.get("answers"), *(name for each in (*lists, *links) for name in each)]


def _memory(record: Record, ref: CubeRef, there: set[str], now: datetime, added_by: str, number: int) -> Memory:
    """The memory that a record becomes in this cube. Raises CubeDumpError.

    Args:
        number: of the record; its place in its session, if it names none.
    """
    place = f"memory number {number}"

    def renamed(memory_id: str) -> str:
        return memory_id if memory_id in there else memory_id_for(ref, _FROM_A_DUMP, memory_id)

    values = dict(record)
    text = values.get("text", values.get("memory"))
    if not isinstance(text, str) or not text.strip():
        raise CubeDumpError(f"{place} has no text.")
    caption = plain_caption(values.get("caption"))
    values |= {"text": text, "caption": caption, "updated_at": to_ms(now)}
    values["by_user"] = values.get("by_user") is True and values.get("user_id") == ref.user_id == added_by
    values |= {"user_id": ref.user_id, "mem_cube_id": ref.mem_cube_id}
    values.setdefault("created_at", to_ms(now))
    values.setdefault("at", values["created_at"])
    values.setdefault("turn", number)
    try:
        if any(to_ms(from_ms(values[name])) != values[name] for name in TIMES if values.get(name) is not None):
            raise ValueError("a time that is none")
        memory = Memory.from_payload(renamed(str(record["memory_id"])), values)
        text.encode()
    except ValidationError as error:
        raise CubeDumpError(f"{place}: {describe_validation_error(error)}.") from error
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise CubeDumpError(f"{place} holds a time or a text that is none.") from error
    if not (0 <= memory.turn <= _LARGEST_PLACE and 0 <= memory.part <= _LARGEST_PLACE):
        raise CubeDumpError(f"{place}: turn and part are numbers from 0 to {_LARGEST_PLACE}.")
    answers = renamed(memory.answers) if memory.answers else ""
    said = memory.speaker if memory.kind == "turn" else f"{memory.kind}:{memory.speaker}"
    return memory.model_copy(
        update={
            **{name: min(moment, now) for name in TIMES if (moment := getattr(memory, name)) is not None},
            **{name: min(max(getattr(memory, name), 0), _LARGEST_PLACE) for name in ("use_count", "version")},
            "importance": min(1.0, max(0.0, memory.importance)),
            "value": text_value(text, memory.turn),
            **{name: [renamed(each) for each in getattr(memory, name)] for name in _IDS},
            **{name: {renamed(each): why for each, why in getattr(memory, name).items()} for name in _LINKS},
            "superseded_by": None if memory.superseded_by is None else renamed(memory.superseded_by),
            "answers": answers,
            "content_hash": content_hash(said, with_caption(text, caption), answers),  # the question may come later
            "added_by": added_by,
            "said_again": {},  # by ids of the cube that it comes from
            "asked_again": {},
        }
    )


async def store_page(services: Services, ref: CubeRef, memories: Sequence[Memory]) -> int:
    """Store memories as they are, and count their words. Returns how many were new.

    Words first: who finds them counted and not stored stores the same ones, and their mark is there.
    """
    if not memories:
        return 0
    ids = [memory.memory_id for memory in memories]
    present = await services.store.get(ref, ids)
    new = [memory for memory in memories if memory.memory_id not in present]
    if new:
        # One mark for all, not one for each: marks of recent messages are kept in the same place, and it is limited.
        named = "\n".join(sorted(memory.memory_id for memory in new))
        mark = hashlib.sha256(named.encode()).hexdigest()[:32]
        counted = f"{_FROM_A_DUMP}/{mark}"
        await services.terms.add(ref, {counted: [terms_of(memory) for memory in new]})
        vectors = await services.embedder.embed_documents([memory.indexed_text for memory in new])
        first = (await Windows(services.store).first(ref, new)).vectors
        points = [Point(each, vector, first[each.memory_id]) for each, vector in zip(new, vectors, strict=True)]
        await services.store.insert(ref, points)
        await services.terms.settle(ref, counted, (memory.memory_id for memory in new))
        await services.turn_places.taken(ref, ((each.session_id, each.turn) for each in new if each.session_id))
    return len(new)
