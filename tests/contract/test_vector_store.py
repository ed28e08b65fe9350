"""What memsched asks of a vector store, of the client's in-process one and of the vector process alike."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from memsched.embedded.vector_server import ensure_vector_server, release_vector_server
from tests.support.vectors import KINDS, VECTORS, client_of, field, must, point

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("vectors")
    yield ensure_vector_server(folder)
    release_vector_server(folder)


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[AsyncQdrantClient]:
    if request.param == "in_process":
        client = AsyncQdrantClient(":memory:")
    else:
        client = client_of(request.getfixturevalue("socket_path"))
    yield client
    await client.close()


@pytest.fixture
async def process(socket_path: str) -> AsyncIterator[AsyncQdrantClient]:
    """What only the vector process has to do with: its protocol and its errors."""
    client = client_of(socket_path)
    yield client
    await client.close()


@pytest.fixture
def name() -> str:
    return f"memories-{uuid.uuid4().hex}"


async def prepare(client: AsyncQdrantClient, name: str, *points: models.PointStruct) -> None:
    await client.create_collection(name, **VECTORS)
    await client.create_payload_index(name, "cube", models.KeywordIndexParams(type="keyword", is_tenant=True))
    await client.create_payload_index(name, "number", models.PayloadSchemaType.INTEGER)
    await client.create_payload_index(name, "score", models.PayloadSchemaType.FLOAT)
    if points:
        await client.upsert(name, list(points))


async def set_payload(client: AsyncQdrantClient, name: str, fields: dict[str, Any], **selected: Any) -> None:
    change = models.SetPayload(payload=fields, **selected)
    await client.batch_update_points(name, [models.SetPayloadOperation(set_payload=change)])


async def overwrite_payload(client: AsyncQdrantClient, name: str, fields: dict[str, Any], points: list[Any]) -> None:
    change = models.SetPayload(payload=fields, points=points)
    await client.batch_update_points(name, [models.OverwritePayloadOperation(overwrite_payload=change)])


async def ids_of(client: AsyncQdrantClient, name: str, conditions: models.Filter | None) -> list[Any]:
    found, _ = await client.scroll(name, scroll_filter=conditions, limit=100)
    return sorted(record.id for record in found)


async def test_a_collection_is_made_described_and_removed(client: AsyncQdrantClient, name: str) -> None:
    assert not await client.collection_exists(name)
    assert await client.create_collection(name, **VECTORS, metadata={"model": "hashing"})

    info = await client.get_collection(name)
    assert info.config.params.vectors == VECTORS["vectors_config"]
    assert set(info.config.params.sparse_vectors or {}) == {"lexical"}
    assert info.config.metadata == {"model": "hashing"}
    assert info.points_count == 0
    assert name in {each.name for each in (await client.get_collections()).collections}

    assert await client.delete_collection(name)
    assert not await client.collection_exists(name)


@pytest.mark.parametrize("datatype", ["float16", "turbo8"])
async def test_vectors_are_stored_in_the_datatypes_that_memsched_chooses(
    process: AsyncQdrantClient, name: str, datatype: str
) -> None:
    params = VECTORS["vectors_config"]["dense"].model_copy(update={"datatype": models.Datatype(datatype)})
    await process.create_collection(name, {"dense": params}, VECTORS["sparse_vectors_config"])

    await process.upsert(name, [point(1, cube="a")])

    vectors = (await process.get_collection(name)).config.params.vectors
    assert isinstance(vectors, dict)
    assert vectors["dense"].datatype == datatype
    found = await process.query_points(name, query=[1.0, 0, 0, 0], using="dense", with_payload=True)
    assert [each.score for each in found.points] == [pytest.approx(1 / math.sqrt(1.01), abs=0.02)]


async def test_metadata_is_merged(client: AsyncQdrantClient, name: str) -> None:
    await client.create_collection(name, **VECTORS, metadata={"model": "hashing", "since": 1})

    await client.update_collection(name, metadata={"model": "other", "more": [1]})

    assert (await client.get_collection(name)).config.metadata == {"model": "other", "since": 1, "more": [1]}


async def test_dense_and_lexical_neighbours_of_one_tenant_come_in_one_call(
    client: AsyncQdrantClient, name: str
) -> None:
    await prepare(
        client, name, *(point(i, cube="a" if i % 2 else "b", text=f"text {i}", kind="fact") for i in range(8))
    )
    mine = must(field("cube", "a"), field("kind", "fact"))

    dense, lexical = await client.query_batch_points(
        name,
        [
            models.QueryRequest(query=[1.0, 0, 0, 0], using="dense", filter=mine, limit=3, with_payload=True),
            models.QueryRequest(
                query=models.SparseVector(indices=[1], values=[1.0]),
                using="lexical",
                filter=mine,
                limit=10,
                with_payload=True,
            ),
        ],
    )

    assert [each.id for each in dense.points] == [1, 3, 5]
    assert dense.points[0].score == pytest.approx(1 / math.sqrt(1.01), abs=1e-5)
    assert dense.points[0].payload == {"cube": "a", "text": "text 1", "kind": "fact"}
    assert [(each.id, each.score) for each in lexical.points] == [(7, 8.0), (5, 6.0), (3, 4.0), (1, 2.0)]
    assert lexical.points[3].payload == dense.points[0].payload


async def test_a_search_sees_the_latest_payload(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(1, cube="a", seen=0), point(2, cube="a", seen=0))

    async def payloads() -> list[Any]:
        found = await client.query_points(name, query=[1.0, 0, 0, 0], using="dense", with_payload=True)
        return [each.payload for each in found.points]

    assert await payloads() == [{"cube": "a", "seen": 0}] * 2
    await set_payload(client, name, {"seen": 1}, points=[1])
    assert await payloads() == [{"cube": "a", "seen": 1}, {"cube": "a", "seen": 0}]
    await overwrite_payload(client, name, {"cube": "a"}, [1, 2])
    assert await payloads() == [{"cube": "a"}] * 2
    await client.delete(name, [1])
    await client.upsert(name, [point(1, cube="c")])
    assert await payloads() == [{"cube": "c"}, {"cube": "a"}]


async def test_a_page_shows_the_fields_and_vectors_that_are_asked_for(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(0, cube="a", text="x", extra=1))

    [some], _ = await client.scroll(name, with_payload=["text"], with_vectors=["dense"])
    [none], _ = await client.scroll(name, with_payload=False)
    [whole] = await client.retrieve(name, [0], with_payload=True, with_vectors=True)

    assert (some.payload, some.vector) == ({"text": "x"}, {"dense": [1.0, 0.0, 0.0, 0.0]})
    assert (none.payload, none.vector) == (None, None)
    assert whole.payload == {"cube": "a", "text": "x", "extra": 1}
    assert whole.vector == {
        "dense": [1.0, 0.0, 0.0, 0.0],
        "lexical": models.SparseVector(indices=[1, 100], values=[1.0, 1.0]),
    }


async def test_filters(client: AsyncQdrantClient, name: str) -> None:
    await prepare(
        client,
        name,
        point(1, cube="a", number=1, tags=["x", "y"], score=0.5),
        point(2, cube="a", number=2, tags=["y"], score=1.5),
        point(3, cube="b", number=3, tags=[]),
        point(4, cube='"a" { strange', number=4),
    )
    F, C = models.Filter, models.FieldCondition  # noqa: N806
    expected: list[tuple[models.Filter, list[int]]] = [
        (must(field("cube", "a")), [1, 2]),
        (must(field("cube", '"a" { strange')), [4]),
        (must(field("number", 3)), [3]),
        (must(field("tags", "y"), field("cube", "a")), [1, 2]),
        (must(C(key="cube", match=models.MatchAny(any=["b", "c"]))), [3]),
        (must(C(key="number", match=models.MatchAny(any=[1, 4, 9]))), [1, 4]),
        (must(C(key="cube", match=models.MatchAny(any=[]))), []),
        (must(C(key="number", range=models.Range(gte=2, lt=4))), [2, 3]),
        (must(C(key="number", range=models.Range(lt=2))), [1]),
        (must(C(key="score", range=models.Range(gte=1.0))), [2]),
        (F(should=[field("number", 1), field("cube", "b")]), [1, 3]),
        (must(models.HasIdCondition(has_id=[2, 4, 99])), [2, 4]),
        (must(field("cube", "a"), must(models.HasIdCondition(has_id=[2, 4]))), [2]),
        (must(F(should=[must(field("number", 1)), must(field("number", 4))]), field("cube", "a")), [1]),
        (must(F(must_not=[field("number", 1), field("number", 3)]), field("cube", "a")), [2]),
    ]

    for conditions, ids in expected:
        assert await ids_of(client, name, conditions) == ids, conditions
        assert (await client.count(name, count_filter=conditions, exact=True)).count == len(ids), conditions


async def test_scrolling_goes_through_all_points_in_pages(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a") for i in range(7)))

    seen: list[Any] = []
    offset: Any = None
    while True:
        page, offset = await client.scroll(name, limit=3, offset=offset, with_payload=False)
        seen.extend(record.id for record in page)
        if offset is None:
            break

    assert seen == list(range(7))


async def test_scrolling_in_the_order_of_a_field(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a", number=(i * 3) % 7) for i in range(7)))
    down = models.OrderBy(key="number", direction=models.Direction.DESC)

    first, offset = await client.scroll(name, limit=3, order_by=down)

    assert [(record.payload or {})["number"] for record in first] == [6, 5, 4]
    assert offset is None
    up, _ = await client.scroll(name, limit=3, order_by=models.OrderBy(key="number", direction=models.Direction.ASC))
    assert [(record.payload or {})["number"] for record in up] == [0, 1, 2]


async def test_insert_only_keeps_what_is_there(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(1, cube="a", text="first"))

    await client.upsert(
        name, [point(1, cube="a", text="second"), point(2, cube="a")], update_mode=models.UpdateMode.INSERT_ONLY
    )

    found = await client.retrieve(name, [1, 2])
    assert [(record.id, (record.payload or {}).get("text")) for record in found] == [(1, "first"), (2, None)]


async def test_ids_are_numbers_or_uuids(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name)
    id_ = str(uuid.uuid4())
    row = point(1, cube="a").model_copy(update={"id": id_})

    await client.upsert(name, [row, point(7, cube="a")])

    assert [record.id for record in await client.retrieve(name, [id_])] == [id_]
    assert {record.id for record in (await client.scroll(name))[0]} == {id_, 7}
    found = await client.query_points(name, query=[1.0, 0, 0, 0], using="dense", with_payload=True)
    assert {each.id for each in found.points} == {id_, 7}


async def test_payloads_are_set_and_overwritten(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a", text="t", info={"x": 1}) for i in range(3)))

    await set_payload(client, name, {"info": {"y": "é\u2028\U0001f600"}, "n": [1, 2.5, None]}, points=[0])
    await set_payload(client, name, {"status": "old"}, filter=must(field("text", "t")))
    await set_payload(client, name, {"y": 2}, key="info", filter=must(models.HasIdCondition(has_id=[2])))
    await overwrite_payload(client, name, {"only": True}, [1])

    assert [record.payload for record in await client.retrieve(name, [0, 1, 2])] == [
        {"cube": "a", "text": "t", "info": {"y": "é\u2028\U0001f600"}, "n": [1, 2.5, None], "status": "old"},
        {"only": True},
        {"cube": "a", "text": "t", "info": {"x": 1, "y": 2}, "status": "old"},
    ]


async def test_points_are_deleted_by_id_and_by_filter(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a" if i < 3 else "b") for i in range(6)))

    await client.delete(name, [0, 99])
    await client.delete(name, must(field("cube", "b")))

    assert await ids_of(client, name, None) == [1, 2]


async def test_several_updates_in_one_call(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(1, cube="a"), point(2, cube="a"))

    results = await client.batch_update_points(
        name,
        [
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"done": True}, points=[1, 2])),
            models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"cube": "b"}, points=[2])),
        ],
    )

    assert len(results) == 2
    found = await client.retrieve(name, [1, 2])
    assert {record.id: record.payload for record in found} == {1: {"cube": "a", "done": True}, 2: {"cube": "b"}}


async def test_an_alias_stands_for_a_collection_and_moves_at_once(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, f"{name}-1", point(1, cube="a"))
    await prepare(client, f"{name}-2", point(2, cube="a"))
    create = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=f"{name}-1", alias_name=name))
    move = create.model_copy(update={"create_alias": models.CreateAlias(collection_name=f"{name}-2", alias_name=name)})
    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))

    await client.update_collection_aliases([create])
    assert await ids_of(client, name, None) == [1]
    await client.upsert(name, [point(5, cube="a")])
    await client.update_collection_aliases([delete, move])

    assert await ids_of(client, name, None) == [2]
    assert await ids_of(client, f"{name}-1", None) == [1, 5]
    aliases = (await client.get_aliases()).aliases
    assert (name, f"{name}-2") in [(alias.alias_name, alias.collection_name) for alias in aliases]
    assert (name, f"{name}-1") not in [(alias.alias_name, alias.collection_name) for alias in aliases]


# Only the vector process


async def test_indexes_are_reported(process: AsyncQdrantClient, name: str) -> None:
    await prepare(process, name, point(1, cube="a", number=1))
    await process.create_payload_index(name, "kind", models.PayloadSchemaType.KEYWORD)

    schema = (await process.get_collection(name)).payload_schema

    assert {field: each.data_type.value for field, each in schema.items()} == {
        "cube": "keyword",
        "number": "integer",
        "score": "float",
        "kind": "keyword",
    }
    assert schema["cube"].params == models.KeywordIndexParams(type="keyword", is_tenant=True)
    assert schema["number"].points == 1


DENSE = {"dense": {"size": 4, "distance": "Cosine"}}
NEWEST = {"key": "number", "direction": "desc"}
NEAR: dict[str, Any] = {"query": [1.0, 0, 0, 0], "using": "dense", "with_payload": True}


def upserting(vector: Any, id_: Any = 1) -> dict[str, Any]:
    return {"points": [{"id": 5, "vector": {"dense": [1, 2, 3, 4]}}, {"id": id_, "vector": vector}]}


@pytest.mark.parametrize(
    ("status", "what", "method", "path", "body"),
    [
        (404, "doesn't exist", "POST", "collections/nowhere/points/scroll", {}),
        (409, "already exists", "PUT", "collections/{name}", {"vectors": DENSE}),
        (422, "name of a collection", "PUT", "collections/a%2Fb", {"vectors": DENSE}),
        (400, "size", "PUT", "collections/new", {"vectors": {"dense": {"size": 0, "distance": "Cosine"}}}),
        (400, "named vectors", "PUT", "collections/new", {}),
        (400, "expected dim: 4, got 2", "PUT", "points", upserting({"dense": [1, 2]})),
        (400, "vector name", "PUT", "points", upserting({"other": [1]})),
        (400, "UUID", "PUT", "points", upserting({}, id_="x")),
        (400, "as many values", "PUT", "points", upserting({"lexical": {"indices": [1], "values": []}})),
        (400, "unique", "PUT", "points", upserting({"lexical": {"indices": [1, 1], "values": [1, 1]}})),
        (400, "is sparse", "PUT", "points", upserting({"lexical": [1, 2, 3, 4]})),
        (400, "is dense", "PUT", "points", upserting({"dense": {"indices": [1], "values": [1]}})),
        (400, "expected dim", "POST", "points/query", NEAR | {"query": [1.0]}),
        (400, "missing field using", "POST", "points/query", {"query": [1.0], "with_payload": True}),
        (400, "JSON path", "POST", "points/count", {"filter": {"must": [{"key": "a..b", "match": {"value": 1}}]}}),
        (400, "exactly one of", "POST", "points/count", {"filter": {"must": [{"key": "a", "match": {}}]}}),
        (400, "missing field has_id", "POST", "points/count", {"filter": {"must": [{"has_id": None}]}}),
        (400, "JSON", "POST", "points/count", "{"),
        (400, "range index", "POST", "points/scroll", {"order_by": NEWEST | {"key": "cube"}}),
        (400, "offset with order_by", "POST", "points/scroll", {"offset": 1, "order_by": NEWEST}),
        (
            404,
            "No point with id 99",
            "POST",
            "points/batch",
            {"operations": [{"set_payload": {"payload": {"a": 1}, "points": [99]}}]},
        ),
        (400, "an operation must be one of", "POST", "points/batch", {"operations": [{}]}),
        (413, "larger than allowed", "PUT", "points", " " * (64 * 1024 * 1024 + 1)),
        (422, "points or filter", "POST", "points/delete", {}),
    ],
)
async def test_a_refused_request_says_why_as_qdrant_does(
    socket_path: str, process: AsyncQdrantClient, name: str, status: int, what: str, method: str, path: str, body: Any
) -> None:
    await prepare(process, name)

    answer = await request(socket_path, method, path, name, body)

    assert answer.status_code == status, answer.text
    assert what in answer.json()["status"]["error"]
    assert answer.json()["time"] >= 0
    assert (await process.count(name)).count == 0, "nothing of it was done"


@pytest.mark.parametrize(
    ("what", "method", "path", "body"),
    [
        ("POST /collections/{name}/snapshots", "POST", "snapshots", {}),
        ("POST /collections/{name}/facet", "POST", "facet", {"key": "cube"}),
        ("POST /collections/{name}/points/payload", "POST", "points/payload", {"payload": {}, "points": [1]}),
        ("DELETE /collections/{name}/index/cube", "DELETE", "index/cube", ""),
        ("the distance Dot", "PUT", "collections/new", {"vectors": {"dense": {"size": 4, "distance": "Dot"}}}),
        (
            "the datatype uint8",
            "PUT",
            "collections/new",
            {"vectors": {"dense": DENSE["dense"] | {"datatype": "uint8"}}},
        ),
        (
            "modifier in sparse vector w",
            "PUT",
            "collections/new",
            {"vectors": DENSE, "sparse_vectors": {"w": {"modifier": "idf"}}},
        ),
        ("quantization_config in collection", "PUT", "collections/new", {"vectors": DENSE, "quantization_config": {}}),
        ("vectors in request", "PATCH", "collections/{name}", {"vectors": {}}),
        ("the index text", "PUT", "index", {"field_name": "text", "field_schema": "text"}),
        ("the index {'type': 'text'}", "PUT", "index", {"field_name": "text", "field_schema": {"type": "text"}}),
        (
            "on_disk in keyword index",
            "PUT",
            "index",
            {"field_name": "a", "field_schema": {"type": "keyword", "on_disk": True}},
        ),
        ("batch in request", "PUT", "points", {"batch": {"ids": [1], "vectors": {"dense": [[1, 2, 3, 4]]}}}),
        ("the update_mode update_only", "PUT", "points", upserting({}) | {"update_mode": "update_only"}),
        ("model, text in vector dense", "PUT", "points", upserting({"dense": {"text": "a", "model": "b"}})),
        ("upsert in operation", "POST", "points/batch", {"operations": [{"upsert": upserting({})}]}),
        (
            "filter in overwrite_payload",
            "POST",
            "points/batch",
            {"operations": [{"overwrite_payload": {"payload": {}, "filter": {}}}]},
        ),
        ("a query by the id of a point", "POST", "points/query", NEAR | {"query": 1}),
        ("a query without with_payload", "POST", "points/query", NEAR | {"with_payload": ["text"]}),
        ("recommend in query", "POST", "points/query", NEAR | {"query": {"recommend": {"positive": [1]}}}),
        ("fusion in query", "POST", "points/query", NEAR | {"query": {"fusion": "rrf"}}),
        ("formula in query", "POST", "points/query", NEAR | {"query": {"formula": "$score"}}),
        ("mmr in query", "POST", "points/query", NEAR | {"query": {"nearest": [1, 0, 0, 0], "mmr": {}}}),
        ("prefetch in query", "POST", "points/query", NEAR | {"prefetch": []}),
        ("offset in query", "POST", "points/query/batch", {"searches": [NEAR | {"offset": 1}]}),
        ("with_payload other than", "POST", "points/scroll", {"with_payload": {"exclude": ["a"]}}),
        ("start_from in order_by", "POST", "points/scroll", {"order_by": NEWEST | {"start_from": 1}}),
        ("min_should in filter", "POST", "points/count", {"filter": {"min_should": {}}}),
        ("mus in filter", "POST", "points/count", {"filter": {"mus": []}}),
        ("nested in filter", "POST", "points/count", {"filter": {"must": [{"nested": {}}]}}),
        ("geo_radius in condition", "POST", "points/count", {"filter": {"must": [{"key": "a", "geo_radius": {}}]}}),
        ("phrase in match", "POST", "points/count", {"filter": {"must": [{"key": "a", "match": {"phrase": "b"}}]}}),
        (
            "true and false in match",
            "POST",
            "points/count",
            {"filter": {"must": [{"key": "a", "match": {"value": True}}]}},
        ),
        (
            "dates in range",
            "POST",
            "points/count",
            {"filter": {"must": [{"key": "a", "range": {"gte": "2026-01-01"}}]}},
        ),
        ("gt in range", "POST", "points/count", {"filter": {"must": [{"key": "a", "range": {"gt": 1}}]}}),
    ],
)
async def test_what_memsched_does_not_ask_for_is_named_and_refused(
    socket_path: str, process: AsyncQdrantClient, name: str, what: str, method: str, path: str, body: Any
) -> None:
    await prepare(process, name)

    answer = await request(socket_path, method, path, name, body)

    assert answer.status_code == 501, answer.text
    assert (
        f"does not support {what.format(name=name) if '{name}' in what else what}" in answer.json()["status"]["error"]
    )
    assert (await process.count(name)).count == 0, "nothing of it was done"


async def request(socket_path: str, method: str, path: str, name: str, body: Any) -> httpx.Response:
    """path: of the collection ``name``, unless it says which."""
    if not path.startswith("collections/"):
        path = f"collections/{{name}}/{path}"
    content = body if isinstance(body, str) else json.dumps(body)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket_path)) as raw:
        return await raw.request(method, f"http://localhost/{path.format(name=name)}", content=content)


async def test_the_client_raises_what_it_raises_for_qdrant(process: AsyncQdrantClient) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        await process.get_collection("nowhere")

    assert caught.value.status_code == 404


async def test_answers_are_exactly_the_models(socket_path: str, process: AsyncQdrantClient, name: str) -> None:
    """The answers to queries are written by hand: nothing in them may be lost on the client's models."""
    await prepare(
        process, name, *(point(i, cube='quote " and \\', number=i, nested={"a": [None, 1.5]}) for i in range(3))
    )
    body = {"query": [1.0, 0, 0, 0], "using": "dense", "with_payload": True}

    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket_path)) as raw:
        answer = (await raw.post(f"http://localhost/collections/{name}/points/query", json=body)).json()

    parsed = await process.query_points(name, query=[1.0, 0, 0, 0], using="dense", with_payload=True)
    assert parsed.model_dump(exclude_none=True) == {
        "points": [models.ScoredPoint(**each).model_dump(exclude_none=True) for each in answer["result"]["points"]]
    }
    assert [models.ScoredPoint(**each).model_dump(exclude_none=True) for each in answer["result"]["points"]] == [
        {**each, "payload": {"cube": 'quote " and \\', "number": each["id"], "nested": {"a": [None, 1.5]}}}
        for each in answer["result"]["points"]
    ]
    assert answer["status"] == "ok"
