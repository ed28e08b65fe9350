"""Chats and adapters: a chat goes on without one that its server does not have, and tries another beside, unseen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from memsched.errors import MemschedError
from memsched.lexicon import stems
from memsched.llm.client import LLM
from memsched.llm.errors import LLMError
from memsched.llm.prompts import Message
from memsched.llm.servers.base import Caching
from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.memory_prompt import MemoryPrompt
from memsched.scheduler import AsyncMemScheduler

log = get_logger(__name__)

_ABOUT_THE_ADAPTER = ("refused", "misconfigured")
"""Failures that another model of the same server need not have."""
_AGREES = 0.8
"""Share of the words, of both answers, that both have."""
_AT_ONCE = 2
"""Questions that are answered beside, in one process: of more, some are left out."""


class AdapterChats:
    """What chats do about adapters, beside answering.

    Args:
        chance: from 0 to 1, for which chats one is tried beside.
    """

    def __init__(self, scheduler: AsyncMemScheduler, chance: Callable[[], float] = random.random) -> None:
        self._scheduler = scheduler
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading: set[CubeRef] = set()

    def is_at_fault(self, prompt: MemoryPrompt, error: LLMError) -> bool:
        """Whether the prompt's adapter may be why the model was of no use: then the model as it is is asked."""
        return prompt.adapter is not None and error.kind in _ABOUT_THE_ADAPTER

    def missing(self, ref: CubeRef, prompt: MemoryPrompt, error: LLMError) -> None:
        """Tell it, and have the server load it again: it may have been started anew."""
        log.warning(
            "the model's server does not have the adapter of a cube; the chat is answered without it",
            action="parameters.not_known",
            user_id=ref.user_id,
            mem_cube_id=ref.mem_cube_id,
            adapter=prompt.adapter,
            error=str(error),
        )
        if ref not in self._reloading:
            self._reloading.add(ref)
            self._begin(self._reload(ref))

    def beside(
        self, llm: LLM, ref: CubeRef, prompt: MemoryPrompt, messages: Sequence[Message], answer: str, **asking: Any
    ) -> None:
        """Have the adapter in shadow answer too, for a share of the chats, and count whether it says the same.

        Args:
            messages: what the model was asked; the first one begins with the prompt's text.
            asking: how it was asked.
        """
        share = self._scheduler.settings.parameter_shadow_share
        if prompt.beside is None or len(self._tasks) >= _AT_ONCE or self._chance() >= share:
            return
        other = prompt.answered_by(prompt.beside)
        caching = Caching(other.hint, asking.pop("caching").step)
        again = [other.messages[0], *messages[1:]]
        self._begin(self._compare(llm, ref, prompt.beside, again, answer, {**asking, "caching": caching}))

    async def aclose(self) -> None:
        """End what is still asked: nobody waits for it."""
        tasks = list(self._tasks)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self, ref: CubeRef) -> None:
        try:
            await (await self._scheduler.memory()).parameters.reload(ref)
        except MemschedError as error:
            log.warning(
                "an adapter could not be loaded again; `memsched parameters activate` tries it once more",
                action="parameters.not_loaded",
                user_id=ref.user_id,
                mem_cube_id=ref.mem_cube_id,
                error=str(error),
            )
        finally:
            self._reloading.discard(ref)

    async def _compare(
        self, llm: LLM, ref: CubeRef, name: str, messages: Sequence[Message], answer: str, asking: dict[str, Any]
    ) -> None:
        try:
            said = await llm.complete(messages, task="shadow", **asking)
        except LLMError:
            said = ""
        try:
            parameters = (await self._scheduler.memory()).parameters
            await parameters.count_shadow(ref, name, agreed=agrees(said, answer), failed=not said)
        except MemschedError as error:
            log.info("what an adapter in shadow said is not counted", action="parameters.uncounted", error=str(error))


def agrees(one: str, other: str) -> bool:
    """Whether two answers say about the same, by their words."""
    words, others = set(stems(one)), set(stems(other))
    return bool(words) and 2 * len(words & others) >= _AGREES * (len(words) + len(others))
