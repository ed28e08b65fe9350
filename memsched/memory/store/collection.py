"""The one Qdrant collection: made, indexed, checked against the embedding model, migrated.

Its name in the settings is an alias; behind it stands ``<name>-<number>``. So ``memsched reindex`` can fill the next
number beside the one in use, and switch in one step.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from memsched.logs import get_logger
from memsched.memory.model import SCHEMA_VERSION
from memsched.memory.store.client import is_in_process
from memsched.memory.store.errors import EmbedderMismatch, SchemaTooNew, StoreRefused
from memsched.memory.store.filters import TENANT
from memsched.memory.store.points import DENSE, LEXICAL
from memsched.settings import Settings

log = get_logger(__name__)

_KEYWORDS = (
    *("user_id", "mem_cube_id", "speaker", "session_id", "memory_type", "kind", "status", "content_hash", "tags"),
    *("derived_from", "answers", "speaker_folded", "metadata_keywords", "user_speaking"),
)
_INTEGERS = ("turn", "at", "updated_at", "last_said")
_INDEXES = 5
"""Raised whenever a field is added above: then workers add the missing indexes to collections made before."""
_WINDOWS = 2
"""The first schema with window vectors."""
FILLED_FROM = "filled_from"
"""In a collection's metadata: of which one it is to take the place (reindex); empty or missing when it has."""
_ALREADY = (400, 409)
_told_of_old_form: set[str] = set()
"""Collections in the old form that this process has warned of."""


@dataclass(frozen=True, slots=True)
class InUse:
    """What stands behind the alias.

    Args:
        name: the collection's real name.
        schema: says what its vectors are like.
        replaces: the collection whose place it has taken, while some of what is written there may still be copied.
    """

    name: str
    schema: int
    replaces: str = field(default="", compare=False)

    @property
    def has_windows(self) -> bool:
        """Whether its sparse vectors are window vectors; before, they had a memory's own words and nothing else."""
        return self.schema >= _WINDOWS


@dataclass(frozen=True, slots=True)
class Layout:
    """How a Qdrant server keeps a collection that is made: 0 and False leave it to the server.

    Args:
        shards: into how many parts it is cut, which are spread over the nodes of a cluster.
        replicas: copies of each shard.
        write_replicas: copies that must have a write before it counts.
        on_disk: vectors are kept on disk.
    """

    shards: int = 0
    replicas: int = 0
    write_replicas: int = 0
    on_disk: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Layout:
        return cls(
            settings.qdrant_shards, settings.qdrant_replicas, settings.qdrant_write_replicas, settings.qdrant_on_disk
        )


