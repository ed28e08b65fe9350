"""Warming: the model's server is sent the head of a cube's prompts, so that its prefix cache holds it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Protocol

from memsched.activation.chats import hash_of
from memsched.activation.kept import KeptSlots
from memsched.activation.ladder import Ladder, Rung
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.lexicon import estimate_tokens
from memsched.llm.client import LLM
from memsched.llm.errors import LLMError
from memsched.llm.servers.base import Caching, Dialect, Step
from memsched.memory.access.permissions import CubeRef
from memsched.memory.model import from_ms
from memsched.memory_prompt import head_of, hint_of
from memsched.policy.block import ActivationBlock
from memsched.settings import Settings
from memsched.tiers.activation_status import ActivationStatus
from memsched.tiers.hot_state import HotState, HotStates, Sent


class Reader(Protocol):
    """Gives a cube's block as its owner may read it."""

    async def __call__(self, ref: CubeRef, state: HotState) -> ActivationBlock: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a model's server is warmed now.

    Args:
        place: server and model.
        least: tokens of a prompt; it caches no shorter ones.
    """

    place: str
    dialect: Dialect
    rung: Rung
    least: int

    @property
    def step(self) -> Step:
        return self.rung.step

    def is_too_short(self, head: str) -> bool:
        """Whether the server would not keep this head, however it is sent; estimated."""
        return estimate_tokens(head) < self.least


@dataclass(frozen=True, slots=True)
class Warmed:
    """What a server was sent, and said."""

    block: ActivationBlock
    caching: Caching
    dialect: Dialect


class Warming:
    """Sends heads, each once for a server, a model, an adapter and a way, as long as it can be expected to be kept."""

    def __init__(
        self,
        settings: Settings,
        server: Server,
        keys: Keys,
        states: HotStates,
        llm: LLM | None,
        read: Reader,
        kept: KeptSlots | None = None,
    ) -> None:
        self._settings = settings
        self._states = states
        self._llm = llm
        self._read = read
        self._kept = kept or KeptSlots(settings, llm)
        self.ladder = Ladder(server, keys)

    @property
    def is_on(self) -> bool:
        """Whether the model's server is sent anything unasked (MEMSCHED_ACTIVATION_WARM)."""
        if self._llm is None or self._settings.activation_warm == "never":
            return False
        return self._settings.activation_warm == "always" or self._llm.is_private

    @property
    def _live_ms(self) -> int:
        return int(self._settings.activation_live_minutes * 60_000)

    async def way(self, llm: LLM) -> Way:
        """How the server is warmed; it is asked which kind it is, if that is not known."""
        return await self._way(llm, await llm.dialect())

    async def _way(self, llm: LLM, dialect: Dialect) -> Way:
        rung = await self.ladder.rung(llm.place, dialect.first_step(llm.model))
        return Way(llm.place, dialect, rung, dialect.least(llm.model))

    def is_live(self, state: HotState, submitted: int) -> bool:
        """Whether somebody talks about the cube: a message came lately, or a question did.

        Args:
            submitted: when the message came that is handled, ms since the epoch: it may have waited for hours.
        """
        return _now() - max(submitted, state.asked) < self._live_ms

    async def due_in(self, state: HotState, *, adapter: str | None = None) -> int | None:
        """After how many ms the server should be sent the head; None: it has it, or would not keep it.

        The server is not asked anything: whoever wants to know shall not wait for one that is away.
        """
        if self._llm is None or not state.block:
            return None
        return self._due_in(state, await self._way(self._llm, self._llm.known_dialect), adapter)

    async def warm(self, ref: CubeRef, *, adapter: str | None = None, anyway: bool = False) -> Warmed | None:
        """Send the head if it is time; what was sent. None: it was not time, or another process does it.

        That it is sent is written down first, by compare-and-set: of several workers one sends it. What fails is not
        repeated, since chats warm the cache themselves. Raises LLMError.

        Args:
            anyway: also when it was sent already.
        """
        llm = self._llm
        if llm is None:
            return None
        way = await self.way(llm)

        def is_due(state: HotState) -> bool:
            return bool(state.block) and (anyway or self._due_in(state, way, adapter) == 0)

        if not is_due(await self._states.load(ref)):
            return None

        async def claim(state: HotState, _: set[str]) -> HotState:
            sent = Sent(version=_version_of(state, way, adapter), at=_now(), step=way.step.value)
            return state.model_copy(update={"sent": sent}) if is_due(state) else state

        before, state = await self._states.change(ref, [], claim)
        block = await self._read(ref, state)
        if state.sent == before.sent or not block.text:
            return None
        caching = Caching(hint_of(block, adapter), Step.ONCE if way.step is Step.OFF else way.step)
        try:
            uses = [each.at / 1000 for each in state.log]
            await self._kept.warm(ref, caching, uses, lambda: self._has_salt(ref, state.salt))
        except LLMError as error:
            llm.counters.fell_back("warm", error)
            raise
        await self._took(ref, state.sent, caching)
        return Warmed(block, caching, way.dialect)

    async def status(self, ref: CubeRef, *, adapter: str | None = None) -> ActivationStatus:
        """What the server has of a cube's prompts that this adapter answers."""
        llm, state = self._llm, await self._states.load(ref)
        if llm is None:
            return ActivationStatus()
        way, block = await self.way(llm), await self._read(ref, state)
        head = head_of(block, adapter)
        has_it = self._has_it(state, way, adapter) and state.sent.head == hash_of(head)
        return ActivationStatus(
            server=llm.address,
            model=llm.model,
            kind=way.dialect.name,
            proof=way.dialect.proof[0],
            step=way.step.value,
            step_since=None if way.rung.since is None else from_ms(way.rung.since),
            found_at=None if way.rung.hit is None else from_ms(way.rung.hit),
            warms=self.is_on,
            memories=len(block.memory_ids),
            tokens=estimate_tokens(head),
            least_tokens=way.least,
            sent_at=from_ms(state.sent.at) if has_it else None,
            server_tokens=state.sent.tokens if has_it else 0,
            cached=state.sent.cached if has_it else None,
        )

    async def _has_salt(self, ref: CubeRef, salt: str) -> bool:
        return (await self._states.load(ref)).salt == salt

    async def _took(self, ref: CubeRef, sent: Sent, caching: Caching) -> None:
        """Write down that the server took it: from now on chats are to find it."""
        took = sent.model_copy(
            update={
                "head": hash_of(caching.hint.head),
                "tokens": caching.prompt_tokens or 0,
                "cached": caching.use.cached,
            }
        )

        async def note(state: HotState, _: set[str]) -> HotState:
            return state.model_copy(update={"sent": took}) if state.sent == sent else state

        await self._states.change(ref, [], note)

    def _due_in(self, state: HotState, way: Way, adapter: str | None) -> int | None:
        """It is the server that shall have peace, whatever time the talk is of: so the clock counts."""
        block = ActivationBlock.of(state.block, state.salt)
        wants_it = state.block and way.step is not Step.OFF and not way.is_too_short(head_of(block, adapter))
        if not wants_it or self._has_it(state, way, adapter):
            return None
        return max(0, state.sent.at + int(self._settings.activation_interval_seconds * 1000) - _now())

    def _has_it(self, state: HotState, way: Way, adapter: str | None) -> bool:
        """Whether the server was sent the head, and is not expected to have forgotten it."""
        return state.sent.version == _version_of(state, way, adapter) and _now() - state.sent.at < self._live_ms


def _version_of(state: HotState, way: Way, adapter: str | None) -> str:
    head = head_of(ActivationBlock.of(state.block, state.salt), adapter)
    return hashlib.sha256(json.dumps([way.place, way.step, adapter, head]).encode()).hexdigest()[:16]


def _now() -> int:
    return int(time.time() * 1000)
