"""What the queue's pages show to whom, and what their forms do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.service import Serving, serving

from memsched import ScheduleMessageItem
from memsched.memory.access.api_keys import Role
from memsched.memory.store.errors import StoreUnavailable
from memsched.service.dashboard import dead_letter_pages
from memsched.service.dashboard.pages import CSP

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
HERE = {"Origin": "http://localhost"}
ADA, LABEL, ITEM, SECRET = "ada/ä", "job/a&b<i>", "order/17?x=1", "the <b>boat</b>"


def at(*parts: str) -> str:
    return httpx.URL("http://x").copy_with(raw_path=b"".join(b"/" + quoted(part) for part in parts)).raw_path.decode()


def quoted(part: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in part.encode()).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(_session_servers: Any, vector_folder: str) -> AsyncIterator[Serving]:
    async with serving(_session_servers.get("redis").url, vector_folder, worker=False, memory=False) as found:
        scheduler = found.service.scheduler
        message = ScheduleMessageItem(
            user_id=ADA, mem_cube_id="home", label=LABEL, content=SECRET, item_id=ITEM, info={"n": [1]}
        )
        await scheduler.submit_messages(message, delay=600)
        lane, server = scheduler.keys.lane(LABEL, ADA, "home"), await scheduler.server()
        for number in range(60):
            user = "eve" if number % 2 else ADA
            says = {"item_id": f"dead-{number}", "user_id": user, "content": SECRET, "dead_reason": "errors"}
            says |= {"dead_error": f"no {number}" if number < 50 else "another", "dead_last": str(1000 + number)}
            await server.execute("XADD", lane.dead, "*", *(part for pair in says.items() for part in pair))
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(service: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.key(Role.ADMIN) as client:
        yield client


async def text_of(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-security-policy"] == CSP
    assert "<script>" not in answer.text
    assert not re.search(r"""\s(style|on\w+|hx-on\S*)=|"js:""", answer.text)
    return answer.text


async def test_an_operator_sees_what_a_message_says_and_when_it_is_due(
    service: Serving, admin: httpx.AsyncClient
) -> None:
    overview = await text_of(admin, "/")
    assert f'href="{at("queue", LABEL, "delayed")}"' not in overview  # only what has to be is escaped
    (link,) = re.findall(r'href="(/queue/[^"]*/delayed)"', overview)
    (link,) = re.findall(r'href="(/messages/[^"]*)" class="mono"', await text_of(admin, link))
    page = await text_of(admin, link.replace("&amp;", "&"))
    assert "the &lt;b&gt;boat&lt;/b&gt;" in page
    assert "delayed" in page
    assert "Cancel it" in page


async def test_a_viewer_sees_numbers_and_no_buttons(service: Serving) -> None:
    async with await service.key(Role.VIEWER) as viewer:
        for path in ("/", at("queue", LABEL, "overview"), at("queue", LABEL, "delayed"), at("queue", LABEL, "dead")):
            page = await text_of(viewer, path)
            page = re.sub(r'<form method="post" action="/logout">.*?</form>', "", page, flags=re.DOTALL)
            assert "<form" not in page
            assert not [each for each in (ADA, "boat", "order", "eve", "another") if each in page]
        assert ">60<" in page
        await text_of(viewer, "/dead-letters", 403)
        await text_of(viewer, "/messages?user_id=eve", 403)
        await text_of(viewer, f"{at('queue', LABEL, 'waiting')}?user_id=eve", 403)


async def test_a_user_sees_what_is_theirs(service: Serving) -> None:
    async with await service.key(Role.USER, user_id=ADA) as ada, await service.key(Role.USER, user_id="eve") as eve:
        assert (await ada.get("/")).headers["location"] == "/messages"
        assert "order/17" in await text_of(ada, "/messages")
        assert "boat" in await text_of(ada, at("messages", ITEM))
        assert "order/17" not in await text_of(eve, "/messages")
        await text_of(eve, at("messages", ITEM), 404)
        await text_of(eve, f"{at('messages', ITEM)}?user_id={ADA}", 403)
        for path in ("/workers", at("queue", LABEL, "overview"), "/dead-letters"):
            await text_of(ada, path, 403)


