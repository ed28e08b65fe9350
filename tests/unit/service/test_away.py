"""What stands in place of a part of a page that cannot be made."""

from __future__ import annotations

import pytest

from memsched.errors import ServerUnreachable
from memsched.memory.store.errors import StoreUnavailable
from memsched.service.dashboard.rendering import away


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ServerUnreachable("redis://10.0.0.1", "refused"), "The server of the queue (Redis) does not answer."),
        (TimeoutError(), "The server of the queue (Redis) does not answer."),
        (StoreUnavailable("http://10.0.0.1", "refused"), "The vector store does not answer."),
        (KeyError("secret"), "It was written down"),
    ],
)
def test_it_says_which_server_is_away_or_that_it_was_a_mistake(error: Exception, told: str) -> None:
    shown = away(error)

    assert told in shown
    assert ("Redis" in shown) == ("Redis" in told)
    assert "10.0.0.1" not in shown
    assert "secret" not in shown
