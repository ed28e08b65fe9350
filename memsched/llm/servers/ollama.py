"""Ollama, which runs llama.cpp or an engine of its own, and tells nothing of its cache."""

from __future__ import annotations

from typing import ClassVar, Literal

from memsched.llm.servers.base import Dialect


class Ollama(Dialect):
    """An adapter is a model of its own there."""

    name = "ollama"
    unproven = "always unknown: it is warmed once and believed"
    adapters: ClassVar[Literal["none", "by_model", "per_request"]] = "by_model"
