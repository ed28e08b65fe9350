"""The model server's side of adapters: they are loaded under their names, found there, and taken out again.

vLLM and SGLang load one while they run, Ollama makes a model of its own of it, and llama.cpp reads a list when it
starts: our own server of that kind is started anew between calls, somebody else's has to be told with ``--lora``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from memsched.errors import EmbeddedServerError, MemschedError
from memsched.llm.server_errors import ServerError
from memsched.llm.servers.base import Dialect
from memsched.llm.servers.llama_cpp import LlamaCpp
from memsched.parameters.gate import Figures

_LEFT_OVER_SECONDS = 3600.0
"""Older files that are not whole are nobody's."""


class AdapterNotLoaded(MemschedError):
    """The model's server did not load an adapter, or did not let go of one."""


class AdapterServer(Protocol):
    """A server that loads adapters. Every call is safe to repeat."""

    async def load(self, name: str, made: Path, figures: Figures) -> None:
        """Have it answer to this name with the weights in this folder. Raises AdapterNotLoaded."""

    async def unload(self, name: str) -> None:
        """Have it forget them; of one that it does not know, nothing. Raises AdapterNotLoaded."""


class Managed(Protocol):
    """A model's server, beside what it answers: ``LLM`` is one."""

    model: str

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers to a call beside its ``/v1``; bytes are sent as they are. Raises ServerError."""

    async def dialect(self) -> Dialect:
        """What kind of server it is."""


class OwnServer(Protocol):
    """llama.cpp's server of our own (``embedded://FOLDER``)."""

    async def adapters(self) -> Path:
        """The folder of those that it loads when it starts."""

    async def restart(self) -> None:
        """Have it start anew. Both raise EmbeddedServerError."""


class _Way:
    """How one kind of server is asked. Every method raises ServerError.

    Attributes:
        reads: what it is given: the folder of the weights, or the GGUF in it.
    """

    reads: ClassVar[Literal["folder", "gguf"]] = "folder"

    def __init__(self, server: Managed) -> None:
        self._server = server

    async def has(self, name: str) -> bool:
        """Whether it names it among its models."""
        answer = await self._server.manage("GET", "/v1/models")
        found = {str(each.get("id")) for each in answer.get("data", ())}
        return not found.isdisjoint((name, f"{name}:latest"))

    async def load(self, name: str, path: Path) -> None:
        """One that it does not have."""

    async def unload(self, name: str) -> None:
        """One that it has."""
        raise AdapterNotLoaded(f"{name}: a server of a kind that knows no adapters names it among its models.")


