"""A cube's hot state in Redis: the last questions and answers, the log of what these used, the working set,
and the activation block.

It changes by compare-and-set (optimistic locking). Talk and log are kept so that the order in which messages arrive
does not matter: each is a set of events, of which the latest few stay. Whoever lost the race reloads, adds their events
and computes again; two replicas, a repeated message and one that comes too late all end in the same state.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Argument, Command, as_text, as_texts, script
from memsched.errors import MemschedError
from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory, short_line, with_caption, with_question
from memsched.memory.search.term_statistics import MARKS_KEPT, MARKS_KEPT_MS
from memsched.memory.store.changes import EVERYTHING
from memsched.memory.tombstones import TOMBSTONES_KEPT
from memsched.messages import UtcTime, describe_validation_error, in_zone
from memsched.policy.block import Member
from memsched.policy.salt import new_salt, passing_salt
from memsched.policy.strategy import CubeMemory
from memsched.policy.talk import ANSWERS_KEPT, ANSWERS_PAIRED, Answered, TalkEvent
from memsched.tiers.moves import Move, Placement, Upkeep

log = get_logger(__name__)

_Value = TypeVar("_Value", bound=BaseModel)

_COMMIT = script("commit_hot", "tiers")
_ATTEMPTS = 20
_FIELDS_PER_CALL = 500
_READ_AGAIN = 256
"""Lists that are kept as they were read."""
_DIGITS = 9
_DAY_MS = 86_400_000
_STAYS = {"reserved", "pinned"}
"""Sources of memories that keep their places whatever is predicted."""
_FIELDS = (
    *("version", "talk", "log", "set", "placement", "block", "salt", "sent"),
    *("predicted", "asked", "deleting", "emptied", "block_before"),
)


@dataclass(frozen=True, slots=True)
class Use:
    """How often answers used a memory.

    Args:
        last: ms since the epoch.
        days: on how many days, at least: of uses that come out of order not all are told apart.
    """

    count: int
    last: int
    days: int = 1

    def again(self, at: int) -> Use:
        """Once more."""
        another = bool(self.count) and at // _DAY_MS > self.last // _DAY_MS
        return Use(self.count + 1, max(self.last, at), self.days + another)


class WorkingMemory(BaseModel):
    """A memory in the working set.

    Attributes:
        parts: what its score is made of; they add up to ``score``.
        theme: the label of its theme (``scheduler.themes``); "" without one.
        sources: why it is here: "value", "reserved" (it must never be forgotten), what else a strategy says.
        may_be_revised_by: ids of later memories that may say what holds now.
        event_date: when what it tells happened or will happen (``Memory.event_date``).
        utc_offset: the speaker's zone at that time, in minutes.
        answers: the id of the turn that asked what a short answer answers, or "".
        asked: that turn's text, where it is read; it is never stored.
        cube: the user's name of the cube it comes from, in a set of several (``working_set(role=...)``).
    """

    model_config = ConfigDict(frozen=True)

    memory_id: str
    text: str
    caption: str = ""
    speaker: str = ""
    memory_type: str
    kind: str
    at: UtcTime
    utc_offset: int = 0
    score: float
    parts: dict[str, float] = Field(default_factory=dict)
    theme: str = ""
    sources: list[str] = Field(default_factory=list)
    may_be_revised_by: list[str] = Field(default_factory=list)
    event_date: str = ""
    answers: str = ""
    asked: str = ""
    cube: str = ""

    def __hash__(self) -> int:
        return hash(self.memory_id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_line(self.text)!r}, score={self.score:.2f}, id={self.memory_id!r})"

    @classmethod
    def of(
        cls,
        memory: Memory | CubeMemory,
        score: float,
        parts: Mapping[str, float],
        theme: str = "",
        *,
        sources: Sequence[str] = (),
        cube: str = "",
    ) -> WorkingMemory:
        return cls(
            memory_id=memory.memory_id,
            text=memory.text,
            caption=memory.caption,
            speaker=memory.speaker,
            memory_type=memory.memory_type,
            kind=memory.kind,
            at=memory.at,
            utc_offset=memory.utc_offset,
            score=round(score, _DIGITS),
            parts={name: round(value, _DIGITS) for name, value in parts.items()},
            theme=theme,
            sources=list(sources),
            may_be_revised_by=list(memory.may_be_revised_by),
            event_date=memory.event_date,
            answers=memory.answers,
            cube=cube,
        )

    @property
    def local_at(self) -> datetime:
        """As ``Memory.local_at``."""
        return in_zone(self.at, self.utc_offset)

    @property
    def said(self) -> str:
        """The text, with who said it, what it answers, and what is seen on a picture that came with it."""
        told = with_caption(self.text, self.caption)
        return with_question(f"{self.speaker}: {told}" if self.speaker else told, self.asked)


class Sent(BaseModel):
    """What a model server was sent last, so that its cache holds the head of the cube's prompts.

    Attributes:
        version: a hash of block, salt, adapter and server; "" when nothing was sent.
        at: ms since the epoch.
        head: a hash of the head that the server took; "" if it did not, or not yet.
        tokens: of the head, as the server counted them; 0 if it did not.
        cached: of them, what it said that it had before; None: it did not say.
        step: how it was warmed.
    """

    model_config = ConfigDict(frozen=True)

    version: str = ""
    at: int = 0
    head: str = ""
    tokens: int = 0
    cached: int | None = None
    step: str = ""


NOTHING_SENT = Sent()


class Prediction(BaseModel):
    """What somebody who is still typing will probably ask for; void as soon as anybody has asked.

    Attributes:
        at: when they had typed so much, as their message says, ms since the epoch.
        size: of the working set, with these.
        memories: best first.
        session_id: of the conversation in which it is typed; "": it was not said.
    """

    model_config = ConfigDict(frozen=True)

    at: int
    size: int
    memories: list[WorkingMemory]
    session_id: str = ""

    def beside(self, working_set: Sequence[WorkingMemory]) -> list[WorkingMemory]:
        """The set with these in the last places, but for those which keep theirs in any case."""
        ids = {each.memory_id for each in self.memories}
        over = len(working_set) + len(self.memories) - self.size - sum(each.memory_id in ids for each in working_set)
        kept: list[WorkingMemory] = []
        for each in reversed(working_set):
            if each.memory_id in ids:
                continue
            if over > 0 and not _STAYS.intersection(each.sources):
                over -= 1
                continue
            kept.append(each)
        return [*reversed(kept), *self.memories][: self.size]


class HotState(BaseModel):
    """All of it, at one version.

    Attributes:
        version: 0: the cube has none yet.
        talk: the last questions and answers, oldest first.
        log: what the last answers used, oldest first.
        working_set: best first.
        predicted: by who types, what is near beside it for them alone.
        asked: when a question was taken into account last, ms since the epoch, by the clock: what was typed before it
            is over.
        placement: what is activated and pinned.
        block: the members of the activation block, in their order.
        block_before: ids of the members of the block before this one.
        salt: what the cube's prompts begin with (policy/salt.py); "": the next change gives it one, or another one.
        sent: what a model server was sent last.
        deleting: ids of memories whose deletion has begun: for whoever reads, they are gone. The next pass ends it.
        emptied: when all memories were deleted last, ms since the epoch: what was submitted before that is over.
        tombstones: ids that a change lays tombstones for; they are stored elsewhere (memory/tombstones.py).
        uses: by memory id, how often answers used it; only those that a change is about.
        moves: the last moves between tiers, oldest first; None where a change is not about them.
        upkeep: that moves are to be decided; not stored, for it follows from the rest.
        left: by id of a memory that left the working set with a change, why; not stored.
        new, gone: questions and answers that a change adds to what was said (``HotStates.said``), or takes out of it.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 0
    talk: list[TalkEvent] = Field(default_factory=list)
    log: list[Answered] = Field(default_factory=list)
    working_set: list[WorkingMemory] = Field(default_factory=list)
    predicted: dict[str, Prediction] = Field(default_factory=dict)
    asked: int = 0
    placement: Placement = Placement()
    block: list[Member] = Field(default_factory=list)
    block_before: list[str] = Field(default_factory=list)
    salt: str = ""
    sent: Sent = NOTHING_SENT
    deleting: list[str] = Field(default_factory=list)
    emptied: int = 0
    tombstones: list[str] = Field(default_factory=list)
    uses: dict[str, Use] = Field(default_factory=dict)
    moves: list[Move] | None = None
    upkeep: Upkeep | None = None
    new: list[TalkEvent] = Field(default_factory=list)
    gone: list[TalkEvent] = Field(default_factory=list)
    left: dict[str, str] = Field(default_factory=dict)

    def near(self, reader: str) -> list[WorkingMemory]:
        """The working set as this user reads it: what is predicted for them has the last places."""
        typed = self.predicted.get(reader)
        return typed.beside(self.working_set) if typed else self.working_set

    def with_talk(self, events: Iterable[TalkEvent]) -> HotState:
        """With these events; of one id the first to come stays, as its effect is there."""
        known = {event.event_id for event in self.talk}
        new = sorted((event for event in events if event.event_id not in known), key=lambda event: event.order)
        talk = [*self.talk, *new]
        predicted = {} if any(event.kind == "question" for event in new) else self.predicted
        talk.sort(key=lambda event: event.order)
        new = sorted([*self.new, *new], key=lambda event: event.order)
        return self.model_copy(update={"talk": talk, "new": new, "predicted": predicted})

    def without(self, memory_ids: Set[str]) -> HotState:
        """The same state, as if there had never been these memories, as far as they are named in it."""
        predicted = {
            name: typed.model_copy(
                update={"memories": [each for each in typed.memories if each.memory_id not in memory_ids]}
            )
            for name, typed in self.predicted.items()
        }
        log = [event.without(memory_ids) for event in self.log]
        activated = [
            each.model_copy(update={"latest": [memory_id for memory_id in each.latest if memory_id not in memory_ids]})
            for each in self.placement.activated
        ]
        pins = [each for each in self.placement.pins if each not in memory_ids]
        near = [each for each in self.working_set if each.memory_id not in memory_ids]
        return self.model_copy(
            update={
                "log": log,
                "working_set": [each.model_copy(update={"theme": ""}) for each in near],  # a theme's name tells
                "predicted": predicted,
                "placement": self.placement.model_copy(update={"pins": pins, "activated": activated}),
                "block": [each for each in self.block if each.memory_id not in memory_ids],
                "block_before": [each for each in self.block_before if each not in memory_ids],
                "salt": "" if any(each.memory_id in memory_ids for each in self.block) else self.salt,
            }
        )

    def fields_beside(self, before: HotState) -> list[str]:
        """The fields and values in which it differs from what is stored."""
        fields: list[str] = []
        for name, own, theirs in (
            ("talk", self.talk, before.talk),
            ("log", self.log, before.log),
            ("set", self.working_set, before.working_set),
            ("block", self.block, before.block),
        ):
            if own != theirs:
                fields += (
                    name,
                    _as_json([each.model_dump(mode="json", exclude_defaults=name == "log") for each in own]),
                )
        if self.predicted != before.predicted:
            fields += (
                "predicted",
                _as_json({name: each.model_dump(mode="json") for name, each in self.predicted.items()}),
            )
        if self.asked != before.asked:
            fields += ("asked", str(self.asked))
        if self.placement != before.placement:
            fields += ("placement", _as_json(self.placement.model_dump(mode="json")))
        if self.moves is not None:
            fields += (
                "moves",
                _as_json([each.model_dump(mode="json") for each in self.moves]),
            )
        if self.salt != before.salt:
            fields += ("salt", self.salt)
        if self.sent != before.sent:
            fields += ("sent", _as_json(self.sent.model_dump()))
        if self.block_before != before.block_before:
            fields += ("block_before", _as_json(self.block_before))
        if self.deleting != before.deleting:
            fields += ("deleting", _as_json(self.deleting))
        if self.emptied != before.emptied:
            fields += ("emptied", str(self.emptied))
        for memory_id, use in self.uses.items():
            fields += (_use_field(memory_id), f"{use.count} {use.last} {use.days}")
        return fields

    @classmethod
    def from_reply(cls, reply: Any) -> HotState:
        version, talk, log, working_set, placement, block, salt, sent, *rest = reply
        predicted, asked, deleting, emptied, block_before = rest
        return cls(
            version=int(version or 0),
            talk=[event for event in _listed(TalkEvent, talk) if "kind" in event.model_fields_set],  # once it had none
            log=_listed(Answered, log),
            working_set=_listed(WorkingMemory, working_set),
            placement=_part(Placement, placement) or Placement(),
            block=_listed(Member, block),
            block_before=json.loads(block_before or "[]"),
            salt=as_text(salt or ""),
            sent=_part(Sent, sent) or NOTHING_SENT,
            predicted=_predictions(predicted),
            asked=int(asked or 0),
            deleting=json.loads(deleting or "[]"),
            emptied=int(emptied or 0),
        )


