"""A cube's hot state in Redis: the recent talk, what answers used, and the working set that follows from both.

It changes by compare-and-set (optimistic locking). Talk and uses are kept so that the order in which messages arrive
does not matter: each is a set of events, of which the latest few stay. Whoever lost the race reloads, adds their events
and computes again; two replicas, a repeated message and one that comes too late all end in the same state.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Argument, Command, as_text, as_texts, script
from memsched.errors import MemschedError
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import Memory
from memsched.messages import UtcTime
from memsched.policy.talk import TalkEvent, Use

_COMMIT = script("commit_hot", "tiers")
_APPLIED_KEPT = 2_000
_USES_KEPT = 8
_USED_MEMORIES_KEPT = 256
_ATTEMPTS = 20


class WorkingMemory(BaseModel):
    """A memory in the working set.

    Attributes:
        parts: what its score is made of; they add up to ``score``.
    """

    model_config = ConfigDict(frozen=True)

    memory_id: str
    text: str
    speaker: str = ""
    memory_type: str
    kind: str
    at: UtcTime
    score: float
    parts: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def of(cls, memory: Memory, score: float, parts: dict[str, float]) -> WorkingMemory:
        return cls(
            memory_id=memory.memory_id,
            text=memory.text,
            speaker=memory.speaker,
            memory_type=memory.memory_type,
            kind=memory.kind,
            at=memory.at,
            score=round(score, 6),
            parts={name: round(value, 6) for name, value in parts.items()},
        )

    @property
    def said(self) -> str:
        """The text, with who said it."""
        return f"{self.speaker}: {self.text}" if self.speaker else self.text


class HotState(BaseModel):
    """All of it, at one version.

    Attributes:
        version: 0: the cube has none yet.
        uses: by memory id.
        working_set: best first.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 0
    talk: list[TalkEvent] = Field(default_factory=list)
    uses: dict[str, Use] = Field(default_factory=dict)
    working_set: list[WorkingMemory] = Field(default_factory=list)

    def with_talk(self, events: Iterable[TalkEvent], window: int) -> HotState:
        """The latest ``window`` events of both; of equal texts the latest, since it says nothing new."""
        by_text: dict[str, TalkEvent] = {}
        for event in [*self.talk, *events]:
            known = by_text.get(event.text)
            if known is None or known.order <= event.order:
                hits = event.hits if event.hits is not None or known is None else known.hits
                by_text[event.text] = event.model_copy(update={"hits": hits})
        latest = sorted(by_text.values(), key=lambda event: event.order)[-window:]
        return self.model_copy(update={"talk": latest})

    def without_hits(self) -> HotState:
        """The same talk, of which nothing was searched yet."""
        return self.model_copy(update={"talk": [event.model_copy(update={"hits": None}) for event in self.talk]})

    def with_uses(self, item_id: str, at: int, memory_ids: Iterable[str]) -> HotState:
        """With one answer's uses. Not idempotent: to be called once per answer."""
        uses = dict(self.uses)
        for memory_id in memory_ids:
            use = uses.get(memory_id, Use())
            times = sorted({*use.times, (at, item_id)})[-_USES_KEPT:]
            uses[memory_id] = Use(count=use.count + 1, times=times)
        if len(uses) > _USED_MEMORIES_KEPT:
            latest = sorted(uses, key=lambda memory_id: (uses[memory_id].times[-1], memory_id))
            uses = {memory_id: uses[memory_id] for memory_id in latest[-_USED_MEMORIES_KEPT:]}
        return self.model_copy(update={"uses": uses})

    def to_fields(self) -> list[str]:
        return [
            "talk",
            _as_json([event.model_dump(mode="json") for event in self.talk]),
            "uses",
            _as_json({memory_id: use.model_dump(mode="json") for memory_id, use in self.uses.items()}),
            "set",
            _as_json([memory.model_dump(mode="json") for memory in self.working_set]),
        ]

    @classmethod
    def from_reply(cls, reply: Any) -> HotState:
        version, talk, uses, working_set = [as_text(part) if part is not None else "" for part in reply]
        return cls.model_validate(
            {
                "version": int(version or 0),
                "talk": json.loads(talk or "[]"),
                "uses": json.loads(uses or "{}"),
                "working_set": json.loads(working_set or "[]"),
            }
        )


class HotStateContested(MemschedError):
    """Other workers changed the cube's hot state again and again while this one computed. Nothing was written."""


class HotStates:
    """The hot states of all cubes."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def load(self, ref: CubeRef) -> HotState:
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot
        command = Command(("HMGET", key, "version", "talk", "uses", "set"), HotState.from_reply)
        return await self._server.persistently(lambda: self._server.call(command))

    def working_set_command(self, ref: CubeRef) -> Command[list[WorkingMemory]]:
        """To be sent alone or in a pipeline: the working set, best first."""
        key = self._keys.cube(ref.user_id, ref.mem_cube_id).hot

        def parse(reply: Any) -> list[WorkingMemory]:
            return [] if reply is None else [WorkingMemory.model_validate(each) for each in json.loads(reply)]

        return Command(("HGET", key, "set"), parse)

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
            if version := await self._commit(ref, before.version, marks, after):
                return before, after.model_copy(update={"version": version})
        raise HotStateContested(
            f"The working set of cube {ref.mem_cube_id!r} was changed by others {_ATTEMPTS} times in a row."
        )

    async def _commit(self, ref: CubeRef, read: int, marks: Sequence[str], after: HotState) -> int:
        """Write a state that was computed from version ``read``. Returns its version; 0 if others wrote meanwhile."""
        keys = self._keys.cube(ref.user_id, ref.mem_cube_id)
        now = int(time.time() * 1000)
        args: list[Argument] = [str(read), now, _APPLIED_KEPT, len(marks), *marks, *after.to_fields()]
        command = _COMMIT.command([keys.hot, keys.applied], args, as_texts)
        outcome, version = await self._server.persistently(lambda: self._server.call(command))
        return int(version) if outcome == "written" else 0


def mark_of(label: str, item_id: str) -> str:
    """The mark of one message's effect on the hot state: its idempotency key."""
    return f"{label}:{item_id}" if len(item_id) <= 64 else f"{label}:{hashlib.sha256(item_id.encode()).hexdigest()}"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
