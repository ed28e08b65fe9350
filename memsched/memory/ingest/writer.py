"""From what was said to memories, without a model: each utterance is kept as it was said.

Every step is idempotent: run again, alone or beside another process, it changes nothing. Ids come from the message and
the position in it, what is stored is never overwritten, words are counted once per message.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from types import MappingProxyType

from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.content_value import text_value
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.forgetting import Forgetting
from memsched.memory.ingest.corrections import Corrections
from memsched.memory.ingest.deduplication import content_hash, same_voice
from memsched.memory.ingest.importance import about_oneself, importance
from memsched.memory.ingest.preferences import is_preference
from memsched.memory.ingest.repetition import Repeat, is_said_anew, repeated
from memsched.memory.ingest.retelling import Told, more_trigrams, names_of, names_told
from memsched.memory.ingest.short_answers import answered_by, asks, is_short
from memsched.memory.ingest.splitting import MAX_TEXT_CHARACTERS, parts_of
from memsched.memory.ingest.turn_places import TurnPlaces
from memsched.memory.ingest.turns import Turn
from memsched.memory.ingest.windows import Windows
from memsched.memory.metadata import MetadataValue, keywords_of
from memsched.memory.model import (
    Memory,
    MemoryKind,
    id_within,
    memory_id_for,
    place_name,
    to_ms,
    with_caption,
)
from memsched.memory.search.term_statistics import TermStatistics, terms_of
from memsched.memory.store.points import Point
from memsched.memory.store.store import MemoryStore
from memsched.memory.tombstones import Deleted, Tombstones
from memsched.messages import LONG_TERM_MEMORY_TYPE, USER_MEMORY_TYPE, utc_offset_of
from memsched.pace import Pace
from memsched.tracing import memory_operation

_HASHES_PER_CALL = 100
_LONG = 20_000
"""Characters of a text that is cut in a thread: it takes longer than to start one."""
_CLAIMS_LOOKED_FOR = 300
"""Of one message: of a conversation that fills three prompts."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Something to remember that did not come as a turn: an extracted fact, a preference, a correction.

    Args:
        key: its position in the message; it must be the same when the message runs again.
        given_tags: those that came with its message. What says the same with others is another memory.
        derived_from: ids of the turns that it was taken from.
        event_date: when it happened or will happen (``Memory.event_date``).
        said_by: their speaker, where ``speaker`` is nobody.
        by_user: whether it is the user's own, or was taken from what they said.
        taken_from: ids of all memories that these turns may be. With one of them it is deleted.
        trigrams: of its turn.
    """

    key: str
    text: str
    kind: MemoryKind
    about_user: bool
    at: datetime
    ingested_at: datetime | None = None
    speaker: str = ""
    session_id: str = ""
    turn: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)
    importance: float | None = None
    tags: Sequence[str] = ()
    given_tags: Sequence[str] = ()
    derived_from: Sequence[str] = ()
    said_by: str = ""
    event_date: str = ""
    taken_from: Sequence[str] = ()
    by_user: bool = False
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    trigrams: Sequence[str] = ()


@dataclass(slots=True)
class Written:
    """What became of one message's utterances.

    Args:
        added: new memories (a second run of the message names them again).
        repeated: (text, the memory that says it already).
        corrected: (older memory, the newer one that corrects it).
        without_vector: the ids of those for which the embedding model gave no vector, and may give one later.
        by_position: by a turn's place in the message, which memories hold what it says: new ones, and others.
    """

    added: list[Memory] = field(default_factory=list)
    repeated: list[tuple[str, Memory]] = field(default_factory=list)
    corrected: list[tuple[Memory, Memory]] = field(default_factory=list)
    without_vector: list[str] = field(default_factory=list)
    by_position: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)

    def held(self, draft: Memory, memory_id: str) -> None:
        """What a draft says stands in this memory."""
        position = next(iter(draft.sources), "").rpartition("#")[2]
        new, others = self.by_position.setdefault(position, ([], []))
        (new if memory_id == draft.memory_id else others).append(memory_id)


class MemoryWriter:
    """Writes memories to the store, without duplicates, and nothing that was deleted (memory/tombstones.py).

    Whether the user may is checked by the caller.
    """

    def __init__(
        self,
        store: MemoryStore,
        embedder: Embedder,
        terms: TermStatistics,
        places: TurnPlaces,
        corrections: Corrections,
        tombstones: Tombstones,
        forgetting: Forgetting,
        part_characters: int = MAX_TEXT_CHARACTERS,
    ) -> None:
        """Args:
        part_characters: a longer text becomes several memories.
        """
        self._store = store
        self._part_characters = part_characters
        self._tombstones = tombstones
        self._forgetting = forgetting
        self._places = places
        self._embedder = embedder
        self._terms = terms
        self._corrections = corrections
        self._windows = Windows(store)

    @memory_operation("upsert_memory")
    async def write_turns(
        self, ref: CubeRef, messages: Mapping[str, Sequence[Turn]], added_by: str = "", *, emptied: int | None = None
    ) -> dict[str, Written]:
        """Remember the utterances of some messages of one user, by message id.

        Args:
            added_by: the user; "" for the cube's owner.
            emptied: when all of the cube was deleted last, as known when the messages were admitted. If it was since,
                nothing of them is kept. None: it is looked up.
        """
        ids = {item_id: id_within(ref, added_by or ref.user_id, item_id) for item_id in messages}
        turns = {ids[item_id]: said for item_id, said in messages.items()}
        sessions = await self._first_places(ref, turns)
        before = await self._said_before(ref, turns, sessions)
        drafts = {
            item_id: await self._drafts(ref, item_id, said, sessions, added_by, before)
            for item_id, said in turns.items()
        }
        written = await self._remember(ref, drafts, emptied=emptied)
        return {item_id: written[ids[item_id]] for item_id in messages}

    async def stored(self, ref: CubeRef, item_id: str, said: Sequence[Turn], added_by: str = "") -> dict[int, Memory]:
        """The memories of a message's turns, by the turn's number; of one that was said before, what says it."""
        drafts = await self._drafts(ref, id_within(ref, added_by or ref.user_id, item_id), said, {}, added_by)
        numbers = {f"#{turn.position}": number for number, turn in enumerate(said)}
        found: dict[int, Memory] = {}
        own = await self._store.get(ref, [each.memory_id for each in drafts])
        missing = [each for each in drafts if each.memory_id not in own and not each.part]
        known = await self._with_hashes(ref, missing)
        for each in drafts:
            (source,) = each.sources
            same = (other for other in known.get(each.content_hash, ()) if source in other.sources)
            memory = own.get(each.memory_id) or next(same, None)
            if memory is not None and not each.part:
                found[numbers["#" + source.rpartition("#")[2]]] = memory
        return found

    @memory_operation("upsert_memory")
    async def write_statements(
        self,
        ref: CubeRef,
        item_id: str,
        statements: Sequence[Statement],
        added_by: str = "",
        *,
        emptied: int | None = None,
    ) -> Written:
        """Remember statements that were taken from one message of ``added_by``; "" for the cube's owner.

        Args:
            emptied: as ``write_turns`` has it.
        """
        now = datetime.now(UTC)
        name = id_within(ref, added_by or ref.user_id, item_id)
        drafts = [_of_statement(ref, name, each, now, added_by) for each in statements]
        taken_from = {draft.memory_id: each.taken_from for draft, each in zip(drafts, statements, strict=True)}
        written = await self._remember(ref, {name: drafts}, mark=":statements", emptied=emptied, taken_from=taken_from)
        return written[name]

    async def take_back(self, ref: CubeRef, messages: Mapping[str, Sequence[Turn]], added_by: str) -> None:
        """Forget what an earlier run may have stored of messages that count for nothing, since the cube was emptied.

        Only a run that died right after storing left anything.
        """
        ids: list[str] = []
        for item_id, said in messages.items():
            name = id_within(ref, added_by or ref.user_id, item_id)
            for turn in said:
                ids += self.ids_of_turn(ref, name, turn)
                ids += (
                    memory_id_for(ref, name, f"preference/{turn.position}/{part}")
                    for part in range(len(self.parts_of(turn)))
                )
            ids.append(memory_id_for(ref, name, "feedback"))
            ids += (memory_id_for(ref, name, f"model/{number}") for number in range(_CLAIMS_LOOKED_FOR))
        if left := await self._store.get(ref, ids):
            await self._forgetting.forget(ref, sorted(left))

    def parts_of(self, turn: Turn) -> list[str]:
        """The texts of the memories that a turn becomes."""
        return parts_of(turn.text, self._part_characters)

    def ids_of_turn(self, ref: CubeRef, name: str, turn: Turn) -> list[str]:
        """The ids of the memories that a turn becomes.

        Args:
            name: what its message is called within the cube (``id_within``).
        """
        return [memory_id_for(ref, name, turn.position, part) for part in range(len(self.parts_of(turn)))]

    # -- steps ---------------------------------------------------------------------------------------------------

    async def _first_places(self, ref: CubeRef, turns: Mapping[str, Sequence[Turn]]) -> dict[tuple[str, str], int]:
        """For each message and session, the place in the session of the message's first turn.

        A message that was partly stored before keeps its place. One that is a session of its own begins with 0.
        """
        counts: dict[tuple[str, str], int] = {}
        first_parts: dict[str, tuple[str, int]] = {}
        for item_id, said in turns.items():
            for number, turn in enumerate(said):
                if session := _session(item_id, turn, len(said)):
                    counts[item_id, session] = number + 1
                    first_parts[memory_id_for(ref, item_id, turn.position, 0)] = item_id, number
        held: dict[tuple[str, str], int] = {}
        for memory_id, memory in (await self._store.get(ref, list(first_parts))).items():
            item_id, number = first_parts[memory_id]
            held.setdefault((item_id, memory.session_id), memory.turn - number)
        shared = {key: count for key, count in counts.items() if key[0] != key[1]}
        reserved = {}
        if shared:
            reserved = await self._places.reserve(
                ref, shared, held, lambda session: self._store.next_turn(ref, session)
            )
        return {**dict.fromkeys(counts, 0), **reserved, **held}

    async def _said_before(
        self, ref: CubeRef, turns: Mapping[str, Sequence[Turn]], sessions: Mapping[tuple[str, str], int]
    ) -> dict[tuple[str, int], Memory]:
        """What was said right before messages that begin with what may be a short answer, by session and place."""
        wanted: dict[str, set[int]] = {}
        for item_id, said in turns.items():
            begun = {""}
            for number, turn in enumerate(said):
                session = _session(item_id, turn, len(said))
                place = sessions.get((item_id, session), 0) + number
                if session not in begun and place and is_short(turn.text):
                    wanted.setdefault(session, set()).add(place - 1)
                begun.add(session)
        if not wanted:
            return {}
        there = sorted((hit.memory() for hit in await self._store.at_places(ref, wanted, None)), key=_part)
        found = {(each.session_id, each.turn): each for each in there if each.kind == "turn"}
        empty = {(session, turn) for session, turns in wanted.items() for turn in turns} - found.keys()
        named = {place_name(*place): place for place in empty}
        if named:  # what is asked again has no memory of its own
            for each in await self._store.asked_again_at(ref, sorted(named)):
                found.update((named[name], each) for name in each.asked_again.keys() & named)
        return found

    async def _drafts(
        self,
        ref: CubeRef,
        item_id: str,
        said: Sequence[Turn],
        sessions: Mapping[tuple[str, str], int],
        added_by: str,
        before: Mapping[tuple[str, int], Memory] = MappingProxyType({}),
    ) -> list[Memory]:
        """The memories that a message's turns become.

        Args:
            sessions: by message and session, the first turn's place.
            before: by session and place, what was said before the message.
        """
        now = datetime.now(UTC)
        drafts = []
        last = dict(before)
        pace = Pace()
        for number, turn in enumerate(said):
            session = _session(item_id, turn, len(said))
            place = sessions.get((item_id, session), 0) + number
            parts = self.parts_of(turn) if len(turn.text) < _LONG else await asyncio.to_thread(self.parts_of, turn)
            whole = hashlib.sha256(turn.text.encode("utf-8", "replace")).hexdigest() if len(parts) > 1 else ""
            for part, text in enumerate(filter(str.strip, parts)):
                asked = None if part else _asked(last.get((session, place - 1)), turn, text)
                draft = _of_turn(ref, item_id, turn, session, place, part, text, now, added_by, asked)
                if whole:  # equal parts of a text, or of two texts, are no repeats: each text keeps all of its own
                    draft = draft.model_copy(
                        update={"content_hash": _hash(turn.speaker, text, turn.metadata, turn.tags, f"{whole}/{part}")}
                    )
                drafts.append(draft)
                if session:
                    last[session, place] = draft
                await pace.rest()
        return drafts

    async def _remember(
        self,
        ref: CubeRef,
        drafts: Mapping[str, Sequence[Memory]],
        mark: str = "",
        *,
        emptied: int | None = None,
        taken_from: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Written]:
        """Remember drafts, by message.

        What was deleted is looked for before anything is stored, and once more afterwards: so of a deletion and a
        message that comes again at the same time the one that ends last leaves nothing.
        """
        taken_from = taken_from or {}
        results = {item_id: Written() for item_id in drafts}
        everything = [memory for memories in drafts.values() for memory in memories]
        known = await self._with_hashes(ref, everything)
        own = {memory.memory_id for memory in everything}
        told = {name: names for said in drafts.values() for name, names in names_told(said, known).items()}
        away = {name: each for said in drafts.values() for name, each in _put_away(said, known, told).items()}
        stored = {each.memory_id: each for same in known.values() for each in same if each.memory_id in own}
        before = [each.memory_id for same in known.values() for each in same if each.memory_id not in own]
        new_told = {name: names for name, names in told.items() if name not in away}
        deleted = await self._deleted(ref, everything, taken_from, before, new_told)
        if emptied not in (None, deleted.emptied):
            return results
        if left := stored.keys() & deleted.memory_ids:  # by a run that died before it looked again
            await self._take_back(ref, left, drafts, mark)
        others = {
            name: [each for each in same if each.memory_id not in own | deleted.memory_ids]
            for name, same in known.items()
        }
        active = {name: [each for each in same if each.status == "activated"] for name, same in others.items()}
        by = [each.superseded_by for same in active.values() for each in same if each.superseded_by]
        correctors = await self._store.get(ref, by) if by else {}
        new: list[Memory] = []
        sources: dict[str, dict[str, str]] = {}
        said_again: dict[str, dict[str, int]] = {}
        again: dict[str, Memory] = {}
        asked_again: dict[str, dict[str, int]] = {}
        trigrams: dict[str, dict[str, int]] = {}
        asked_anew: dict[str, tuple[str, str]] = {}
        said_now: dict[str, Memory] = {}
        asked_before: dict[str, str] = {}
        for item_id, memories in drafts.items():
            repeats = repeated(memories, active, correctors) | away
            for draft in memories:
                if draft.memory_id in deleted.memory_ids:
                    continue
                answers = asked_before.get(draft.answers, draft.answers)
                memory = draft if answers == draft.answers else draft.model_copy(update={"answers": answers})
                repeat = repeats.get(memory.memory_id) or Repeat.now(said_now.get(memory.content_hash))
                if repeat is not None and not same_voice(repeat.memory, memory):
                    repeat = None
                if memory.memory_id in stored or repeat is None or is_said_anew(memories, repeat, memory):
                    results[item_id].added.append(memory)
                    results[item_id].held(memory, memory.memory_id)
                    new.append(memory)
                    said_now[memory.content_hash] = memory
                else:
                    same = repeat.memory
                    again[same.memory_id] = repeat.told_at(memory.at, again.get(same.memory_id, same))
                    results[item_id].repeated.append((memory.text, same))
                    results[item_id].held(memory, same.memory_id)
                    asked_before[memory.memory_id] = same.memory_id
                    if memory.session_id and not memory.part and asks(memory.text):
                        place = place_name(memory.session_id, memory.turn)
                        asked_again.setdefault(same.memory_id, {})[place] = to_ms(memory.at)
                    if same.answers != memory.answers != "":
                        asked_anew[same.memory_id] = same.answers, memory.answers
                    sources.setdefault(same.memory_id, {}).update(memory.sources)
                    said_again.setdefault(same.memory_id, {})[memory.memory_id] = to_ms(memory.at)
                    beside = trigrams.setdefault(same.memory_id, {})
                    beside.update(more_trigrams(same, {**beside, **memory.trigrams}))
        vectors = await self._embedder.embed_documents([memory.indexed_text for memory in new])
        first = await self._windows.first(ref, new)
        points = [
            Point(memory, vector, first.vectors[memory.memory_id]) for memory, vector in zip(new, vectors, strict=True)
        ]
        await self._store.insert(ref, points)
        bare = {each.memory.memory_id for each in points if self._embedder.may_embed_later and not any(each.dense)}
        for written in results.values():
            written.without_vector += [each.memory_id for each in written.added if each.memory_id in bare]
        await self._windows.settle(ref, new, first)
        last_said = {name: to_ms(each.last_said) for name, each in again.items() if each.last_said is not None}
        await self._store.add_sources(ref, sources, said_again, last_said, asked_again, trigrams)
        await self._answer_anew(ref, asked_anew)
        since = await self._deleted(ref, new, taken_from, sorted(sources), new_told)
        if since.emptied != deleted.emptied:
            await self._forgetting.forget(ref, [memory.memory_id for memory in new], counted=False)
            return {item_id: Written() for item_id in drafts}
        if since.memory_ids:  # deleted while this ran; what was taken for a repeat of it is none
            await self._take_back(ref, since.memory_ids.intersection(each.memory_id for each in new), drafts, mark)
            return await self._remember(ref, drafts, mark, emptied=deleted.emptied, taken_from=taken_from)
        pace = Pace()
        counted: dict[str, list[list[str]]] = {}
        for item_id, written in results.items():
            for memory in written.added:
                counted.setdefault(item_id + mark, []).append(terms_of(memory))
                await pace.rest()
        gone = {each.memory_id: (item_id, each) for item_id, said in drafts.items() for each in said}
        _, forgotten = await self._terms.applied(ref, (), deleted.memory_ids & gone.keys())
        for (
            memory_id
        ) in forgotten:  # deleted after it was stored, and counted no more before it was counted: it evens out
            item_id, memory = gone[memory_id]
            counted.setdefault(item_id + mark, []).append(terms_of(memory))
        await self._terms.add(ref, counted)
        said_in = {memory.memory_id: result for result in results.values() for memory in result.added}
        corrected = await self._corrections.apply(
            ref,
            [again.pop(each.memory_id, stored.get(each.memory_id, each)) for each in new],
            again=[each for each in again.values() if each.last_said is not None],
            anew={each.memory_id for each in new if _was_said_before(each, active.get(each.content_hash, ()))},
        )
        for older, newer in corrected:  # both may be new, and of two messages
            if result := said_in.get(newer.memory_id) or said_in.get(older.memory_id):
                result.corrected.append((older, newer))
        return results

    async def _answer_anew(self, ref: CubeRef, asked: Mapping[str, tuple[str, str]]) -> None:
        """Have short answers, by id, answer another question than one that is not there any more; if that one is."""
        if not asked:
            return
        there = await self._store.get(ref, list(chain.from_iterable(asked.values())))
        changed = {name: {"answers": new} for name, (old, new) in asked.items() if old not in there and new in there}
        await self._store.patch(ref, changed)

    async def _take_back(
        self, ref: CubeRef, memory_ids: Collection[str], drafts: Mapping[str, Sequence[Memory]], mark: str
    ) -> None:
        """Forget what was stored of a message though it had been deleted; of the counts if the message is in them."""
        counted, _ = await self._terms.applied(ref, [item_id + mark for item_id in drafts], ())
        for item_id, said in drafts.items():
            theirs = [each.memory_id for each in said if each.memory_id in memory_ids]
            if theirs:
                await self._forgetting.forget(ref, theirs, counted=item_id + mark in counted)

    async def _deleted(
        self,
        ref: CubeRef,
        drafts: Sequence[Memory],
        taken_from: Mapping[str, Sequence[str]],
        others: Sequence[str],
        told: Mapping[str, Told],
    ) -> Deleted:
        """Which of these drafts, and of other memories, were deleted; a draft also with what it was taken from.

        One that was told before (``told``), and deleted then, gets a tombstone of its own: so all that is taken from
        it is kept away too.
        """
        turns = {draft.memory_id: taken_from.get(draft.memory_id, ()) for draft in drafts}
        named = {turn for theirs in turns.values() for turn in theirs}
        theirs = {memory_id: told[memory_id] for memory_id in turns if memory_id in told}
        names = {name for each in theirs.values() for name in (*each.names, each.said)}
        known = await self._tombstones.among(ref, [*turns, *others, *named], names)
        if rows := {row for each in theirs.values() if each.said in known.names for row in each.rows}:
            known = replace(known, names=known.names | (await self._tombstones.among(ref, (), rows)).names)
        with_turns = {memory_id for memory_id, each in turns.items() if known.memory_ids.intersection(each)}
        again = {
            memory_id
            for memory_id, each in theirs.items()
            if memory_id not in known.memory_ids and known.names & (each.names | each.rows)
        }
        await self._tombstones.lay(ref, sorted(again))
        return Deleted((known.memory_ids - named) | with_turns | again, known.emptied)

    async def _with_hashes(self, ref: CubeRef, drafts: Sequence[Memory]) -> dict[str, list[Memory]]:
        """The memories that say the same as these, by content hash, the oldest first; forgotten ones too."""
        found: dict[str, list[Memory]] = {}
        hashes = sorted({draft.content_hash for draft in drafts})
        for at in range(0, len(hashes), _HASHES_PER_CALL):
            for memory in await self._store.with_hashes(ref, hashes[at : at + _HASHES_PER_CALL]):
                found.setdefault(memory.content_hash, []).append(memory)
        return found


def _put_away(
    said: Sequence[Memory], known: Mapping[str, Sequence[Memory]], told: Mapping[str, Told]
) -> dict[str, Repeat]:
    """By id of what is told again, what holds it already, and was forgotten as somebody asked."""
    return {
        each.memory_id: Repeat(same, of_old=True)
        for each in said
        for same in known.get(each.content_hash, ())
        if same.status == "archived" and names_of(same) & (told[each.memory_id].names | told[each.memory_id].rows)
    }


def _was_said_before(memory: Memory, same: Sequence[Memory]) -> bool:
    """Whether it says anew what was superseded since."""
    return any(each.superseded_by and each.order < memory.order and same_voice(each, memory) for each in same)


def _session(item_id: str, turn: Turn, of: int) -> str:
    """Its session; a conversation that came without one is a session of its own."""
    return turn.session_id or (item_id if of > 1 else "")


def _asked(before: Memory | None, turn: Turn, text: str) -> Memory | None:
    """The question that a turn answers shortly; nobody answers their own."""
    own = before is not None and before.by_user and turn.by_user
    return None if own else answered_by(before, turn.speaker, text)


def _part(memory: Memory) -> int:
    return memory.part


def _of_turn(
    ref: CubeRef,
    item_id: str,
    turn: Turn,
    session: str,
    place: int,
    part: int,
    text: str,
    now: datetime,
    added_by: str,
    asked: Memory | None,
) -> Memory:
    own = turn.by_user and about_oneself(text)
    caption = "" if part else turn.caption
    return Memory(
        memory_id=memory_id_for(ref, item_id, turn.position, part),
        user_id=ref.user_id,
        mem_cube_id=ref.mem_cube_id,
        text=text,
        caption=caption,
        memory_type=USER_MEMORY_TYPE if own else LONG_TERM_MEMORY_TYPE,
        kind="turn",
        speaker=turn.speaker,
        by_user=turn.by_user,
        session_id=session,
        turn=place,
        part=part,
        at=turn.at,
        ingested_at=turn.ingested_at,
        utc_offset=utc_offset_of(turn.at),
        created_at=now,
        updated_at=now,
        sources={f"{item_id}#{turn.position}": turn.reference},
        importance=importance(text, about_speaker=about_oneself(text), speaker=turn.speaker),
        value=text_value(text, place),
        answers=asked.memory_id if asked else "",
        content_hash=_hash(
            turn.speaker, with_caption(text, caption), turn.metadata, turn.tags, asked.text if asked else ""
        ),
        tags=[*(["preference"] * (turn.by_user and is_preference(text))), *turn.tags],
        added_by=added_by,
        metadata=dict(turn.metadata),
        trigrams=dict.fromkeys(turn.trigrams, int(turn.ingested_at is not None)),
    )


def _of_statement(ref: CubeRef, item_id: str, each: Statement, now: datetime, added_by: str) -> Memory:
    value = (
        importance(each.text, about_speaker=each.about_user, speaker=each.speaker or each.said_by)
        if each.importance is None
        else each.importance
    )
    return Memory(
        memory_id=memory_id_for(ref, item_id, each.key),
        user_id=ref.user_id,
        mem_cube_id=ref.mem_cube_id,
        text=each.text,
        memory_type=USER_MEMORY_TYPE if each.about_user else LONG_TERM_MEMORY_TYPE,
        kind=each.kind,
        speaker=each.speaker,
        session_id=each.session_id,
        turn=each.turn,
        at=each.at,
        ingested_at=each.ingested_at,
        utc_offset=utc_offset_of(each.at),
        created_at=now,
        updated_at=now,
        sources=dict(each.sources) or {f"{item_id}#{each.key}": ""},
        importance=value,
        value=text_value(each.text, each.turn),
        content_hash=_hash(f"{each.kind}:{each.speaker}", each.text, each.metadata, each.given_tags),
        tags=list(dict.fromkeys([*each.tags, *each.given_tags])),
        derived_from=list(each.derived_from),
        said_by=each.said_by,
        by_user=each.by_user,
        event_date=each.event_date,
        added_by=added_by,
        metadata=dict(each.metadata),
        trigrams=dict.fromkeys(each.trigrams, int(each.ingested_at is not None)),
    )


def _hash(speaker: str, text: str, metadata: Mapping[str, MetadataValue], tags: Iterable[str], asked: str = "") -> str:
    """Given other metadata or tags it is another memory: who asks for the one must not get, or miss, the other."""
    said = content_hash(speaker, text, asked)
    given = [*sorted(keywords_of(metadata)), *sorted(f"#{tag}" for tag in tags)]
    if not given:
        return said
    return hashlib.sha256("\n".join([said, *given]).encode("utf-8", "replace")).hexdigest()[:32]
