"""Chats as proof: what each found in the server's cache, and what follows for how the server is warmed."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from memsched.activation.kept import KeptSlots
from memsched.activation.ladder import SHARE, Climbed, Ladder, is_hit
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import MemschedError
from memsched.lexicon import estimate_tokens
from memsched.llm.client import LLM
from memsched.llm.servers.base import Caching, Dialect, Step
from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory_prompt import MemoryPrompt
from memsched.messages import ACTIVATION_MEMORY_TYPE, ACTIVATION_UPDATE_TASK_LABEL, ScheduleLogForWebItem
from memsched.queue.events import append_event
from memsched.settings import Settings
from memsched.tiers.hot_state import HotState, HotStates, Sent

log = get_logger(__name__)

_HEADS_KEPT = 10_000
_DOES = {
    Step.ONCE: "it is warmed by one request, without marks",
    Step.TWICE: "it is warmed by two requests with different endings",
    Step.THRICE: "it is warmed by three requests with different endings",
    Step.OFF: "it is not warmed for a day",
}


def hash_of(head: str) -> str:
    """What is remembered of the head that a server was sent."""
    return hashlib.sha256(head.encode(errors="surrogatepass")).hexdigest()[:16]


class CachedChats:
    """Lets chats say what a server shall keep of them, and learns from what the server says that it had.

    Nothing here is needed for an answer: what fails here costs a chat nothing.

    Args:
        clock: seconds, monotonic: when a head was sent by a chat of this process.
    """

    def __init__(
        self, settings: Settings, server: Server, keys: Keys, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._kept: KeptSlots | None = None
        self._live_seconds = settings.activation_live_minutes * 60
        self._server = server
        self._keys = keys
        self._ladder = Ladder(server, keys)
        self._clock = clock
        self._sent: OrderedDict[tuple[str, Step], float] = OrderedDict()

    async def caching(self, llm: LLM, prompt: MemoryPrompt) -> Caching:
        """What the request of a chat with this prompt says. A server that was started since is given what was saved."""
        dialect = await llm.dialect()
        first = dialect.first_step(llm.model)
        try:
            step = (await self._ladder.rung(llm.place, first)).step
        except MemschedError:
            step = first
        hint = prompt.hint
        if prompt.activation.text:
            if self._kept is None or self._kept.llm is not llm:
                self._kept = KeptSlots(self._settings, llm)
            await self._kept.restore(hint)
        return Caching(hint, step)

    async def answered(self, llm: LLM, prompt: MemoryPrompt, caching: Caching, ref: CubeRef) -> None:
        """Learn from what the server said. It is logged, and an event of the cube, when something follows.

        A head that was not found is sent again with the next message: the server was started since, or forgot it.
        """
        dialect = await llm.dialect()
        tokens = self._head_tokens(prompt, caching)
        was_sent = self._was_sent(prompt, caching)
        found = None if is_hit(caching.use.cached or 0, tokens, dialect.unit) else caching.use.cached
        if found is not None and self._kept is not None:
            self._kept.lost(caching.hint)
        if caching.use.cached is None or caching.step is Step.OFF or not was_sent or tokens < dialect.least(llm.model):
            return
        first = dialect.first_step(llm.model)
        try:
            cube = f"{ref.user_id}/{ref.mem_cube_id}"
            climbed = await self._ladder.saw(llm.place, first, caching.step, cube, found)
            if found is not None and prompt.sent.head:
                await self._forget(ref, prompt.sent)
            if climbed is not None:
                await self._tell(llm, dialect, climbed, round(tokens), ref)
        except MemschedError as error:
            log.info("what a chat found in the cache could not be told", action="activation.unlearnt", error=str(error))

    async def _forget(self, ref: CubeRef, sent: Sent) -> None:
        """The server does not have what it was sent."""

        async def compute(state: HotState, _: set[str]) -> HotState:
            return state.model_copy(update={"sent": Sent(at=sent.at)}) if state.sent == sent else state

        await HotStates(self._server, self._keys).change(ref, [], compute)

    def _was_sent(self, prompt: MemoryPrompt, caching: Caching) -> bool:
        """Whether the server should have known the head: it was warmed with it, or a chat before this one began so."""
        key, now = (hash_of(caching.hint.head), caching.step), self._clock()
        before = self._sent.pop(key, None)
        self._sent[key] = now
        while len(self._sent) > _HEADS_KEPT:
            self._sent.popitem(last=False)
        sent = prompt.sent
        warmed = sent.head == key[0] and sent.step == caching.step and time.time() - sent.at / 1000 < self._live_seconds
        return warmed or (before is not None and now - before < self._live_seconds)

    @staticmethod
    def _head_tokens(prompt: MemoryPrompt, caching: Caching) -> float:
        """Of the head, as the server counts: as it did when it was warmed, or in proportion."""
        head = caching.hint.head
        if prompt.sent.tokens and prompt.sent.head == hash_of(head):
            return prompt.sent.tokens
        whole = estimate_tokens("".join(each["content"] for each in prompt.messages))
        return estimate_tokens(head) * (caching.prompt_tokens or whole) / whole

    async def _tell(self, llm: LLM, dialect: Dialect, climbed: Climbed, tokens: int, ref: CubeRef) -> None:
        found = ", ".join(map(str, climbed.found))
        reason = (
            f"{len(climbed.found)} chats in a row found {found} of {tokens} tokens in the cache, less than {SHARE:.0%}"
        )
        log.info(
            "the model's server did not keep what it was sent; from now on it is warmed in another way",
            action="activation.step",
            server=llm.address,
            model=llm.model,
            kind=dialect.name,
            before=climbed.before.value,
            after=climbed.after.value,
            reason=reason,
        )
        event = ScheduleLogForWebItem(
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
            label=ACTIVATION_UPDATE_TASK_LABEL,
            log_content=f"The model's server: {reason}; {_DOES[climbed.after]}",
            from_memory_type=ACTIVATION_MEMORY_TYPE,
            to_memory_type=ACTIVATION_MEMORY_TYPE,
            metadata={
                "server": llm.address,
                "model": llm.model,
                "kind": dialect.name,
                "before": climbed.before.value,
                "after": climbed.after.value,
                "cached": climbed.found,
                "tokens": tokens,
            },
        )
        await append_event(self._server, self._keys, self._settings, (ref.user_id, ref.mem_cube_id), event)