async def test_dead_letters_stand_together_by_reason_and_error_page_by_page(admin: httpx.AsyncClient) -> None:
    page = await text_of(admin, "/dead-letters")
    groups = re.findall(r'<td class="number"><a href="([^"]*)">(\d+)</a>', page)
    assert [count for _, count in groups] == ["50", "10"]
    assert page.count('<details class="letter">') == 50
    more = re.findall(r'rel="next" href="([^"]*)"', page)[0].replace("&amp;", "&")
    assert (await text_of(admin, more)).count('<details class="letter">') == 10
    of_one = await text_of(admin, groups[1][0].replace("&amp;", "&"))
    assert of_one.count('<details class="letter">') == 10
    assert "another" in of_one
    assert "no 1" not in of_one
    assert "Nothing was given up that fits." in await text_of(admin, "/dead-letters?user_id=nobody")


async def test_where_more_letters_may_match_than_were_read_all_are_said_to_go(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Redrive 50<" in await text_of(admin, "/dead-letters")
    monkeypatch.setattr(dead_letter_pages, "_MOST_READ", 60)
    assert "Redrive all<" in await text_of(admin, "/dead-letters")


async def test_a_page_of_messages_is_marked_as_one_of_the_queue(service: Serving, admin: httpx.AsyncClient) -> None:
    for path, page in ((f"/messages?user_id={ADA}", "/"), ("/dead-letters", "/dead-letters")):
        marked = re.findall(r'<a href="(\S+)" aria-current="page"', await text_of(admin, path))
        assert marked == [page], path


async def test_all_that_match_are_redriven_and_purged_and_nothing_else(
    service: Serving, admin: httpx.AsyncClient
) -> None:
    async def left() -> int:
        return (await service.service.scheduler.read_status()).labels[LABEL].dead

    form = {"label": LABEL, "reason": "errors", "error": "another", "user_id": "eve", "at_label": LABEL}
    answer = await admin.post("/ui/dead-letters/redrive", data=form, headers=HERE)
    assert answer.status_code == 303, answer.text
    page = await text_of(admin, answer.headers["location"])
    assert "5 sent again." in page
    assert await left() == 55
    answer = await admin.post("/ui/dead-letters/purge", data={"error": "no …", "user_id": "eve"}, headers=HERE)
    assert "25 deleted." in await text_of(admin, answer.headers["location"])
    assert await left() == 30
    for given in ({}, {"reason": "bad"}, {"label": LABEL, "per_second": "fast"}):
        assert (await admin.post("/ui/dead-letters/redrive", data=given, headers=HERE)).status_code == 422
    assert (await admin.post("/ui/dead-letters/purge", data={"all": "true"})).status_code == 403, "of no page"
    assert await left() == 30


async def test_a_message_is_cancelled_and_a_label_paused(service: Serving, admin: httpx.AsyncClient) -> None:
    path = f"/ui{at('messages', ITEM)}/cancel?user_id={quoted(ADA).decode()}"
    answer = await admin.post(path, headers=HERE)
    assert answer.status_code == 303, answer.text
    page = await text_of(admin, answer.headers["location"])
    assert "cancelled" in page
    assert "Cancel it" not in page
    for how, paused in (("pause", {LABEL}), ("resume", set())):
        answer = await admin.post(f"/ui{at('labels', LABEL)}/{how}", headers=HERE)
        assert answer.status_code == 303
        assert (await service.service.scheduler.read_status()).paused == paused
        await text_of(admin, answer.headers["location"])
    assert (await admin.post("/ui/labels/nothing/pause", headers=HERE)).status_code == 404


async def test_what_is_not_there_yet_says_what_to_do(service: Serving, vector_folder: str) -> None:
    url = service.service.settings.redis_url
    async with serving(url, vector_folder, worker=False, memory=False) as found:
        assert "memsched submit" in await text_of(found.client, "/")
        assert "memsched worker" in await text_of(found.client, "/workers")
        assert "No message is unfinished." in await text_of(found.client, "/messages")


@pytest.mark.parametrize(
    "path",
    [
        f"/messages?user_id={ADA}&label=&state=&item_id=",
        "/queue/job/waiting?user_id=",
        "/queue/job/running?user_id=&worker=",
        "/dead-letters?label=&reason=&user_id=eve&item_id=",
    ],
)
async def test_a_field_that_a_form_leaves_empty_is_not_given(admin: httpx.AsyncClient, path: str) -> None:
    await text_of(admin, path)


async def test_who_acts_for_several_is_asked_for_whom(service: Serving) -> None:
    async with await service.key(Role.APP, users="ada*") as app:
        assert (await app.get("/")).headers["location"] == "/messages"
        assert "Whose messages?" in await text_of(app, "/messages")
        assert "eve" not in await text_of(app, "/messages?user_id=eve", 403)
        found = await app.get("/messages", params={"user_id": ADA, "item_id": ITEM})
        assert found.status_code == 303
        assert ITEM in await text_of(app, found.headers["location"])


async def test_where_a_policy_decides_what_leaves_no_text_of_a_message_does(
    service: Serving, vector_folder: str, tmp_path: Any
) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nrules:\n  - deny: {tags: [x]}\ndefault: all\n")
    given = {"access_policy": str(tmp_path / "policy.yaml"), "memory": False}
    async with serving(service.service.settings.redis_url, vector_folder, worker=False, **given) as found:
        message = ScheduleMessageItem(user_id=ADA, mem_cube_id="c", label="job", content=SECRET, item_id="one")
        await found.service.scheduler.submit_messages(message)
        page = await text_of(found.client, f"/messages/one?user_id={ADA}")
        assert "an access policy decides" in page
        assert "boat" not in page


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/nothing", "/queue", "/v2/x?<b>"])
async def test_an_address_that_is_no_page_says_so_in_a_browser(
    service: Serving, admin: httpx.AsyncClient, path: str
) -> None:
    for client in (admin, service.asking("msk_no_key")):
        answer = await client.get(path, headers=BROWSER, follow_redirects=False)
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/login")
            continue
        assert (answer.status_code, "There is no such page." in answer.text) == (404, True)
        assert answer.headers["content-security-policy"] == CSP
        assert 'href="/"' in answer.text
        assert "<b>" not in answer.text
        for program in ({}, {"Accept": "application/json"}):
            problem = await client.get(path, headers=program)
            assert problem.headers["content-type"] == "application/problem+json"
    for path_of_program in ("/v1/nothing", "/mcp/nothing"):
        problem = await admin.get(path_of_program, headers=BROWSER)
        assert problem.headers["content-type"] == "application/problem+json"


async def test_what_is_refused_before_a_page_is_asked_is_a_page_too(service: Serving) -> None:
    async with service.asking(Host="elsewhere.example", **BROWSER) as stranger:
        answer = await stranger.get("/")
        assert (answer.status_code, "MEMSCHED_ALLOWED_HOSTS" in answer.text) == (421, True)
        assert answer.headers["content-type"].startswith("text/html")
    large = {"token": "x" * 70_000}
    assert (await service.client.post("/login", data=large, headers=HERE)).status_code == 413


async def test_a_page_that_a_server_could_not_make_tries_again_and_says_which_server(
    service: Serving, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise StoreUnavailable("http://10.0.0.1:6333", "refused")

    monkeypatch.setattr(service.service.mos, "list_users", fails)
    page = await text_of(admin, "/cubes", 503)
    assert "The vector store does not answer" in page
    assert "data-again" in page
    assert "10.0.0.1" not in page
    assert "data-again" not in await text_of(admin, "/messages/none?user_id=ada", 404)


async def test_a_time_that_no_calendar_has_is_shown_as_not_known(service: Serving, admin: httpx.AsyncClient) -> None:
    scheduler = service.service.scheduler
    lane, server = scheduler.keys.lane("odd", ADA, "home"), await scheduler.server()
    says = {"item_id": "late", "user_id": ADA, "dead_reason": "errors", "dead_last": "9" * 17}
    await server.execute("SADD", scheduler.keys.lanes, lane.name)
    await server.execute("XADD", lane.dead, "*", *(part for pair in says.items() for part in pair))
    await server.execute("XADD", lane.stream, "*", "item_id", "sent", "user_id", ADA, "submitted", "9" * 400)
    for due in ("inf", "1e300", "-inf", "-5"):
        await server.execute("ZADD", lane.delayed, due, f'["", "item_id", "due {due}", "user_id", "{ADA}"]')

    assert "late" in await text_of(admin, "/dead-letters?label=odd")
    assert "sent" in await text_of(admin, "/queue/odd/waiting")
    for path in ("/queue/odd/delayed", f"/messages?user_id={ADA}&label=odd"):
        listed = await text_of(admin, path)
        assert all(f"due {due}" in listed for due in ("inf", "1e300", "-inf", "-5"))