class Collection:
    """The collection of one process: the name to use, once it is known to fit.

    Args:
        alias: the name in the settings.
        embedder, dimensions: the model that its vectors must come from.
        datatype: of stored vectors. Going through half or a quarter of the memory is that much faster; of the first 40
            of float32, float16 and turbo8 find 98 to 99 %.
        layout: of one that is made; what is there stays as it is until the next reindex.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        alias: str,
        embedder: str,
        dimensions: int,
        datatype: str = "float16",
        layout: Layout = Layout(),
    ) -> None:
        self._client = client
        self._alias = alias
        self._embedder = embedder
        self._dimensions = dimensions
        self._datatype = datatype
        self._layout = layout

    async def resolve(self) -> InUse:
        """What stands behind the alias, made first if there is nothing.

        Raises EmbedderMismatch or SchemaTooNew if it is not ours to use.
        """
        name = await self.behind_alias()
        if name is None:
            name = f"{self._alias}-1"
            await self.create(name)
            await self.point_alias_to(name)
            name = await self.behind_alias() or name
        info = await self._client.get_collection(name)
        metadata = dict(info.config.metadata or {})
        self._check(metadata)
        self._check_vectors(name, info.config.params)
        await self._migrate(name, metadata)
        in_use = InUse(name, int(metadata.get("schema", 0)), str(metadata.get(FILLED_FROM) or ""))
        self._tell_of_old_form(in_use)
        return in_use

    def _tell_of_old_form(self, in_use: InUse) -> None:
        if in_use.has_windows or in_use.name in _told_of_old_form:
            return
        _told_of_old_form.add(in_use.name)
        log.warning(
            "its memories are found by their own words only; run `memsched reindex`",
            action="store.old_form",
            collection=in_use.name,
            schema=in_use.schema,
        )

    async def behind_alias(self) -> str | None:
        aliases = await self._client.get_aliases()
        return next((each.collection_name for each in aliases.aliases if each.alias_name == self._alias), None)

    async def names(self) -> list[str]:
        """All collections that stand or stood behind the alias, or are to, oldest first."""
        there = [each.name for each in (await self._client.get_collections()).collections]
        numbers = [int(found[1]) for name in there if (found := re.fullmatch(rf"{re.escape(self._alias)}-(\d+)", name))]
        return [f"{self._alias}-{number}" for number in sorted(numbers) if f"{self._alias}-{number}" in there]

    async def next_name(self) -> str:
        """A name that no collection has yet."""
        last = (await self.names() or [f"{self._alias}-0"])[-1]
        return f"{self._alias}-{1 + int(last.rpartition('-')[2])}"

    async def create(self, name: str, marks: Mapping[str, Any] | None = None) -> None:
        """Make it with all its indexes; several processes may do so at once.

        Args:
            marks: metadata beside our own.
        """
        on_disk = self._layout.on_disk or None
        if not await self._client.collection_exists(name):
            await self._unless_there(
                self._client.create_collection(
                    name,
                    vectors_config={
                        DENSE: models.VectorParams(
                            size=self._dimensions,
                            distance=models.Distance.COSINE,
                            datatype=models.Datatype(self._datatype),
                            on_disk=on_disk,
                        )
                    },
                    sparse_vectors_config={LEXICAL: _words(on_disk)},
                    # Memories of one cube are searched together: an index per tenant, none across.
                    hnsw_config=models.HnswConfigDiff(payload_m=16, m=0, on_disk=on_disk),
                    shard_number=self._layout.shards or None,  # None is not sent
                    replication_factor=self._layout.replicas or None,
                    write_consistency_factor=self._layout.write_replicas or None,
                    metadata={**self.own_metadata(), **(marks or {})},
                )
            )
            log.info("collection made", action="store.collection_made", collection=name, embedder=self._embedder)
        await self._index(name)

    async def _migrate(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Bring a collection of an earlier version up to date. Each step may be repeated, and be done by several."""
        if int(metadata.get("indexes", 0)) < _INDEXES:
            await self._index(name)
            await self._client.update_collection(name, metadata={**metadata, "indexes": _INDEXES})
            log.info("collection migrated", action="store.collection_migrated", collection=name, indexes=_INDEXES)

    async def _index(self, name: str) -> None:
        if is_in_process(self._client):
            return  # it searches without indexes, and warns of each one

        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        wanted: dict[str, models.PayloadSchemaType | models.KeywordIndexParams] = {
            TENANT: tenant,
            **dict.fromkeys(_KEYWORDS, models.PayloadSchemaType.KEYWORD),
            "importance": models.PayloadSchemaType.FLOAT,
            **dict.fromkeys(_INTEGERS, models.PayloadSchemaType.INTEGER),
        }
        await asyncio.gather(*(self._client.create_payload_index(name, field, kind) for field, kind in wanted.items()))

    async def point_alias_to(self, name: str) -> None:
        """In one step: there is no moment without the alias."""

        old = await self.behind_alias()
        if old == name:
            return
        changes: list[Any] = []
        if old is not None:
            changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._alias)))
        create = models.CreateAlias(collection_name=name, alias_name=self._alias)
        changes.append(models.CreateAliasOperation(create_alias=create))
        await self._client.update_collection_aliases(changes)

    async def metadata(self, name: str) -> Mapping[str, Any]:
        info = await self._client.get_collection(name)
        return dict(info.config.metadata or {})

    def own_metadata(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "embedder": self._embedder,
            "dimensions": self._dimensions,
            "indexes": _INDEXES,
        }

    def _check(self, metadata: Mapping[str, Any]) -> None:
        schema = int(metadata.get("schema", 0))
        if schema > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"The collection {self._alias!r} has schema {schema}, this memsched knows {SCHEMA_VERSION}: upgrade it."
            )
        made_with = metadata.get("embedder"), metadata.get("dimensions")
        if made_with != (self._embedder, self._dimensions):
            wanted = f"{self._embedder} ({self._dimensions} dimensions)"
            raise EmbedderMismatch(self._alias, f"{made_with[0]} ({made_with[1]} dimensions)", wanted)

    def _check_vectors(self, name: str, params: models.CollectionParams) -> None:
        """Somebody may have made it, or changed it, by other means."""
        lexical = (params.sparse_vectors or {}).get(LEXICAL)
        if lexical is None or (lexical.modifier or models.Modifier.NONE) != models.Modifier.NONE:
            raise StoreRefused(
                f"The collection {name} must have a sparse vector {LEXICAL!r} with no modifier: memsched weighs "
                "words by how rare they are in each cube, and the store must not do it again. Let memsched make it: "
                f"point the alias {self._alias!r} elsewhere, or set MEMSCHED_COLLECTION to a name that nobody uses."
            )

    async def _unless_there(self, making: Any) -> None:
        """Another process may have been first."""

        try:
            await making
        except UnexpectedResponse as error:
            if error.status_code not in _ALREADY:
                raise
        except ValueError as error:  # the client's local mode
            if "already exists" not in str(error):
                raise


def _words(on_disk: bool | None) -> models.SparseVectorParams:
    return (
        models.SparseVectorParams(index=models.SparseIndexParams(on_disk=True))
        if on_disk
        else models.SparseVectorParams()
    )
