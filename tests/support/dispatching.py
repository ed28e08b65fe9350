"""A dispatcher without a server, and what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from memsched import Settings
from memsched.queue.delivery import Delivery
from memsched.worker.call import Call
from memsched.worker.dispatcher import Dispatcher
from memsched.worker.handlers import Orchestrator
from support.conditions import until
from support.deliveries import contents


class Bench:
    """A dispatcher with a lease holder that writes down what it is asked."""

    def __init__(self, handlers: dict[str, Any], **settings: Any) -> None:
        self.settings = Settings(redis_url="memory://", **settings)
        self.rules = Orchestrator(self.settings)
        self.rules.register(handlers)
        self.begun: list[Delivery] = []
        self.ours = True
        self.kept: list[tuple[list[str], str]] = []
        self.changes = 0
        self.dispatcher = Dispatcher(self.settings, self.rules, self, self._begin, self._changed)
        self.calls: list[Call] = []

    async def _begin(self, one: Delivery) -> bool:
        self.begun.append(one)
        await asyncio.sleep(0)
        one.checkpoint = {"step": 1}
        return self.ours

    async def save_checkpoint(self, deliveries: Sequence[Delivery], data: str) -> None:
        self.kept.append((contents(list(deliveries)), data))

    async def renew_leases(self, deliveries: Sequence[Delivery]) -> None:
        self.kept.append((contents(list(deliveries)), "renewed"))

    def _changed(self) -> None:
        self.changes += 1

    def give(self, *deliveries: Delivery) -> None:
        self.dispatcher.add(deliveries)
        self.dispatcher.start_ready()

    async def ended(self, count: int, *, told: bool = False) -> list[Call]:
        """Wait until so many calls have ended; all of them. told: the server knows their outcome at once."""

        def enough() -> bool:
            self.dispatcher.watch()
            self.dispatcher.start_ready()
            for call in self.dispatcher.take_ended():
                self.calls.append(call)
                if told:
                    self.dispatcher.drop(call.deliveries)
            return len(self.calls) >= count

        await until(enough, f"{count} calls to end")
        return self.calls
