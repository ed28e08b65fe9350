"""What stands behind the alias must be as memsched makes it."""

from __future__ import annotations

import pytest
from qdrant_client import AsyncQdrantClient, models

from memsched.memory.store.collection import Collection
from memsched.memory.store.errors import StoreRefused


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
