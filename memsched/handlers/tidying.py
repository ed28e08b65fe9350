"""Tidying: what was left on disk and at the model's server, by who died or could not reach it, goes unasked."""

from __future__ import annotations

import asyncio
import random

from memsched.activation.kept import KeptSlots
from memsched.errors import MemschedError
from memsched.logs import get_logger
from memsched.parameters.parameters import Parameters

log = get_logger(__name__)

_FIRST_SECONDS = 60.0
"""A command ends before: it does not wait for what others left."""
_EVERY_SECONDS = 3600.0


class Tidying:
    """Sweeps saved slots, and revoked adapters of all cubes, as long as memory is open; each process does it."""

    def __init__(self, kept: KeptSlots, parameters: Parameters) -> None:
        self._kept = kept
        self._parameters = parameters

    async def run(self) -> None:
        seconds = _FIRST_SECONDS
        while True:
            await asyncio.sleep(seconds * random.uniform(0.5, 1.0))
            seconds = _EVERY_SECONDS
            try:
                await self.tidy()
            except (MemschedError, OSError) as error:
                log.warning("what was left is looked for later", action="tidying.failed", error=str(error))

    async def tidy(self) -> None:
        """One round."""
        await self._kept.sweep()
        await self._parameters.sweep_all()
