"""Pages of cubes: who sees them, what of a text stands there, and what a page may change."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from markupsafe import escape
from support.service import Serving, serving

from memsched.memory.access.api_keys import Role
from memsched.service.dashboard.cube_view import look_of, prompt_look
from memsched.service.dashboard.pages import CSP

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
POLICY = """
version: 1
rules:
  - redact: {tags: [medical], mark: "(hidden)"}
  - deny: {tags: [sealed]}
default: all
"""
ADA, CUBE = "ada/lovelace {1}", "home / attic"
"""Ids may hold anything."""
HERE = {"Origin": "http://localhost"}
SAID = {
    "": "The bathroom gets grey tiles, the tiler needs 24 square metres.",
    "medical": "The diagnosis of the tiler is kumquat.",
    "sealed": "The safe behind the tiles opens with zebra.",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    _session_servers: Any, vector_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    policy: Path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    url = _session_servers.get("redis").url
    async with serving(url, vector_folder, access_policy=str(policy), working_set_size=6) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ada(service: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.key(Role.USER, user_id=ADA) as client:
        client.headers.update(HERE)
        for tag, text in SAID.items():
            body = {"text": text, "cube": CUBE, "tags": [tag] if tag else [], "session_id": "monday"}
            assert (await client.post("/v1/memories?wait=30", json=body)).status_code == 200
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ids(ada: httpx.AsyncClient, service: Serving) -> dict[str, str]:
    """The memories' ids by their tags, also of what nobody may read."""
    services = await service.service.scheduler.memory()
    ref = await services.reading(ADA, CUBE)
    found = [memory async for memory, _ in services.store.scan(ref)]
    return {"".join(each.tags): each.memory_id for each in found if each.text in SAID.values()}


def at(owner: str = ADA, cube: str = CUBE) -> str:
    return f"/cubes/{quote(owner, safe='')}/{quote(cube, safe='')}"


def without(text: str, name: str) -> str:
    """A page without what was asked for, and without the salt that is made of it."""
    for each in (quote(name, safe=""), quote_plus(name), quote_plus(name).replace("%2F", "/"), escape(name)):
        text = text.replace(str(each), "ASKED")
    return re.sub(r"<pre tabindex=\"0\">[0-9a-f]{16}", "SALT", text)


def form(memory_id: str, **more: str) -> dict[str, str]:
    return {"user_id": ADA, "cube": CUBE, "memory_id": memory_id, **more}


async def test_texts_stand_there_as_far_as_the_policy_lets_them(ada: httpx.AsyncClient, ids: dict[str, str]) -> None:
    pages = [
        await ada.get(at()),
        await ada.get(at(), params={"q": "What about the tiles and the diagnosis of the tiler?", "archived": "true"}),
        await ada.get(at(), params={"memory": ids["medical"]}),
        await ada.get("/cubes"),
    ]

    assert [each.status_code for each in pages] == [200] * 4
    assert {each.headers["Content-Security-Policy"] for each in pages} == {CSP}
    assert all("(hidden)" in each.text for each in pages[:3])
    assert "grey tiles" in pages[0].text
    assert not re.search("kumquat|zebra", "".join(each.text for each in pages))
    assert (await ada.get(at(), params={"memory": ids["sealed"]})).status_code == 404


async def test_a_page_shows_what_the_faces_say(ada: httpx.AsyncClient, service: Serving) -> None:
    mos = service.service.mos
    explained = await mos.explain(None, CUBE, ADA)
    prompt = await mos.prompt("Which tiles?", CUBE, ADA, search="auto")
    page = (await ada.get(at(), params={"q": "Which tiles?"})).text

    for name, count in (("block", len(explained.block)), ("working", len(explained.working_set))):
        assert len(re.findall("data-memory=", page.split(f'data-tier="{name}"')[1].split("</section>")[0])) == count
    assert explained.working_set
    look = prompt_look(prompt, "Which tiles?", explained.block_before)
    assert "".join(each.text for each in look.parts) == prompt.text + "Which tiles?", "nothing of it is left out"
    parts = look_of(explained, [], [], []).near[0].parts
    assert sum(each.value for each in parts) == pytest.approx(explained.working_set[0].score, abs=1e-6)
    assert sum(each.length for each in parts) == pytest.approx(100, abs=0.1), "the best one's bar is whole"


