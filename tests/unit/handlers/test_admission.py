"""Messages whose memory cannot be had now wait, and it costs them nothing."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from support.deliveries import delivery
from support.services import FakeEmbedder, lazy_services

from memsched import HandlerContext
from memsched.errors import SettingsError
from memsched.handlers.admission import handle
from memsched.memory.access.permissions import Permission
from memsched.memory.embedding.embedder import EmbeddingError


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (SettingsError(["MEMSCHED_EMBEDDING_MODEL: there is none."]), 30.0),
        (EmbeddingError("The key is wrong.", temporary=False), 30.0),
        (EmbeddingError("It does not answer.", temporary=True), 2.0),
        (EmbeddingError("It wants to be left alone.", temporary=True, retry_after=60.0), 60.0),
        (EmbeddingError("It wants to be left alone.", temporary=True, retry_after=1e9), 300.0),
        (EmbeddingError("It is in a hurry.", temporary=True, retry_after=0.0), 2.0),
    ],
)
async def test_messages_wait_for_a_model_at_no_cost(embedder: FakeEmbedder, failure: Exception, seconds: float) -> None:
    class Holder:
        async def save_checkpoint(self, *_: Any) -> None: ...

        async def renew_leases(self, *_: Any) -> None: ...

    async def work(*_: Any) -> None:
        raise NotImplementedError

    embedder.failure = failure
    embedder.go_on.set()
    deliveries = [delivery("one"), delivery("two")]
    ctx = HandlerContext(deliveries, Holder(), 0)

    with capture_logs() as lines:
        messages = [each.message for each in deliveries]
        await handle(work, lazy_services(), Permission.WRITE, messages, ctx)

    decisions = [ctx.decisions[each] for each in deliveries]
    assert [each.delay_ms for each in decisions] == [seconds * 1000] * 2
    assert all(str(failure) in each.error for each in decisions)
    assert [(line["action"], line["count"]) for line in lines] == [("memory.put_off", 2)]
