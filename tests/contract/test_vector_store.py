"""What memsched needs of a vector store, of the client's in-process one and of the vector process alike."""

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
    await client.create_payload_index(name, "at", models.PayloadSchemaType.DATETIME)
    if points:
        await client.upsert(name, list(points))


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
                query=models.SparseVector(indices=[1], values=[1.0]), using="lexical", filter=mine, limit=10
            ),
        ],
    )

    assert [each.id for each in dense.points] == [1, 3, 5]
    assert dense.points[0].score == pytest.approx(1 / math.sqrt(1.01), abs=1e-5)
    assert dense.points[0].payload == {"cube": "a", "text": "text 1", "kind": "fact"}
    assert [(each.id, each.score, each.payload) for each in lexical.points] == [
        (7, 8.0, None),
        (5, 6.0, None),
        (3, 4.0, None),
        (1, 2.0, None),
    ]


async def test_a_search_sees_the_latest_payload(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(1, cube="a", seen=0), point(2, cube="a", seen=0))

    async def payloads() -> list[Any]:
        found = await client.query_points(name, query=[1.0, 0, 0, 0], using="dense", with_payload=True)
        return [each.payload for each in found.points]

    assert await payloads() == [{"cube": "a", "seen": 0}] * 2
    await client.set_payload(name, {"seen": 1}, points=[1])
    assert await payloads() == [{"cube": "a", "seen": 1}, {"cube": "a", "seen": 0}]
    await client.delete_payload(name, ["seen"], points=must(field("cube", "a")))
    assert await payloads() == [{"cube": "a"}] * 2
    await client.delete(name, [1])
    await client.upsert(name, [point(1, cube="c")])
    assert await payloads() == [{"cube": "c"}, {"cube": "a"}]


async def test_a_result_shows_the_fields_and_vectors_that_are_asked_for(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(0, cube="a", text="x", extra=1))
    query: dict[str, Any] = {"query": [1.0, 0, 0, 0], "using": "dense"}

    some = (await client.query_points(name, **query, with_payload=["text"], with_vectors=["lexical"])).points[0]
    none = (await client.query_points(name, **query, with_payload=False)).points[0]
    rest = (
        await client.query_points(name, **query, with_payload=models.PayloadSelectorExclude(exclude=["text"]))
    ).points[0]

    assert some.payload == {"text": "x"}
    assert some.vector == {"lexical": models.SparseVector(indices=[1, 100], values=[1.0, 1.0])}
    assert (none.payload, none.vector) == (None, None)
    assert rest.payload == {"cube": "a", "extra": 1}
    assert (await client.retrieve(name, [0], with_vectors=True))[0].vector == {
        "dense": [1.0, 0.0, 0.0, 0.0],
        "lexical": models.SparseVector(indices=[1, 100], values=[1.0, 1.0]),
    }


