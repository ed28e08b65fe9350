"""Heads that a llama.cpp server keeps on disk, so that its restart costs no chat the time to read them again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from memsched.activation.files import DamagedSlotFile, SlotFile, SlotFiles, cube_hash, file_of
from memsched.activation.place import all_files_of, files_of
from memsched.activation.slots import Identity, Slots
from memsched.errors import MemschedError
from memsched.llm.client import LLM
from memsched.llm.servers import DIALECTS
from memsched.llm.servers.base import CacheHint, CacheUse, Caching, warm_ups
from memsched.logs import get_logger
from memsched.memory.access.permissions import CubeRef
from memsched.settings import Settings

log = get_logger(__name__)

_CALL_SECONDS = 20.0
"""For a slot to be written or read: more than any disk needs for one."""
_HEADS_KNOWN = 1_000
_TOKENS_BEFORE = 2
"""Of a prompt, tokens that a server may have put before it once more or not."""
_LOST = ("", 0)
"""Of a head that the server no longer holds, whatever it was given since it was started."""
_HEADER_BYTES = 4_096
_BYTES_PER_TOKEN = 4


class KeptSlots:
    """Saves what a server computed of a head, and has it restored where the server has begun anew since.

    Nothing here is needed for an answer: what fails costs a chat the time to read the head, and is told in the log.
    """

    def __init__(self, settings: Settings, llm: LLM | None) -> None:
        self._settings = settings
        self._files = files_of(settings)
        self.llm = llm
        self._slots = Slots(llm.manage, llm.build) if llm is not None else None
        self._there: OrderedDict[str, tuple[str, int]] = OrderedDict()

    async def sweep(self) -> None:
        """Delete what is too old, too much, or was left by who died."""
        for files in await asyncio.to_thread(self._all_files):
            await asyncio.to_thread(files.sweep)

    async def warm(
        self, ref: CubeRef, caching: Caching, uses: Sequence[float], holds: Callable[[], Awaitable[bool]]
    ) -> None:
        """Have the server hold the head: from disk if it is there, else by reading it, which is then saved.

        Raises LLMError when it could not be read.

        Args:
            uses: when answers used the cube's memories, seconds since the epoch.
            holds: whether the head is still the cube's; nothing else may be saved.
        """
        assert self.llm is not None
        slots = await self._usable() if self._files is not None else None
        if slots is None:
            await self.llm.warm(caching)
            return
        self.lost(caching.hint)
        if tokens := await self.restore(caching.hint):
            caching.use, caching.prompt_tokens = CacheUse(cached=tokens), tokens
            return
        caching.hint = replace(caching.hint, slot=await self._quietly(slots.idle))
        await self.llm.warm(caching)
        if caching.hint.slot is not None:
            await self._quietly(lambda: self._save(slots, ref, caching, uses, holds))

    async def restore(self, hint: CacheHint) -> int:
        """Have the server read the head from disk, unless it did since it was started and the head was not ``lost``.
        Returns how many tokens it holds now, by what was saved; 0: none.
        """
        slots = await self._usable() if self._files is not None else None
        return 0 if slots is None else await self._quietly(lambda: self._restore(slots, hint)) or 0

    def lost(self, hint: CacheHint) -> None:
        """The server may hold the head no more, as others took its slot: restore it when it is needed next."""
        if self._files is not None:
            self._note(hint, *_LOST)

    async def forget(self, ref: CubeRef) -> None:
        """Delete what was saved of a cube, with whatever model, and have the server forget it. Raises OSError when a
        file stays.
        """
        cube = cube_hash(ref.user_id, ref.mem_cube_id)
        gone = [
            each
            for files in await asyncio.to_thread(self._all_files)
            for each in await asyncio.to_thread(files.forget, cube)
        ]
        slots = await self._usable() if gone else None
        for each in gone:
            if slots is not None:
                await self._quietly(lambda each=each: self._erase(slots, each))  # type: ignore[misc]

    def _all_files(self) -> list[SlotFiles]:
        """Those that are there. A folder that the settings name and that is not may be elsewhere, with files in it."""
        found = all_files_of(self._settings)
        if self._settings.activation_files and not found[0].folder.is_dir():
            log.warning(
                "the folder of MEMSCHED_ACTIVATION_FILES is not there: nothing is deleted in it",
                action="activation.no_folder",
                folder=str(found[0].folder),
            )
        return [each for each in found if each.folder.is_dir()]

    async def _usable(self) -> Slots | None:
        if self.llm is None or not (await self.llm.dialect()).slots:
            return None
        return self._slots

    async def _quietly(self, act: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await act()
        except (MemschedError, OSError, TimeoutError, KeyError, TypeError, ValueError) as error:
            action = "activation.damaged" if isinstance(error, DamagedSlotFile) else "activation.not_kept"
            self._tell(action, error)
            return None

    @staticmethod
    def _tell(action: str, error: Exception) -> None:
        if action == "activation.damaged":
            log.warning(
                "a saved slot is damaged; it was deleted, and the head is read again",
                action="activation.damaged",
                error=str(error),
            )
        else:
            log.warning(
                "the model's server could not save or restore a slot; heads are read again instead",
                action="activation.not_kept",
                error=str(error) or type(error).__name__,
            )

    async def _restore(self, slots: Slots, hint: CacheHint) -> int:
        assert self._files is not None
        files, identity = self._files, await slots.identity()
        there = self._there.get(hint.head)
        if there is not None and there != _LOST and there[0] == identity.instance:
            return there[1]  # of a server that does not tell when it was started, until a chat does not find it
        if hint.adapter is not None and hint.adapter not in identity.adapters:
            return 0
        key = self._key(identity, hint)
        found = await asyncio.to_thread(files.of_key, key)
        if found is None:
            return 0
        if there == _LOST or not identity.instance or found.instance != identity.instance:
            slot = await slots.idle()
            if slot is None:
                return 0
            if await asyncio.to_thread(files.verified, found.name) is None:
                return 0
            number = None if hint.adapter is None else identity.adapters[hint.adapter][0]
            lora = DIALECTS["llama_cpp"].fields(replace(hint, adapter=number))["lora"]
            restored = await slots.restore(slot, file_of(found.name), identity, lora)
            if restored.tokens != found.tokens:
                await slots.erase(slot)
                await asyncio.to_thread(files.remove, found.name)
                raise DamagedSlotFile(found.name)
            await asyncio.to_thread(files.touch, found.name, instance=identity.instance, slot=slot)
            log.info("a saved slot was restored", action="activation.restored", tokens=restored.tokens, slot=slot)
        self._note(hint, identity.instance, found.tokens)
        return found.tokens

    async def _save(
        self,
        slots: Slots,
        ref: CubeRef,
        caching: Caching,
        uses: Sequence[float],
        holds: Callable[[], Awaitable[bool]],
    ) -> None:
        """Between warming and saving another request may have taken the slot: what was written is looked at."""
        assert self._files is not None
        assert caching.hint.slot is not None
        files, identity, cube = self._files, await slots.identity(), cube_hash(ref.user_id, ref.mem_cube_id)
        part, slot = files.new_part(cube), caching.hint.slot
        await asyncio.to_thread(files.refuse_open)
        try:
            saved = await slots.save(slot, part)
            tokens = await slots.tokens_of(self._warmed_with(caching))
            if not await asyncio.to_thread(self._holds_only, part, tokens, saved.tokens) or not await holds():
                return
            key, group = (
                self._key(identity, caching.hint),
                self._hashed([identity.model, self._adapter(identity, caching.hint)]),
            )
            kept = SlotFile(cube, key, group, "", 0, saved.tokens, 0.0, 0.0, tuple(uses), identity.instance, slot)
            await asyncio.to_thread(files.keep, part, kept)
            self._note(caching.hint, identity.instance, saved.tokens)
        finally:
            await asyncio.to_thread(files.discard, part)

    async def _erase(self, slots: Slots, gone: SlotFile) -> None:
        identity = await slots.identity()
        if gone.instance == identity.instance:
            await slots.erase(gone.slot)

    def _holds_only(self, part: str, tokens: Sequence[int], count: int) -> bool:
        """Whether a file begins with these tokens in a row, and has not more than what one answer adds."""
        assert self._files is not None
        head = self._files.bytes_at_head(part, _HEADER_BYTES + _BYTES_PER_TOKEN * count)
        wanted = tokens[_TOKENS_BEFORE:]
        return count <= len(tokens) + 1 and struct.pack(f"={len(wanted)}i", *wanted) in head

    @staticmethod
    def _warmed_with(caching: Caching) -> list[dict[str, Any]]:
        """The messages of the request that was sent last."""
        return warm_ups(caching.hint, caching.step)[-1]

    def _key(self, identity: Identity, hint: CacheHint) -> str:
        return self._hashed([identity.model, self._adapter(identity, hint), hint.head])

    @staticmethod
    def _adapter(identity: Identity, hint: CacheHint) -> str:
        """Which one it is, whatever number it has now. Raises KeyError when the server has it no more."""
        return "" if hint.adapter is None else identity.adapters[hint.adapter][1]

    @staticmethod
    def _hashed(parts: Sequence[Any]) -> str:
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _note(self, hint: CacheHint, instance: str, tokens: int) -> None:
        self._there[hint.head] = instance, tokens
        self._there.move_to_end(hint.head)
        while len(self._there) > _HEADS_KNOWN:
            self._there.popitem(last=False)