async def test_others_cubes_look_missing(service: Serving, ada: httpx.AsyncClient, ids: dict[str, str]) -> None:
    async with await service.key(Role.USER, user_id="eve") as eve:
        names = (f"{ADA}/{CUBE}", f"{ADA}/no", "nobody/home")
        answers = {name: (await eve.get(at("eve", name))).text for name in names}
        assert len({without(text, name) for name, text in answers.items()}) == 1
        assert all("Nothing is remembered" in each and "tiler" not in each for each in answers.values())
        assert (await eve.get(at())).text == (await eve.get(at("nobody", "home"))).text
        for path in ("/ui/frames/cube", "/cubes"):
            answer = await eve.get(path, params={"user_id": ADA, "cube": CUBE})
            assert answer.status_code == 403
        frames = f"/ui/frames/cube?user_id=eve&cube={quote(f'{ADA}/{CUBE}', safe='')}"
        assert "Nothing is remembered" in (await service.first_event(eve, frames)).text
        changes = [await eve.post(f"/ui/cubes/{what}", data=form(ids[""]), headers=HERE) for what in ("pin", "delete")]
        assert [each.status_code for each in changes] == [403, 403]
    assert (await ada.get(at(), params={"memory": ids[""]})).status_code == 200


async def test_a_viewer_sees_no_texts(service: Serving, ada: httpx.AsyncClient, ids: dict[str, str]) -> None:
    async with await service.key(Role.VIEWER) as viewer:
        for path in ("/cubes", at(), f"{at()}?memory={ids['']}"):
            assert (await viewer.get(path)).status_code == 403


async def test_who_may_only_read_sees_no_buttons(service: Serving, ada: httpx.AsyncClient, ids: dict[str, str]) -> None:
    mos = service.service.mos
    await mos.share_cube_with_user(CUBE, "bob", "read", ADA)
    name = await mos.accept_cube(f"{ADA}/{CUBE}", "bob")
    async with await service.key(Role.USER, user_id="bob") as bob:
        pages = [await bob.get(at("bob", name)), await bob.get(at("bob", name), params={"memory": ids[""]})]
        pinned = await bob.post(
            "/ui/cubes/pin", data={"user_id": "bob", "cube": name, "memory_id": ids[""]}, headers=HERE
        )

    assert [each.status_code for each in pages] == [200, 200]
    assert all("grey tiles" in each.text and "/ui/cubes/" not in each.text for each in pages)
    assert pinned.status_code == 404
    assert "/ui/cubes/pin" in (await ada.get(at())).text
    async with await service.key(Role.USER, user_id="bob") as bob:  # behind a proxy that decodes what it passes on
        assert "grey tiles" in (await bob.get(f"/cubes/bob/{quote(name)}")).text


async def test_a_page_changes_what_a_route_would(ada: httpx.AsyncClient, service: Serving, ids: dict[str, str]) -> None:
    mos, memory_id = service.service.mos, ids[""]

    async def change(what: str, **more: str) -> httpx.Response:
        return await ada.post(f"/ui/cubes/{what}", data=form(memory_id, **more))

    pinned = await change("pin", back="memory")
    assert (pinned.status_code, pinned.headers["location"]) == (303, f"{at()}?memory={memory_id}")
    assert memory_id in (await mos.explain(None, CUBE, ADA)).pins
    assert (await ada.post("/ui/cubes/unpin", data=form(memory_id), headers={"HX-Request": "true"})).status_code == 204
    assert (await change("archive")).headers["location"] == at()
    assert (await mos.explain(memory_id, CUBE, ADA)).memory.archived_because == "asked"
    assert memory_id in (await ada.get(at())).text.split('data-tier="archived"')[1]
    assert (await change("restore")).status_code == 303
    assert (await ada.post("/ui/cubes/pin", data={"memory_id": memory_id})).status_code == 422
    assert (await ada.post("/ui/cubes/pin", data=form(memory_id), headers={"Origin": "http://evil"})).status_code == 403
    refused = await ada.post("/ui/cubes/archive", data=form(str(uuid4())), headers={"HX-Request": "true"})
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json"), "for a notice"
    assert (await change("delete")).headers["location"] == at()
    assert (await ada.get(at(), params={"memory": memory_id})).status_code == 404


async def test_a_cube_without_memories_says_what_to_do(service: Serving) -> None:
    async with await service.key(Role.USER, user_id="new") as new:
        assert "The first thing that is remembered makes one" in (await new.get("/cubes")).text
        await service.service.mos.create_cube_for_user("empty", "new")
        assert "Send what was said" in (await new.get(at("new", "empty"))).text
