"""What every request to the service passes: the door, the gate, bodies, problems, probes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi import APIRouter
from support.service import Serving, serving

from memsched import errors
from memsched.memory.access.api_keys import Role
from memsched.memory.store.errors import StoreUnavailable
from memsched.service.bodies import Body, Json, Text
from memsched.service.state import Here

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
LIMIT = 4096
router = APIRouter()


class Given(Body):
    text: Text
    count: int = 1
    anything: Json = None


@router.post("/test/bodies")
async def take(given: Given) -> dict[str, Any]:
    return given.model_dump()


@router.get("/test/raise/{name}")
async def fail(name: str, here: Here) -> None:
    raise {
        "QueueFull": errors.QueueFull("add", 10, 1.5),
        "ServerUnreachable": errors.ServerUnreachable("redis://secret-host:1", "no"),
        "StoreUnavailable": StoreUnavailable("http://secret-host", "no"),
        "UnknownCube": errors.UnknownCube("eve", "hers", ["other"]),
        "CubeForbidden": errors.CubeForbidden("eve", "hers", "it is bob's"),
        "UnknownMemory": errors.UnknownMemory("x"),
        "NotAllowed": errors.NotAllowed("It may not."),
        "InvalidId": errors.InvalidId("user_id", "it is empty"),
        "InvalidMessage": errors.InvalidMessage("password: hunter2secret!X"),
        "ZeroDivisionError": ZeroDivisionError("secret-host"),
    }[name]


@pytest.fixture(scope="module")
def url(_session_servers: Any) -> str:
    return str(_session_servers.get("redis").url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(url: str, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(url, vector_folder, max_body_bytes=LIMIT, worker=False) as found:
        found.app.include_router(router)
        yield found


async def test_probes_need_no_key_and_answer_under_any_name(service: Serving) -> None:
    async with service.asking(address="10.1.2.3") as kubelet:
        alive = await kubelet.get("/healthz", headers={"Host": "anything"})
        while not (ready := await kubelet.get("/readyz", headers={"Host": "anything"})).json()["ready"]:
            await asyncio.sleep(0.1)  # what is slow to import is being imported

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "queue": "ok", "memory": "ok", "workers": 0})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:8765", "[::1]:8765", "10.0.0.7"])
async def test_its_own_names_and_numbers_are_served(service: Serving, host: str) -> None:
    assert (await service.client.get("/v1/users/me", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a@localhost"]
)
async def test_other_names_are_refused(service: Serving, host: str) -> None:
    answer = await service.client.get("/v1/users/me", headers={"Host": host})

    assert answer.status_code == 421
    assert "MEMSCHED_ALLOWED_HOSTS" in answer.json()["detail"]


async def test_a_page_of_another_origin_is_refused_and_told_nothing_of_cors(service: Serving) -> None:
    answer = await service.client.get("/v1/users/me", headers={"Origin": "http://evil.example"})
    own = await service.client.get("/v1/users/me", headers={"Origin": "http://localhost"})

    assert (answer.status_code, own.status_code) == (403, 200)
    assert not [name for name in own.headers if name.startswith("access-control")]


BAD_BODIES = {
    "unknown field": ('{"text": "a", "texxt": 1}', "#/texxt"),
    "missing field": ("{}", "#/text"),
    "a number as a text": ('{"text": "a", "count": "5"}', "#/count"),
    "NUL": ('{"text": "a\\u0000b"}', "#/text"),
    "NUL deep inside": ('{"text": "a", "anything": [{"b": "\\u0000"}]}', "#/anything/0/b"),
    "half a surrogate pair": ('{"text": "\\ud800"}', "#/text"),
    "half a surrogate pair inside": ('{"text": "a", "anything": {"b": "\\udc00"}}', "#/anything/b"),
    "half a surrogate pair as a name": ('{"text": "a", "b\\ud800": 1}', "#"),
    "NaN": ('{"text": "a", "anything": [NaN]}', "#/anything/0"),
    "not JSON": ('{"text": ', "#"),
    "no JSON object": ("[1]", "#"),
    "not UTF-8": (b'{"text": "\xff"}', "#"),
    "deeply nested": ('{"text":' + "[" * 2000, "#"),
    "nested too deep to keep": ('{"text": "a", "anything": ' + "[" * 70 + "]" * 70 + "}", "#/anything/0/0"),
    "endless digits": ('{"text": "a", "anything": ' + "9" * 4000 + "}", "#/anything"),
    "nothing": ("", "#"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused_with_a_pointer(service: Serving, name: str) -> None:
    body, pointer = BAD_BODIES[name]

    answer = await service.client.post("/test/bodies", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == pointer
    assert (problem["status"], problem["type"]) == (422, "urn:memsched:error:InvalidRequest")
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_what_a_page_may_send_anywhere_without_asking_is_no_body(service: Serving, kind: str) -> None:
    answer = await service.client.post("/test/bodies", content='{"text": "a"}', headers={"Content-Type": kind})

    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


async def test_a_body_is_read_up_to_its_limit_and_no_further(service: Serving) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1024
            yield b" " * 1024

    chunked = await service.client.post("/test/bodies", content=chunks(), headers={"Content-Type": "application/json"})
    said = await service.client.post("/test/bodies", json={"text": "x" * LIMIT})
    unread = await service.client.request("GET", "/v1/users/me", content=b"x" * (LIMIT + 1))

    for answer in (chunked, said, unread):
        assert answer.status_code == 413
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "MEMSCHED_MAX_BODY_BYTES" in answer.json()["detail"]
    assert read <= 2 * LIMIT


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("QueueFull", 503),
        ("ServerUnreachable", 503),
        ("StoreUnavailable", 503),
        ("UnknownCube", 404),
        ("CubeForbidden", 404),
        ("UnknownMemory", 404),
        ("NotAllowed", 403),
        ("InvalidId", 422),
        ("InvalidMessage", 422),
        ("ZeroDivisionError", 500),
    ],
)
async def test_errors_are_problems_that_tell_no_address_and_no_secret(service: Serving, name: str, status: int) -> None:
    answer = await service.client.get(f"/test/raise/{name}")

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    for secret in ("secret-host", "Traceback", "hunter2", "bob", "eve", "hers"):
        assert secret not in answer.text


async def test_what_is_anothers_is_answered_as_what_is_not_there(service: Serving) -> None:
    names = ("UnknownCube", "CubeForbidden", "UnknownMemory")
    answers = [await service.client.get(f"/test/raise/{name}") for name in names]

    assert len({(each.status_code, each.content) for each in answers}) == 1


async def test_unknown_routes_and_methods_are_problems(service: Serving) -> None:
    unknown = await service.client.get("/v1/nothing")
    other = await service.client.delete("/v1/users/me")

    assert (unknown.status_code, other.status_code) == (404, 405)
    assert {each.headers["Content-Type"] for each in (unknown, other)} == {"application/problem+json"}
    assert other.headers["Allow"] == "GET, PUT"
    several = await service.client.options("/v1/memories")
    assert (several.status_code, several.headers["Allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2", True), ("a b", False), ("x" * 65, False), ("é", False)])
async def test_a_request_has_an_id(service: Serving, given: str, kept: bool) -> None:
    answer = await service.client.get("/healthz", headers={"X-Request-Id": given.encode()})

    assert (answer.headers["X-Request-Id"] == given) is kept


async def test_without_a_key_other_machines_are_refused(service: Serving) -> None:
    async with service.asking(address="10.1.2.3") as stranger:
        answer = await stranger.get("/v1/users/me")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_openapi_document_can_be_had_and_names_every_route(service: Serving) -> None:
    document = (await service.client.get("/openapi.json")).json()

    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert "get_self" in ids
    assert len(ids) == len(set(ids))
    assert all(each["summary"] for path in document["paths"].values() for each in path.values())
    assert json.dumps(document)


async def test_with_a_key_nobody_is_served_without_one_and_only_so_often(url: str, vector_folder: str) -> None:
    async with serving(url, vector_folder, worker=False, rate_limit="3/minute") as service:
        ada = await service.key(Role.USER, user_id="ada")
        backend = await service.key(Role.APP, users="a*")
        unknown = await service.asking("msk_000000000000_" + "0" * 64).get("/v1/users/me")
        nobody = await service.client.get("/v1/users/me")
        own = await ada.get("/v1/users/me")
        others = await ada.get("/v1/users/me?user_id=bob")
        unsaid = await backend.get("/v1/users/me")
        acting = await backend.get("/v1/users/me?user_id=ann")
        not_theirs = await backend.get("/v1/users/me?user_id=bob")
        third, fourth = [await ada.get("/v1/users/me") for _ in range(2)]

    assert (unknown.status_code, nobody.status_code) == (401, 401)
    assert 'error="invalid_token"' in unknown.headers["WWW-Authenticate"]
    assert own.json()["user_id"] == "ada"
    assert (others.status_code, not_theirs.status_code, unsaid.status_code) == (403, 403, 403)
    assert acting.json()["user_id"] == "ann"
    assert (third.status_code, fourth.status_code) == (200, 429)
    assert 1 <= int(fourth.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-IP"])
async def test_without_a_key_nothing_is_served_that_a_proxy_passes_on(
    url: str, vector_folder: str, service: Serving, name: str
) -> None:
    async with serving(url, vector_folder, memory=False, worker=False) as fresh:
        passed_on = await fresh.client.get("/v1/users/me", headers={name: "203.0.113.9"})
        own = await fresh.client.get("/v1/users/me")

    assert (passed_on.status_code, own.status_code) == (401, 200)
    assert "proxy" in passed_on.json()["detail"]


async def test_openais_routes_have_errors_as_their_clients_look_for_them(service: Serving) -> None:
    answer = await service.client.post("/v1/chat/completions", content="no JSON")

    assert answer.json()["error"]["message"] == answer.json()["detail"]
    assert "error" not in (await service.client.post("/v1/search", content="no JSON")).json()
