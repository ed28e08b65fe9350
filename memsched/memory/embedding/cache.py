"""An LRU cache of vectors with request coalescing: a text that a server embeds already is not sent a second time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from memsched.memory.embedding.embedder import EmbeddingError

MAX_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 256
"""What an entry takes beside its vector: its key, two objects, a place in the dictionary."""


@dataclass(eq=False, slots=True)
class _Call:
    """A call of the model that is under way, for these keys, and how many callers wait for it."""

    keys: Sequence[bytes]
    task: asyncio.Task[list[bytes]]
    waiting: int = 0


class EmbeddingCache:
    """An LRU cache within max_bytes. A vector is bytes, whatever the caller packs in them.

    Those who ask for the same text at the same time share one call (single flight). It goes on until the last of them
    is cancelled. A failed call is told to all of them, and nothing is kept of it.

    Args:
        model: part of every key.
        embed: returns one vector per text, in order.
        batches: cuts a list of texts into the lists of one call each, in order.
    """

    def __init__(
        self,
        model: str,
        embed: Callable[[list[str]], Awaitable[list[bytes]]],
        batches: Callable[[Sequence[str]], Iterable[list[str]]],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._model = model.encode()
        self._embed = embed
        self._batches = batches
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._running: dict[bytes, _Call] = {}
        self._closed = False
        self.bytes = 0
        """Taken by what is kept."""

    async def vectors(self, texts: Sequence[str]) -> list[bytes]:
        """Return one vector per text. Raises what ``embed`` raises, and EmbeddingError when the cache is closed."""
        keys = [self._key(text) for text in texts]
        found: dict[bytes, bytes] = {}
        calls: dict[_Call, None] = {}
        missing: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if (vector := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                found[key] = vector
            elif (call := self._running.get(key)) is not None:
                calls[call] = None
            else:
                missing[key] = text
        for call in self._start(missing):
            calls[call] = None
        await self._wait(list(calls))
        for call in calls:
            found.update(zip(call.keys, call.task.result(), strict=True))
        return [found[key] for key in keys]

    async def aclose(self) -> None:
        """Callers that wait get an EmbeddingError, and so do later ones."""
        self._closed = True
        tasks = {call.task for call in self._running.values()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()
        self.bytes = 0

    def _key(self, text: str) -> bytes:
        return sha256(self._model + b"\0" + text.encode("utf-8", "surrogatepass")).digest()

    def _start(self, missing: dict[bytes, str]) -> Iterable[_Call]:
        if missing and self._closed:
            raise _closed()
        keys = iter(missing)
        for batch in self._batches(list(missing.values())):
            call = _Call([next(keys) for _ in batch], asyncio.create_task(self._run(batch)))
            self._running.update(dict.fromkeys(call.keys, call))
            call.task.add_done_callback(partial(self._ended, call))
            yield call

    async def _run(self, batch: list[str]) -> list[bytes]:
        try:
            return await self._embed(batch)
        except asyncio.CancelledError:
            if self._closed:  # to those who wait, a cancellation would look like their own
                raise _closed() from None
            raise

    async def _wait(self, calls: Sequence[_Call]) -> None:
        for call in calls:
            call.waiting += 1
        try:
            await asyncio.gather(*(asyncio.shield(call.task) for call in calls))
        finally:
            for call in calls:
                call.waiting -= 1
                if not call.waiting and not call.task.done():
                    self._forget(call)  # at once: nobody may join a call that is being cancelled
                    call.task.cancel()

    def _ended(self, call: _Call, _task: asyncio.Task[list[bytes]]) -> None:
        self._forget(call)
        if not call.task.cancelled() and call.task.exception() is None and not self._closed:
            for key, vector in zip(call.keys, call.task.result(), strict=True):
                if any(vector):  # no vector is asked for again
                    self._keep(key, vector)

    def _forget(self, call: _Call) -> None:
        for key in call.keys:
            if self._running.get(key) is call:
                del self._running[key]

    def _keep(self, key: bytes, vector: bytes) -> None:
        if key not in self._kept:
            self.bytes += len(vector) + _ENTRY_BYTES
        self._kept[key] = vector
        self._kept.move_to_end(key)
        while self.bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.bytes -= len(dropped) + _ENTRY_BYTES


def _closed() -> EmbeddingError:
    return EmbeddingError("It was closed.", temporary=True)