async def test_a_score_threshold_and_an_offset_cut_the_result(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a") for i in range(20)))
    query: dict[str, Any] = {"query": [1.0, 0, 0, 0], "using": "dense", "limit": 20}

    near = await client.query_points(name, **query, score_threshold=0.95)
    later = await client.query_points(name, **query | {"limit": 2}, offset=3)

    assert [each.id for each in near.points] == [0, 1, 2, 3]
    assert [each.id for each in later.points] == [3, 4]


async def test_neighbours_of_a_point_are_others(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a") for i in range(4)))

    found = await client.query_points(name, query=0, using="dense", query_filter=must(field("cube", "a")))

    assert [each.id for each in found.points] == [1, 2, 3]


@pytest.mark.parametrize("fusion", [models.Fusion.RRF, models.Fusion.DBSF])
async def test_rankings_are_fused(client: AsyncQdrantClient, name: str, fusion: models.Fusion) -> None:
    await prepare(client, name, *(point(i, cube="a", text=str(i)) for i in range(5)))
    words = models.SparseVector(indices=[100, 1], values=[50.0, 0.1])

    found = await client.query_points(
        name,
        prefetch=[
            models.Prefetch(query=[1.0, 0, 0, 0], using="dense", limit=5),
            models.Prefetch(query=words, using="lexical", limit=5),
        ],
        query=models.FusionQuery(fusion=fusion),
        limit=2,
        with_payload=True,
    )

    assert found.points[0].id == 0
    assert found.points[0].payload == {"cube": "a", "text": "0"}
    assert len(found.points) == 2


async def test_diverse_and_formula_rankings(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a", number=i) for i in range(10)))

    diverse = await client.query_points(
        name,
        query=models.NearestQuery(nearest=[1.0, 0, 0, 0], mmr=models.Mmr(diversity=0.9, candidates_limit=10)),
        using="dense",
        limit=2,
    )
    formula = await client.query_points(
        name,
        prefetch=models.Prefetch(query=[1.0, 0, 0, 0], using="dense", limit=10),
        query=models.FormulaQuery(
            formula=models.SumExpression(sum=["$score", models.MultExpression(mult=[0.5, "number"])])
        ),
        limit=1,
    )

    assert [each.id for each in diverse.points] == [0, 9]
    assert diverse.points[0].vector is None
    assert formula.points[0].id == 9


async def test_filters(client: AsyncQdrantClient, name: str) -> None:
    await prepare(
        client,
        name,
        point(1, cube="a", number=1, tags=["x", "y"], at="2026-01-01T00:00:00Z", score=0.5, gone=None),
        point(2, cube="a", number=2, tags=["y"], at="2026-02-01T00:00:00Z", score=1.5, parts=[{"k": 1, "v": "p"}]),
        point(
            3, cube="b", number=3, tags=[], at="2026-03-01T00:00:00Z", parts=[{"k": 1, "v": "q"}, {"k": 2, "v": "p"}]
        ),
        point(4, cube='"a" { strange', number=4, flag=True),
    )
    F, C = models.Filter, models.FieldCondition  # noqa: N806
    expected: list[tuple[models.Filter, list[int]]] = [
        (must(field("cube", "a")), [1, 2]),
        (must(field("cube", '"a" { strange')), [4]),
        (must(field("number", 3)), [3]),
        (must(field("flag", True)), [4]),
        (must(field("tags", "y"), field("cube", "a")), [1, 2]),
        (must(C(key="cube", match=models.MatchAny(any=["b", "c"]))), [3]),
        (must(C(key="cube", match=models.MatchExcept(**{"except": ["a"]}))), [3, 4]),
        (must(C(key="number", range=models.Range(gt=1, lte=3))), [2, 3]),
        (must(C(key="score", range=models.Range(gte=1.0))), [2]),
        (must(C(key="at", range=models.DatetimeRange(gte="2026-02-01T00:00:00Z"))), [2, 3]),
        (F(should=[field("number", 1), field("cube", "b")]), [1, 3]),
        (F(must_not=[field("cube", "a")]), [3, 4]),
        (F(must=[field("cube", "a")], must_not=[field("number", 1)]), [2]),
        (
            F(
                min_should=models.MinShould(
                    conditions=[field("cube", "a"), field("number", 2), field("tags", "x")], min_count=2
                )
            ),
            [1, 2],
        ),
        (must(models.IsEmptyCondition(is_empty=models.PayloadField(key="tags"))), [3, 4]),
        (must(models.IsNullCondition(is_null=models.PayloadField(key="gone"))), [1]),
        (must(models.HasIdCondition(has_id=[2, 4, 99])), [2, 4]),
        (must(C(key="tags", values_count=models.ValuesCount(gte=2))), [1]),
        (must(F(should=[field("number", 1), field("number", 4)]), field("cube", "a")), [1]),
        (
            must(
                models.NestedCondition(nested=models.Nested(key="parts", filter=must(field("k", 1), field("v", "p"))))
            ),
            [2],
        ),
        (must(field("parts[].v", "p")), [2, 3]),
        (must(C(key="cube", match=models.MatchAny(any=[]))), []),
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
    rest, _ = await client.scroll(name, limit=9, order_by=down.model_copy(update={"start_from": 3}))

    assert [(record.payload or {})["number"] for record in first] == [6, 5, 4]
    assert offset is None
    assert [(record.payload or {})["number"] for record in rest] == [3, 2, 1, 0]


async def test_insert_only_keeps_what_is_there(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, point(1, cube="a", text="first"))

    await client.upsert(
        name, [point(1, cube="a", text="second"), point(2, cube="a")], update_mode=models.UpdateMode.INSERT_ONLY
    )
    await client.upsert(name, [point(3, cube="a")], update_mode=models.UpdateMode.UPDATE_ONLY)

    found = await client.retrieve(name, [1, 2, 3])
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


async def test_payloads_are_set_overwritten_and_taken_away(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a", text="t", info={"x": 1}) for i in range(3)))

    await client.set_payload(name, {"info": {"y": "é\u2028\U0001f600"}, "n": [1, 2.5, None]}, points=[0])
    await client.set_payload(name, {"status": "old"}, points=must(field("text", "t")))
    await client.overwrite_payload(name, {"only": True}, points=[1])
    await client.clear_payload(name, points_selector=[2])

    assert [record.payload for record in await client.retrieve(name, [0, 1, 2])] == [
        {"cube": "a", "text": "t", "info": {"y": "é\u2028\U0001f600"}, "n": [1, 2.5, None], "status": "old"},
        {"only": True},
        {},
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
            models.UpsertOperation(upsert=models.PointsList(points=[point(3, cube="b")])),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"done": True}, points=[1, 3])),
            models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["cube"], points=[1])),
            models.DeleteOperation(delete=models.PointIdsList(points=[2])),
        ],
    )

    assert len(results) == 4
    found = await client.retrieve(name, [1, 2, 3])
    assert {record.id: record.payload for record in found} == {1: {"done": True}, 3: {"cube": "b", "done": True}}


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
    aliases = (await client.get_collection_aliases(f"{name}-2")).aliases
    assert [(alias.alias_name, alias.collection_name) for alias in aliases] == [(name, f"{name}-2")]


