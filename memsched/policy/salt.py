"""The salt of a cube: what its prompts begin with, so that nobody else's prompt has a beginning in common with them.

A server that keeps what it computed for one prompt answers another one sooner that begins the same. Whoever can send it
prompts could so find out what stands in those of others, by guessing. Nobody can guess 16 random digits first.
"""

from __future__ import annotations

import hashlib
import secrets

_DIGITS = 16
_OF_THIS_PROCESS = secrets.token_hex(_DIGITS)


def new_salt() -> str:
    return secrets.token_hex(_DIGITS // 2)


def passing_salt(cube: str) -> str:
    """The salt of a cube that has none of its own, as long as this process lives: nothing of it is stored yet."""
    return _digits(f"{_OF_THIS_PROCESS}:{cube}")


def salt_for(salt: str, adapter: str | None) -> str:
    """The salt of prompts that an adapter answers: servers that do not tell adapters apart keep them apart by it."""
    return salt if adapter is None else _digits(f"{salt}:{adapter}")


def told_as(purpose: str, salt: str) -> str:
    """What a server is told instead of the salt, of which nobody can tell what else it was told, nor the salt."""
    return hashlib.sha256(f"{purpose}:{salt}".encode()).hexdigest()


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
