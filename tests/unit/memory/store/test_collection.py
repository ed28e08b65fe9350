"""What stands behind the alias must be as memsched makes it."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient, models

from memsched import Settings
from memsched.memory.access.permissions import CubeRef
from memsched.memory.store.collection import Collection
from memsched.memory.store.errors import StoreRefused, StoreUnavailable
from memsched.memory.store.store import MemoryStore


@pytest.mark.parametrize(
    "sparse",
    [{"lexical": models.SparseVectorParams(modifier=models.Modifier.IDF)}, {"other": models.SparseVectorParams()}],
    ids=["weighs words itself", "has no words"],
)
async def test_a_collection_that_somebody_else_made_is_refused_if_its_words_would_count_otherwise(
    sparse: dict[str, models.SparseVectorParams],
) -> None:
    client = AsyncQdrantClient(":memory:")
    collection = Collection(client, "memories", "hashing-1", 4)
    dense = {"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)}
    await client.create_collection("theirs", dense, sparse, metadata=collection.own_metadata())
    await collection.point_alias_to("theirs")

    with pytest.raises(StoreRefused, match="no modifier"):
        await collection.resolve()


async def test_all_who_ask_a_store_that_stands_still_give_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(
        redis_url="memory://stands-still", qdrant_url=":memory:", store_timeout_seconds=0.2, store_retries=1
    )
    store = MemoryStore(settings, "hashing-1", 4)
    await store.get(CubeRef("ada", "home"), [str(uuid4())])

    async def stands_still(_: Collection) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(Collection, "resolve", stands_still)
    store._forget_name()
    began = time.monotonic()
    asked = [store.get(CubeRef("ada", "home"), [str(uuid4())]) for _ in range(40)]
    found = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(each) for each in found} == {StoreUnavailable}
    assert time.monotonic() - began < 4  # one after the other: 40 x 2 x 0.2 s
