"""The model server of our own that `MEMSCHED_LLM_BASE_URL=embedded://FOLDER` means, as a client of it needs it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Self

from memsched.embedded.model_server import (
    ModelServer,
    check_model,
    ensure_model_server,
    release_model_server,
    restart_model_server,
)
from memsched.embedded.shared_server import NoProgram
from memsched.errors import SettingsError
from memsched.llm.endpoint import EMBEDDED, Purpose
from memsched.settings import PREFIX, Settings

_LEAST_START_SECONDS = 5.0
_uses: Counter[tuple[str, str]] = Counter()
_uses_mutex = threading.Lock()


class LocalServer:
    """Starts the server at the first request, and again when it is gone; released with its last user here."""

    def __init__(self, settings: Settings, purpose: Purpose, url: str, model: str) -> None:
        """Raises SettingsError when it can never start: llama.cpp is not installed, or there is no such model."""
        self._folder = settings.embedded_folder(url)
        self._model = model
        self._context = settings.llm_context_tokens
        self._slots = settings.llm_concurrency
        self._start_seconds = max(settings.connect_timeout_seconds, _LEAST_START_SECONDS)
        self._files = settings.embedded_folder(settings.activation_files) if settings.activation_files else ""
        self._uses = False
        self._server: ModelServer | None = None
        try:
            check_model(self._folder, model)
        except NoProgram as error:
            raise SettingsError([f"{PREFIX}{purpose.upper()}_BASE_URL={url}: {error}"]) from None

    @classmethod
    def of(cls, settings: Settings, purpose: Purpose) -> Self | None:
        """None when the model of this purpose is not on a server of our own. Raises SettingsError."""
        url, model = settings.llm_base_url, settings.llm_model
        if purpose == "reader":
            url, model = settings.reader_base_url or url, settings.reader_model
        return cls(settings, purpose, url, model) if url.startswith(EMBEDDED) else None

    @property
    def build(self) -> str:
        """Which llama.cpp it is."""
        return f"xllamacpp {version('xllamacpp')}"

    @property
    def server(self) -> ModelServer | None:
        """Where it is; None: it was not needed yet, or was lost."""
        return self._server

    async def ensure(self) -> ModelServer:
        """Have it run. Raises EmbeddedServerError; EmbeddedServerNotReady while the model is being loaded."""
        if self._server is None:
            self._use()
            self._server = await asyncio.to_thread(
                ensure_model_server,
                self._folder,
                self._model,
                context=self._context,
                slots=self._slots,
                files=self._files,
                timeout_seconds=self._start_seconds,
            )
        return self._server

    def lose(self) -> None:
        """It did not answer: the next request looks for it again."""
        self._server = None

    async def adapters(self) -> Path:
        """The folder of the adapters that it loads when it starts. Raises EmbeddedServerError."""
        return (await self.ensure()).adapters

    async def restart(self) -> None:
        """Have it load its adapters anew, between calls. Raises EmbeddedServerError."""
        await asyncio.to_thread(
            restart_model_server,
            self._folder,
            self._model,
            context=self._context,
            slots=self._slots,
            files=self._files,
        )
        self.lose()

    async def release(self) -> None:
        """It is needed no more."""
        if self._uses:
            self._uses = False
            with _uses_mutex:
                _uses[self._folder, self._model] -= 1
                is_last = not _uses[self._folder, self._model]
            if is_last:
                await asyncio.to_thread(release_model_server, self._folder, self._model)

    def _use(self) -> None:
        if not self._uses:
            self._uses = True
            with _uses_mutex:
                _uses[self._folder, self._model] += 1
