"""What a pooled connection must not hide."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memsched.broker.pool import ConnectionPool


class Pool:
    async def get_connection(self) -> Any:
        raise AssertionError("it was asked though the task was told to stop")


async def test_who_was_cancelled_just_before_a_call_does_not_make_it() -> None:
    """As by Ctrl-C, which is told between any two lines of Python."""

    async def call() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await ConnectionPool(Pool()).pipeline([("PING",)])  # type: ignore[arg-type]

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(call())