@dataclass(frozen=True, slots=True)
class HeadState:
    """What a cube's prompts begin with: the members of its block, its salt; and what of it a server was sent."""

    members: Sequence[Member]
    salt: str
    sent: Sent


class HotStateContested(MemschedError):
    """Other workers changed the cube's hot state again and again while this one computed. Nothing was written."""


class HotStates:
    """The hot states of all cubes.

    Args:
        forget_head: deletes what is kept elsewhere of what a cube's prompts began with, when the salt changes.
    """

    def __init__(
        self, server: Server, keys: Keys, forget_head: Callable[[CubeRef], Awaitable[None]] | None = None
    ) -> None:
        self._server = server
        self._keys = keys
        self._forget_head = forget_head

    async def load(self, ref: CubeRef) -> HotState:
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        command = Command(("HMGET", key, *_FIELDS), HotState.from_reply)
        return await self._server.persistently(lambda: self._server.call(command))

    async def snapshot(self, ref: CubeRef, memory_ids: Sequence[str] = ()) -> HotState:
        """As ``load``, with the last moves, and how often answers used these memories, all of one version."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot

        def parse(reply: Any) -> HotState:
            state, moves = HotState.from_reply(reply[: len(_FIELDS)]), _listed(Move, reply[len(_FIELDS)])
            uses = _uses_of(memory_ids, reply[len(_FIELDS) + 1 :])
            return state.model_copy(update={"moves": moves, "uses": uses})

        command = Command(("HMGET", key, *_FIELDS, "moves", *map(_use_field, memory_ids)), parse)
        return await self._server.persistently(lambda: self._server.call(command))

    def working_set_command(
        self, ref: CubeRef, reader: str, session_id: str | None = None
    ) -> Command[list[WorkingMemory]]:
        """To be sent alone or in a pipeline: the working set, best first; what is predicted has the last places.

        Args:
            reader: who asks: nobody sees what is predicted for others, since it tells what they type.
            session_id: a conversation: without what is predicted for another one.
        """
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot

        def parse(reply: Any) -> list[WorkingMemory]:
            stored, predicted = reply
            working_set, typed = _read_again(WorkingMemory, stored), _predictions(predicted).get(reader)
            if typed is None or (session_id is not None and typed.session_id not in ("", session_id)):
                return list(working_set)
            return typed.beside(working_set)

        return Command(("HMGET", key, "set", "predicted"), parse)

    async def typing(self, ref: CubeRef, user_id: str, item_id: str) -> None:
        """Say which message has what this user typed last; all earlier ones need not run."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        await self._server.persistently(lambda: self._server.execute("HSET", key, _typed_field(user_id), item_id))

    async def typed(self, ref: CubeRef, user_id: str) -> str:
        """The id of that message; "" if they typed nothing."""
        key, field = self._keys.cube(ref.user_id, ref.mem_cube_id).hot, _typed_field(user_id)
        return as_text(await self._server.persistently(lambda: self._server.execute("HGET", key, field)) or "")

    def activation_command(self, ref: CubeRef) -> Command[HeadState]:
        """To be sent alone or in a pipeline: what the cube's prompts begin with."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot

        def parse(reply: Any) -> HeadState:
            block, salt, sent = reply
            name = f"{ref.user_id}/{ref.mem_cube_id}"
            return HeadState(
                _read_again(Member, block), as_text(salt or "") or passing_salt(name), _part(Sent, sent) or NOTHING_SENT
            )

        return Command(("HMGET", key, "block", "salt", "sent"), parse)

    async def applied(self, ref: CubeRef, marks: Sequence[str]) -> set[str]:
        """Those of the marks whose messages have changed the state already: the idempotency keys that are known."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).applied
        reply = await self._server.persistently(lambda: self._server.execute("ZMSCORE", key, *marks))
        return {mark for mark, score in zip(marks, reply, strict=True) if score is not None}

    async def change(
        self,
        ref: CubeRef,
        marks: Sequence[str],
        compute: Callable[[HotState, set[str]], Awaitable[HotState]],
    ) -> tuple[HotState, HotState]:
        """Load, compute, and write if nobody wrote meanwhile, else again. Returns the states before and after.

        Raises HotStateContested after 20 attempts.

        Args:
            marks: of the messages whose effects this brings.
            compute: gets the state, and the marks whose effects it has already; not called when it has all of them.
        """
        for _ in range(_ATTEMPTS):
            before = await self.load(ref)
            known = await self.applied(ref, marks) if marks else set()
            if marks and len(known) == len(set(marks)):
                return before, before
            after = await compute(before, known)
            if not after.salt:
                after = after.model_copy(update={"salt": new_salt()})
            forget = self._forget_head if before.salt and after.salt != before.salt else None
            if forget is not None:  # before it is written: whoever dies after that begins again
                await forget(ref)
            if version := await self._commit(ref, before, marks, after):
                if forget is not None:  # and after it: from now on nobody keeps what began with the old one
                    await forget(ref)
                return before, after.model_copy(update={"version": version, "new": [], "gone": [], "tombstones": []})
        raise HotStateContested(
            f"The working set of cube {ref.mem_cube_id!r} was changed by others {_ATTEMPTS} times in a row."
        )

    async def said(self, ref: CubeRef) -> list[TalkEvent]:
        """The last questions and answers, oldest first, without what was found for them.

        They are read only when what arrives is about what was said before the talk: each is written once, and not with
        each message.
        """
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).talk
        reply = await self._server.persistently(lambda: self._server.execute("ZRANGE", key, 0, -1))
        return [event for each in reply if (event := _part(TalkEvent, each)) is not None]

    async def uses(self, ref: CubeRef, memory_ids: Sequence[str]) -> dict[str, Use]:
        """How often answers used these memories; those that none did are missing."""
        if not memory_ids:
            return {}
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        uses: dict[str, Use] = {}
        for at in range(0, len(memory_ids), _FIELDS_PER_CALL):
            part = memory_ids[at : at + _FIELDS_PER_CALL]
            fields = [_use_field(memory_id) for memory_id in part]
            reply = await self._server.persistently(lambda fields=fields: self._server.execute("HMGET", key, *fields))  # type: ignore[misc]
            uses |= _uses_of(part, reply)
        return uses

    async def moves(self, ref: CubeRef) -> list[Move]:
        """The last moves between tiers, oldest first."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        reply = await self._server.persistently(lambda: self._server.execute("HGET", key, "moves"))
        return _listed(Move, reply)

    def deleting_command(self, ref: CubeRef) -> Command[set[str]]:
        """To be sent together with others: the ids of memories whose deletion has begun."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        return Command(("HGET", key, "deleting"), lambda reply: set(json.loads(reply or "[]")))

    async def deleting(self, ref: CubeRef) -> set[str]:
        return await self._server.persistently(lambda: self._server.call(self.deleting_command(ref)))

    async def forget_uses(self, ref: CubeRef, memory_ids: Sequence[str] | None = None) -> None:
        """Forget how often these memories were used (None: all), since they are no more."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        if memory_ids is None:
            names = await self._server.persistently(lambda: self._server.execute("HKEYS", key))
            fields = [name for name in as_texts(names) if name.startswith((_use_field(""), _typed_field("")))]
        else:
            fields = [_use_field(memory_id) for memory_id in memory_ids]
        for at in range(0, len(fields), _FIELDS_PER_CALL):
            part = fields[at : at + _FIELDS_PER_CALL]
            await self._server.persistently(lambda part=part: self._server.execute("HDEL", key, *part))  # type: ignore[misc]

    async def _commit(self, ref: CubeRef, before: HotState, marks: Sequence[str], after: HotState) -> int:
        """Write what differs from ``before``. Returns the new version; 0 if others wrote meanwhile."""
        keys = self._keys.cube(ref.user_id, ref.mem_cube_id)
        now = int(time.time() * 1000)
        laid = dict.fromkeys(after.tombstones, now)
        if after.emptied != before.emptied:
            laid[EVERYTHING] = after.emptied
        args: list[Argument] = [
            str(before.version),
            now,
            MARKS_KEPT,
            MARKS_KEPT_MS,
            ANSWERS_KEPT + ANSWERS_PAIRED,
            len(marks),
            *marks,
            len(after.new),
            *(part for event in after.new for part in (event.at, _as_said(event))),
            len(after.gone),
            *map(_as_said, after.gone),
            TOMBSTONES_KEPT,
            len(laid),
            *(part for name, at in laid.items() for part in (name, at)),
            *after.fields_beside(before),
        ]
        command = _COMMIT.command([keys.hot, keys.applied, keys.talk, keys.tombstones], args, as_texts)
        outcome, version = await self._server.persistently(lambda: self._server.call(command))
        return int(version) if outcome == "written" else 0


def mark_of(label: str, item_id: str) -> str:
    """The mark of one message's effect on the hot state: its idempotency key.

    Args:
        item_id: what the message is called within the cube (``memory.model.id_within``).
    """
    return f"{label}:{item_id}" if len(item_id) <= 64 else f"{label}:{hashlib.sha256(item_id.encode()).hexdigest()}"


@cache
def _list_of(model: type[_Value]) -> TypeAdapter[list[_Value]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]


def _listed(model: type[_Value], stored: str | bytes | None) -> list[_Value]:
    """A list as it is stored, without what of it cannot be read: that counts as not there."""
    try:
        return _list_of(model).validate_json(stored or "[]")
    except ValidationError:
        given = json.loads(stored or "[]")
        return [found for each in given if (found := _part(model, json.dumps(each))) is not None]


@lru_cache(maxsize=_READ_AGAIN)
def _read_again(model: type[_Value], stored: str | bytes | None) -> tuple[_Value, ...]:
    """As ``_listed``, for what each request of a cube reads: the same bytes are read once.

    What is kept follows from the bytes alone, so that it cannot be out of date.
    """
    return tuple(_listed(model, stored))


def _part(model: type[_Value], stored: str | bytes | None) -> _Value | None:
    """A part as it is stored; None if it is not there, or cannot be read."""
    try:
        return model.model_validate_json(stored) if stored else None
    except ValidationError as error:
        log.warning(
            "a part of a cube's hot state cannot be read; it counts as not there",
            action="hot_state.unreadable",
            part=model.__name__,
            error=describe_validation_error(error),
        )
        return None


def _predictions(stored: str | bytes | None) -> dict[str, Prediction]:
    """By user, what is predicted for them, as it is stored."""
    given = {name: each for name, each in json.loads(stored or "{}").items() if isinstance(each, dict)}
    found = {name: _part(Prediction, json.dumps(each)) for name, each in given.items()}
    return {name: each for name, each in found.items() if each is not None}


def _typed_field(user_id: str) -> str:
    return f"typed:{user_id}"


def _as_said(event: TalkEvent) -> str:
    """What is kept of a question or an answer beyond the talk; of the same moment, in the order of the ids."""
    return event.model_dump_json(exclude={"hits", "seen"}, exclude_defaults=True)


def _uses_of(memory_ids: Sequence[str], stored: Sequence[Any]) -> dict[str, Use]:
    """How often these memories were used, as it is stored of each; without those that were not."""
    found = {each: as_text(given).split() for each, given in zip(memory_ids, stored, strict=True) if given}
    return {memory_id: Use(*map(int, parts)) for memory_id, parts in found.items()}


def _use_field(memory_id: str) -> str:
    return f"use:{memory_id}"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
