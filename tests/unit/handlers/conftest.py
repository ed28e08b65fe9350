"""An embedding model that a test holds in its hand."""

from __future__ import annotations

import pytest
from support.services import FakeEmbedder


@pytest.fixture
async def embedder(monkeypatch: pytest.MonkeyPatch) -> FakeEmbedder:
    embedder = FakeEmbedder()
    monkeypatch.setattr("memsched.handlers.services.embedder_from", lambda _: embedder)
    return embedder
