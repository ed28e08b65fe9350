"""In which roles of the access policy somebody reads now: those of the key that their request came with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ROLES: ContextVar[frozenset[str]] = ContextVar("memsched_reading_as", default=frozenset())


def roles_now() -> frozenset[str]:
    """The roles of ``reading_as`` around this call; beside them a reader has those that the policy's file gives."""
    return _ROLES.get()


@contextmanager
def reading_as(roles: Iterable[str]) -> Iterator[None]:
    """What is read within, also by tasks that are started there, is read in these roles: ``Principal.reading_as``."""
    before = _ROLES.get()
    _ROLES.set(frozenset(roles))
    try:
        yield
    finally:
        _ROLES.set(before)