async def test_values_are_counted(client: AsyncQdrantClient, name: str) -> None:
    await prepare(client, name, *(point(i, cube="a" if i < 3 else "b") for i in range(5)))

    facet = await client.facet(name, "cube", limit=5, exact=True)

    assert {hit.value: hit.count for hit in facet.hits} == {"a": 3, "b": 2}


# Only the vector process


async def test_indexes_are_reported_and_dropped(process: AsyncQdrantClient, name: str) -> None:
    await prepare(process, name, point(1, cube="a", number=1))
    text = models.TextIndexParams(type="text", tokenizer=models.TokenizerType.WORD, lowercase=True)
    await process.create_payload_index(name, "text", text)
    for kind in ("float", "bool", "uuid"):
        await process.create_payload_index(name, kind, kind)
    await process.upsert(name, [point(2, cube="a", text="Some Words")])

    schema = (await process.get_collection(name)).payload_schema
    assert {field: each.data_type.value for field, each in schema.items()} == {
        "cube": "keyword",
        "number": "integer",
        "at": "datetime",
        "text": "text",
        "float": "float",
        "bool": "bool",
        "uuid": "uuid",
    }
    assert schema["cube"].params == models.KeywordIndexParams(type="keyword", is_tenant=True)
    assert schema["text"].params == text
    words = models.FieldCondition(key="text", match=models.MatchText(text="words"))
    assert await ids_of(process, name, must(words)) == [2]

    await process.delete_payload_index(name, "text")
    assert "text" not in (await process.get_collection(name)).payload_schema


async def test_points_come_as_columns_too(process: AsyncQdrantClient, name: str) -> None:
    await prepare(process, name)

    await process.upsert(
        name,
        models.Batch(ids=[1, 2], vectors={"dense": [[1.0, 0, 0, 0], [0, 1.0, 0, 0]]}, payloads=[{"cube": "a"}, {}]),
    )

    assert await ids_of(process, name, must(field("cube", "a"))) == [1]


