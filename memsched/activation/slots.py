"""The slots of a llama.cpp server: which there are, and what may be saved, restored and erased in them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from memsched.llm.server_errors import ServerError

_PLAIN_MARKER = "<__media__>"
"""Of builds whose processes all have the same one."""


Manage = Callable[[str, str, Any], Awaitable[Any]]
"""``LLM.manage``: method, path, body."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server is.

    Args:
        instance: its process; "" when that cannot be told.
        model: a hash of all that what it computes depends on: model, build, cache types, template.
        adapters: by their names, the numbers that it gave them, and their files.
    """

    instance: str
    model: str
    adapters: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written or read: tokens, and bytes."""

    tokens: int
    size: int


class Slots:
    """The calls. Every one raises ServerError."""

    def __init__(self, manage: Manage, build: str = "") -> None:
        """Args:
        build: of the server, where it does not say its own.
        """
        self._manage = manage
        self._build = build
        self._known: Identity | None = None

    async def identity(self) -> Identity:
        """Ask what it is: one request, and more when it was started since."""
        props = await self._call("/props")
        if not isinstance(props, Mapping):
            raise ServerError("The server does not say what it is.", kind="invalid_answer")
        marker = str(props.get("media_marker", ""))
        instance = "" if marker in ("", _PLAIN_MARKER) else _hash(marker)
        if not instance or self._known is None or self._known.instance != instance:
            self._known = await self._asked(instance, props)
        return self._known

    async def _asked(self, instance: str, props: Mapping[str, Any]) -> Identity:
        models, adapters = await asyncio.gather(self._call("/v1/models"), self._call("/lora-adapters"))
        data = models.get("data") if isinstance(models, Mapping) else None
        told = [
            *(
                props.get(name)
                for name in ("model_path", "build_info", "chat_template", "cache_type_k", "cache_type_v")
            ),
            self._build,
            [each.get("meta") for each in data or []],
            _written(str(props.get("model_path", ""))),
        ]
        paths = [(str(each["id"]), str(each["path"])) for each in adapters]
        named = {PurePath(path).stem: (number, f"{path} {_written(path)}") for number, path in paths}
        return Identity(instance, _hash(json.dumps(told, sort_keys=True)), named)

    async def idle(self) -> int | None:
        """The slot that nobody will miss: one that never worked, else the one that worked longest ago; None: all work
        now.
        """
        slots = await self._call("/slots")
        idle = [each for each in slots if not each.get("is_processing")]
        return int(min(idle, key=lambda each: (each.get("id_task", -1), -each["id"]))["id"]) if idle else None

    async def save(self, slot: int, file: str) -> Saved:
        """Have a slot written to a file of the server's folder."""
        told = await self._call(f"/slots/{slot}?action=save", {"filename": file})
        return Saved(int(told["n_saved"]), int(told["n_written"]))

    async def restore(self, slot: int, file: str, identity: Identity, lora: Sequence[Mapping[str, Any]]) -> Saved:
        """Have a slot read from a file, which must have been checked: the server takes all that it can read, and a slot
        whose file is not there is empty afterwards.

        Args:
            lora: with which adapter it was computed. The server does not learn that from the file: for it a slot
                has the adapter of its last request, so that is made one of this adapter.
        """
        if identity.adapters:
            nothing = {"prompt": ".", "n_predict": 0, "cache_prompt": False, "id_slot": slot, "lora": list(lora)}
            await self._call("/completion", nothing)
        told = await self._call(f"/slots/{slot}?action=restore", {"filename": file})
        return Saved(int(told["n_restored"]), int(told["n_read"]))

    async def erase(self, slot: int) -> None:
        """Have a slot forget what it holds."""
        await self._call(f"/slots/{slot}?action=erase", {})

    async def tokens_of(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a chat, as the server computes them."""
        prompt = await self._call("/apply-template", {"messages": list(messages)})
        told = {"content": prompt["prompt"], "add_special": True, "parse_special": True}
        return [int(each) for each in (await self._call("/tokenize", told))["tokens"]]

    async def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return await self._manage("GET" if body is None else "POST", path, body)


def _written(model: str) -> str:
    """Tells a model file from another one in its place, where the server is on this machine."""
    try:
        status = os.stat(model)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