class _Vllm(_Way):
    """With ``--enable-lora`` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."""

    async def load(self, name: str, path: Path) -> None:
        await self._server.manage("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})

    async def unload(self, name: str) -> None:
        await self._server.manage("POST", "/v1/unload_lora_adapter", {"lora_name": name})


class _Sglang(_Way):
    """With ``--enable-lora``."""

    async def load(self, name: str, path: Path) -> None:
        await self._server.manage("POST", "/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})

    async def unload(self, name: str) -> None:
        await self._server.manage("POST", "/unload_lora_adapter", {"lora_name": name})


class _Ollama(_Way):
    """A model of its own, made from the base and the GGUF of the adapter."""

    reads = "gguf"

    async def load(self, name: str, path: Path) -> None:
        data = await asyncio.to_thread(path.read_bytes)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        await self._server.manage("POST", f"/api/blobs/{digest}", data)
        body = {"model": name, "from": self._server.model, "adapters": {path.name: digest}, "stream": False}
        await self._server.manage("POST", "/api/create", body)

    async def unload(self, name: str) -> None:
        await self._server.manage("DELETE", "/api/delete", {"model": name})


class _LlamaCpp(_Way):
    """It reads a list when it starts. A server of our own is started anew, between calls.

    Args:
        refused: files that it could not load, by what they are: for these it is not started anew once more.
    """

    reads = "gguf"

    def __init__(self, server: Managed, own: OwnServer | None, refused: set[tuple[str, int, int]]) -> None:
        super().__init__(server)
        self._own = own
        self._refused = refused

    async def has(self, name: str) -> bool:
        return await LlamaCpp().called(name, self._server.manage) is not None

    async def load(self, name: str, path: Path) -> None:
        if self._own is None:
            raise AdapterNotLoaded(f"Start llama-server with: --lora {path} --lora-init-without-apply")
        place, status = await self._own.adapters(), await asyncio.to_thread(path.stat)
        this = (name, status.st_size, status.st_mtime_ns)
        if this not in self._refused:
            target = place / f"{name}.gguf"
            await asyncio.to_thread(_copy, path, target)
            await self._own.restart()
            if await self.has(name):
                return
            await asyncio.to_thread(target.unlink, True)
            self._refused.add(this)
        why = f"its log says why (server.log in {place.parent})"
        raise AdapterNotLoaded(f"{name}: llama.cpp's server cannot load {path}, and goes on without; {why}.")

    async def unload(self, name: str) -> None:
        if self._own is None:
            raise AdapterNotLoaded(f"Start llama-server anew without {name}: it holds it until then.")
        file = await self._own.adapters() / f"{name}.gguf"
        await asyncio.to_thread(file.unlink, True)
        await self._own.restart()


def _copy(path: Path, target: Path) -> None:
    """Whole or not at all. What somebody who died left half there goes."""
    for each in target.parent.glob("*.part"):
        if time.time() - each.stat().st_mtime > _LEFT_OVER_SECONDS:
            each.unlink(missing_ok=True)
    part = target.with_suffix(".part")
    shutil.copyfile(path, part)
    os.replace(part, target)


_WAYS: Mapping[str, type[_Way]] = {"vllm": _Vllm, "sglang": _Sglang, "ollama": _Ollama}


class Registry:
    """The adapters of the model's server, whichever kind it is.

    Args:
        server: None: no model is set.
        own: the server, if it is one of our own.
        unload_own: has all servers of our own forget one, with whatever model they run or ran. Raises
            EmbeddedServerError.
    """

    def __init__(
        self,
        server: Managed | None,
        own: OwnServer | None = None,
        unload_own: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._own = own
        self._unload_own = unload_own
        self._refused: set[tuple[str, int, int]] = set()

    async def load(self, name: str, made: Path, figures: Figures) -> None:
        """As AdapterServer has it."""
        way = await self._way()
        try:
            path = made if way.reads == "folder" else await asyncio.to_thread(_named, made, figures, name)
            if not await way.has(name):
                await way.load(name, path)
        except ServerError as error:
            raise AdapterNotLoaded(f"{name}: {error.reason} {error.complaint}".strip()) from error
        except FileNotFoundError as error:
            raise AdapterNotLoaded(f"{name}: {error.filename} is gone: revoke it, and train another.") from error
        except (EmbeddedServerError, OSError) as error:
            raise AdapterNotLoaded(f"{name}: {error}") from error

    async def unload(self, name: str) -> None:
        """As AdapterServer has it."""
        try:
            await asyncio.to_thread(self._unload_own, name)
            if self._server is not None:
                way = self._way_of((await self._server.dialect()).name) or _Way(self._server)
                if await way.has(name):
                    await way.unload(name)
        except (ServerError, EmbeddedServerError) as error:
            raise AdapterNotLoaded(f"{name}: {error}") from error

    async def _way(self) -> _Way:
        if self._server is None:
            raise AdapterNotLoaded("No language model is set (MEMSCHED_LLM_MODEL).")
        kind = (await self._server.dialect()).name
        way = self._way_of(kind)
        if way is None:
            known = ", ".join(sorted([*_WAYS, "llama_cpp"]))
            raise AdapterNotLoaded(f"A server of kind {kind!r} knows no adapters (MEMSCHED_LLM_SERVER); {known} do.")
        return way

    def _way_of(self, kind: str) -> _Way | None:
        """None: this kind of server knows no adapters."""
        assert self._server is not None
        if kind == "llama_cpp":
            return _LlamaCpp(self._server, self._own, self._refused)
        return _WAYS[kind](self._server) if kind in _WAYS else None


def _named(made: Path, figures: Figures, name: str) -> Path:
    """The GGUF under the adapter's own name, by which llama.cpp's server tells it apart. Raises AdapterNotLoaded."""
    if not figures.gguf:
        raise AdapterNotLoaded(f"{name}: its trainer made no GGUF, which this server needs.")
    path = made / f"{name}.gguf"
    if not path.exists():
        os.link(made / figures.gguf, path)
    return path
