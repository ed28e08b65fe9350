"""What stands behind the alias must be as memsched makes it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, models

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.access.permissions import CubeRef
from memsched.memory.store.collection import Collection, Layout
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


async def made_with(**settings: Any) -> dict[str, Any]:
    """What a Qdrant server is asked to make, as it is sent."""
    asked: dict[str, Any] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and request.url.path == "/collections/memories-1":
            asked.update(json.loads(request.content))
        results = {"exists": {"exists": False}, "index": {"operation_id": 0, "status": "completed"}}
        result = results.get(request.url.path.rpartition("/")[2], True)
        return httpx.Response(200, json={"result": result, "time": 0})

    client = AsyncQdrantClient(
        url="http://qdrant:6333", transport=httpx.MockTransport(answer), check_compatibility=False
    )
    layout = Layout.of(Settings.load(qdrant_url="http://qdrant:6333", **settings))
    await Collection(client, "memories", "hashing-1", 4, layout=layout).create("memories-1")
    return asked


async def test_what_is_said_of_shards_and_copies_is_asked_of_the_server() -> None:
    asked = await made_with(qdrant_shards=6, qdrant_replicas=3, qdrant_write_replicas=2, qdrant_on_disk=True)

    assert (asked["shard_number"], asked["replication_factor"], asked["write_consistency_factor"]) == (6, 3, 2)
    assert asked["vectors"]["dense"]["on_disk"] is True
    assert asked["sparse_vectors"]["lexical"]["index"] == {"on_disk": True}
    assert asked["hnsw_config"] == {"m": 0, "payload_m": 16, "on_disk": True}


async def test_what_is_not_said_is_left_to_the_server() -> None:
    asked = await made_with()

    assert not {"shard_number", "replication_factor", "write_consistency_factor"} & asked.keys()
    assert asked["vectors"]["dense"].keys() == {"size", "distance", "datatype"}
    assert asked["sparse_vectors"] == {"lexical": {}}
    assert asked["hnsw_config"] == {"m": 0, "payload_m": 16}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"qdrant_shards": 2, "qdrant_url": "embedded://x"}, "MEMSCHED_QDRANT_SHARDS: is for a Qdrant server"),
        ({"qdrant_on_disk": True}, "MEMSCHED_QDRANT_ON_DISK: is for a Qdrant server"),
        (
            {"qdrant_replicas": 2, "qdrant_write_replicas": 3, "redis_url": "redis://x"},
            "MEMSCHED_QDRANT_WRITE_REPLICAS: must be at most MEMSCHED_QDRANT_REPLICAS (2)",
        ),
    ],
)
def test_a_layout_that_cannot_be_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(**given)

    assert problem in str(refused.value)