@pytest.mark.parametrize(
    ("status", "what", "method", "path", "body"),
    [
        (404, "doesn't exist", "POST", "collections/nowhere/points/scroll", {}),
        (409, "already exists", "PUT", "collections/{name}", {"vectors": {"size": 4, "distance": "Dot"}}),
        (422, "name of a collection", "PUT", "collections/a%2Fb", {"vectors": {"size": 4, "distance": "Dot"}}),
        (400, "size", "PUT", "collections/new", {"vectors": {"size": 0, "distance": "Dot"}}),
        (
            400,
            "expected dim: 4, got 2",
            "PUT",
            "collections/{name}/points",
            {"points": [{"id": 1, "vector": {"dense": [1, 2, 3, 4]}}, {"id": 2, "vector": {"dense": [1, 2]}}]},
        ),
        (400, "vector name", "PUT", "collections/{name}/points", {"points": [{"id": 1, "vector": {"other": [1]}}]}),
        (400, "UUID", "PUT", "collections/{name}/points", {"points": [{"id": "x", "vector": {}}]}),
        (
            400,
            "as many values",
            "PUT",
            "collections/{name}/points",
            {"points": [{"id": 1, "vector": {"lexical": {"indices": [1], "values": []}}}]},
        ),
        (400, "expected dim", "POST", "collections/{name}/points/query", {"query": [1.0], "using": "dense"}),
        (400, "unknown field mus", "POST", "collections/{name}/points/count", {"filter": {"mus": []}}),
        (
            400,
            "JSON path",
            "POST",
            "collections/{name}/points/count",
            {"filter": {"must": [{"key": "a..b", "match": {"value": 1}}]}},
        ),
        (400, "JSON", "POST", "collections/{name}/points/count", "{"),
        (400, "range index", "POST", "collections/{name}/points/scroll", {"order_by": "cube"}),
        (
            404,
            "No point with id 99",
            "POST",
            "collections/{name}/points/payload",
            {"payload": {"a": 1}, "points": [99]},
        ),
        (413, "larger than allowed", "PUT", "collections/{name}/points", " " * (64 * 1024 * 1024 + 1)),
        (422, "points or filter", "POST", "collections/{name}/points/delete", {}),
        (501, "recommend", "POST", "collections/{name}/points/query", {"query": {"recommend": {"positive": [1]}}}),
        (501, "does not support", "POST", "collections/{name}/snapshots", {}),
    ],
)
async def test_a_refused_request_says_why_as_qdrant_does(
    socket_path: str, process: AsyncQdrantClient, name: str, status: int, what: str, method: str, path: str, body: Any
) -> None:
    await prepare(process, name)
    content = body if isinstance(body, str) else json.dumps(body)

    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket_path)) as raw:
        answer = await raw.request(method, f"http://localhost/{path.format(name=name)}", content=content)

    assert answer.status_code == status, answer.text
    assert what in answer.json()["status"]["error"]
    assert answer.json()["time"] >= 0
    assert (await process.count(name)).count == 0, "nothing of it was done"


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
        version = (await raw.get("http://localhost/")).json()

    parsed = await process.query_points(name, query=[1.0, 0, 0, 0], using="dense", with_payload=True)
    assert parsed.model_dump(exclude_none=True) == {
        "points": [models.ScoredPoint(**each).model_dump(exclude_none=True) for each in answer["result"]["points"]]
    }
    assert [models.ScoredPoint(**each).model_dump(exclude_none=True) for each in answer["result"]["points"]] == [
        {**each, "payload": {"cube": 'quote " and \\', "number": each["id"], "nested": {"a": [None, 1.5]}}}
        for each in answer["result"]["points"]
    ]
    assert answer["status"] == "ok"
    assert models.VersionInfo(**version).version
