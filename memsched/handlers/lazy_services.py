"""Lazy loading of the memory half: imported and opened when it is first needed. A process without memory work pays
nothing. This is the one boundary behind which modules may import what is slow (qdrant_client) at their top.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import MemschedError
from memsched.memory.access.hook import release_from
from memsched.memory.access.release import Release
from memsched.patience import Patience
from memsched.policy.binding import binding_named
from memsched.policy.ranking import strategy_named
from memsched.policy.strategy import WorkingSetPolicy
from memsched.policy.transitions import TransitionRules, rules_named
from memsched.settings import Settings

if TYPE_CHECKING:
    from memsched.handlers.services import MemoryServices
    from memsched.handlers.table import MemoryFunction

    _Memory: TypeAlias = tuple[type[MemoryServices], Mapping[str, MemoryFunction]]

_OPENING_SECONDS = 10.0


class LazyServices:
    """The memory services of one process, as a lazy singleton: opened once, then kept.

    Who needs them meanwhile waits for the same attempt, and is told of its failure; the next call is the next attempt.
    One after the other they would wait for a model that does not answer, longer than a handler may run.

    Raises SettingsError for a strategy, transition rules, a binding or a permission hook that are not there.

    Args:
        server: returns the connection to Redis, which may be opened as late.
        release: None: with the hook that the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        keys: Keys,
        server: Callable[[], Awaitable[Server]],
        release: Release | None = None,
    ) -> None:
        self.settings = settings
        self.policy: WorkingSetPolicy | None = None
        self.rules: TransitionRules | None = None
        self._strategy = strategy_named(settings.strategy)  # here, so that a wrong name is told before any message
        binding_named(settings.binding)
        self._release = release or release_from(settings)
        self._rules = rules_named(settings.transitions, settings.archive_after_days, settings.long_term_capacity)
        self._keys = keys
        self._server = server
        self._services: MemoryServices | None = None
        self._opening: asyncio.Task[MemoryServices] | None = None
        self._loaded: _Memory | None = None
        self._began: float | None = None
        """When they were opened for the first time (time.monotonic)."""

    async def get(self) -> MemoryServices:
        """Raises SettingsError, EmbeddingError, what the server raises, and MemschedError when closed meanwhile."""
        if self._services is not None:
            return self._services
        if self._opening is None:
            self._began = self._began or time.monotonic()
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._ended)
        opening = self._opening
        try:
            return await asyncio.shield(opening)  # who is cancelled does not take the services from the others
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if opening.cancelled() and not (caller and caller.cancelling()):
                raise MemschedError("Memory was closed before it was open.") from None
            raise

    async def soon(self, patience: Patience, seconds: float) -> MemoryServices:
        """The same, for who can go on without them. Raises AnswerTooLate.

        Who opens them first waits for longer. A model that is loaded from disk takes as long as it takes.
        """
        if self._services is not None:
            return self._services
        if not self.settings.embedding_model.startswith("openai:"):
            return await self.get()
        opened_for = 0.0 if self._began is None else time.monotonic() - self._began
        return await patience.wait(self.get, max(seconds, _OPENING_SECONDS - opened_for))

    async def function(self, label: str) -> MemoryFunction:
        """The function that handles a label of memsched's own."""
        _, functions = await self._load()
        return functions[label]

    async def aclose(self) -> None:
        """Who still waits for them gets a MemschedError. They may be opened again."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._services is not None:
            services, self._services = self._services, None
            await services.aclose()

    def leave(self) -> MemoryServices | None:
        """Forget what was opened on an event loop that has ended, or before a fork; returns it."""
        services, self._services, self._opening = self._services, None, None
        return services

    async def _open(self) -> MemoryServices:
        services, _ = await self._load()
        self._services = await services.open(
            self.settings,
            await self._server(),
            self._keys,
            self._release,
            self.policy or self._strategy,
            self.rules or self._rules,
        )
        return self._services

    async def _load(self) -> _Memory:
        """In a thread: the loop has other messages' handlers to run."""
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(_import)
        return self._loaded

    def _ended(self, opening: asyncio.Task[MemoryServices]) -> None:
        if self._opening is opening:
            self._opening = None
        if not opening.cancelled():
            opening.exception()  # perhaps nobody waits for it any more: asyncio shall not complain of that


def _import() -> _Memory:
    from memsched.handlers.services import MemoryServices
    from memsched.handlers.table import FUNCTIONS

    return MemoryServices, FUNCTIONS
