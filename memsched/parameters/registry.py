"""The model server's side of adapters: they are loaded under their names, found there, and taken out again."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from memsched.errors import MemschedError


class AdapterNotLoaded(MemschedError):
    """The model's server did not load an adapter."""


class AdapterServer(Protocol):
    """A server that loads adapters. Every call is safe to repeat."""

    async def load(self, name: str, made: Path) -> None:
        """Have it answer to this name with the weights in this folder. Raises AdapterNotLoaded."""

    async def unload(self, name: str) -> None:
        """Have it forget them; of one that it does not know, nothing. Raises AdapterNotLoaded."""


class NoAdapterServer:
    """There is no model, or its server knows no adapters."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def load(self, name: str, made: Path) -> None:
        raise AdapterNotLoaded(f"{name}: {self._why}")

    async def unload(self, name: str) -> None:
        """It never had any."""
