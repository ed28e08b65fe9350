"""The proxy before a model's server, asked by the openai library's own client over a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import openai
import pytest
import pytest_asyncio
import uvicorn
from openai import AsyncOpenAI
from support.conditions import until
from support.llm import FakeLLM, Reply, fails, hangs, says
from support.servers import RedisServer
from support.service import Serving, serving

from memsched.memory.access.api_keys import Role
from memsched.patience import Patience

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
UPSTREAM_KEY = "sk-of-the-service"
QUESTION = "What does Rex eat?"


@dataclass
class Place:
    """A service with a model's server behind it."""

    service: Serving
    model: FakeLLM
    url: str

    async def client(self, role: Role = Role.APP, **given: Any) -> AsyncOpenAI:
        """OpenAI's own client, with a key of memsched's."""
        given = given or {"users": "*"}
        token, _ = await self.service.service.api_keys.create(role, **given)
        return AsyncOpenAI(api_key=token, base_url=f"{self.url}/v1", max_retries=0)

    async def memories(self, user: str, expected: int, cube: str | None = None) -> list[str]:
        """What is remembered of a user once all is done, and so many memories are there."""

        async def found() -> list[str]:
            kept = await self.service.service.mos.get_all(cube, user)
            return [memory.text for each in kept["text_mem"] for memory in each["memories"]]

        await until(lambda: _has(found, expected), f"{expected} memories of {user}")
        await self.service.service.scheduler.wait(user_id=user, timeout=30)
        return await found()

    @property
    def redis_url(self) -> str:
        return self.service.service.settings.redis_url

    @property
    def last(self) -> dict[str, Any]:
        """The body of the last request that the model's server got."""
        return self.model.asked[-1].body


async def _has(found: Callable[[], Awaitable[list[str]]], expected: int) -> bool:
    return len(await found()) >= expected


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """The application on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="httptools", lifespan="off", log_config=None))
    task = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(_session_servers: Any, vector_folder: str) -> AsyncIterator[Place]:
    with FakeLLM(says("Rex eats carrots, as you said.")) as model:
        given = {"llm_base_url": model.url, "llm_api_key": UPSTREAM_KEY, "llm_headers": '{"X-Team": "memory"}'}
        async with serving(_session_servers.get("redis").url, vector_folder, **given) as service:
            await service.service.scheduler.memory()
            async with listening(service.app) as url:
                yield Place(service, model, url)


@pytest.fixture(autouse=True)
def _plain_model(place: Place) -> None:
    place.model.always = says("Rex eats carrots, as you said.")
    place.model.asked.clear()


def user() -> str:
    return f"u{uuid4().hex[:8]}"


def asked(text: str = QUESTION, **more: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}], **more}


async def test_a_client_with_another_base_url_has_memory(place: Place) -> None:
    client, ada = await place.client(), user()
    await place.service.service.mos.add("My dog Rex loves carrots.", user_id=ada, wait=True)

    raw = await client.chat.completions.with_raw_response.create(**asked(user=ada))
    answer = raw.parse()

    assert answer.choices[0].message.content == "Rex eats carrots, as you said."
    first, question = place.last["messages"]
    assert "My dog Rex loves carrots." in first["content"]
    assert first["role"] == "system"
    assert question == {"role": "user", "content": QUESTION}
    assert raw.headers["x-memsched-memory"].startswith("used; found=")
    headers = place.model.asked[-1].headers
    assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert headers["x-team"] == "memory"
    assert "x-stainless-lang" in headers
    assert await place.memories(ada, 3) == [
        "My dog Rex loves carrots.",
        QUESTION,
        "Rex eats carrots, as you said.",
    ]


async def test_of_three_turns_the_block_is_the_same_bytes_and_only_what_is_new_is_remembered(place: Place) -> None:
    client, ada = await place.client(), user()
    await place.service.service.mos.add("My dog Rex loves carrots.", user_id=ada, wait=True)
    talk: list[Any] = []
    sent = []
    for question in (QUESTION, "And where does he sleep?", "What is his name again?"):
        talk.append({"role": "user", "content": question})
        answer = await client.chat.completions.create(model="fake", messages=talk, user=ada)
        talk.append({"role": "assistant", "content": answer.choices[0].message.content})
        sent.append(place.last["messages"])
        print(f"--- the model's server received, turn {len(sent)}:", json.dumps(sent[-1], indent=1), sep="\n")
        assert sent[-1][1:] == talk[:-1]

    blocks = [messages[0]["content"].split("</data>\nWhat is near")[0] for messages in sent]
    assert '"My dog Rex loves carrots."' in blocks[0]
    assert blocks[1].startswith(blocks[0])
    assert blocks[2].startswith(blocks[1])
    remembered = await place.memories(ada, 5)
    assert sorted(set(remembered)) == sorted({"My dog Rex loves carrots.", *(each["content"] for each in talk)})


async def test_a_cube_that_may_only_be_read_is_told_and_keeps_nothing(place: Place) -> None:
    mos, ada, bob = place.service.service.mos, user(), user()
    await mos.add("Our boat lies in Kiel.", mem_cube_id="boats", user_id=ada, wait=True)
    name = (await mos.share_cube_with_user("boats", bob, user_id=ada)).name
    await mos.accept_cube(name, user_id=bob)
    client = await place.client(Role.USER, user_id=bob)

    for question in ("Where is the boat?", "Which boat?"):
        await client.chat.completions.create(**asked(question), extra_headers={"X-Memsched-Cube": quote(name)})
    first, second = (each.body["messages"][0]["content"] for each in place.model.asked)

    assert first == second
    assert '"Our boat lies in Kiel."' in first
    assert await place.memories(bob, 1, name) == ["Our boat lies in Kiel."]


async def test_a_stream_comes_in_the_pieces_in_which_the_server_sends_it_and_with_its_thoughts(place: Place) -> None:
    client, ada = await place.client(), user()
    said = "<think>He asked for Rex.</think>Rex eats carrots."
    place.model.always = Reply(said, pieces=5, hold=True, usage={"prompt_tokens": 9, "completion_tokens": 4})
    place.model.hold_again()

    stream = await client.chat.completions.create(
        **asked(user=ada, stream=True, stream_options={"include_usage": True})
    )
    place.model.release()
    chunks = [chunk async for chunk in stream]

    assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == said
    assert chunks[-1].usage
    assert chunks[-1].usage.prompt_tokens == 9
    assert stream.response.headers["content-type"] == "text/event-stream"
    assert stream.response.headers["x-accel-buffering"] == "no"
    assert place.last["stream_options"] == {"include_usage": True}
    assert await place.memories(ada, 2) == [QUESTION, "Rex eats carrots."]


async def test_tools_pictures_and_unknown_fields_go_on_and_are_not_remembered_as_talk(place: Place) -> None:
    client, ada = await place.client(), user()
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Kiel"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    envelope = {"id": "1", "object": "chat.completion", "created": 1, "model": "fake"}
    raw = json.dumps({**envelope, "choices": [choice], "extension": {"a": 1}})
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    words = {"type": "text", "text": "Is it as sunny at home in Kiel?"}
    talk: list[Any] = [
        {"role": "system", "content": "Speak like a pirate."},
        {"role": "user", "content": [words, picture]},
    ]
    place.model.then(Reply(raw=raw.encode()), says("Aye, the sun shines."))

    first = await client.chat.completions.create(
        model="fake", messages=talk, tools=tools, user=ada, extra_body={"top_k": 7, "seed": 2**60}
    )
    sent = place.last
    talk += [message, {"role": "tool", "tool_call_id": "c1", "content": "sunny, 21 degrees"}]
    second = await client.chat.completions.create(model="fake", messages=talk, tools=tools, user=ada)

    assert first.choices[0].message.tool_calls[0].function.arguments == '{"city": "Kiel"}'
    assert first.model_extra == {"extension": {"a": 1}}
    assert (sent["tools"], sent["top_k"], sent["seed"], sent["user"]) == (tools, 7, 2**60, ada)
    assert sent["messages"][1:] == talk[1:2]
    assert sent["messages"][0]["role"] == "system"
    assert sent["messages"][0]["content"].endswith("\n\nSpeak like a pirate.")
    assert place.last["messages"][1:] == talk[1:]
    assert second.choices[0].message.content == "Aye, the sun shines."
    assert await place.memories(ada, 2) == [words["text"], "Aye, the sun shines."]


async def test_the_same_call_again_is_remembered_once_and_talks_without_a_session_are_told_apart(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, submitted = place.service.service.scheduler, []
    submit = scheduler.submit_messages

    async def submit_and_tell(messages: Any, **more: Any) -> Any:
        results = await submit(messages, **more)
        submitted.append({each.outcome for each in results})
        return results

    monkeypatch.setattr(scheduler, "submit_messages", submit_and_tell)
    client = await place.client(Role.USER, user_id=(ada := user()))
    for turn in range(2):
        await client.chat.completions.create(**asked("I moved to Bergen."))
        await until(lambda turn=turn: len(submitted) > turn)
    await client.chat.completions.create(**asked("I play the cello."), extra_headers={"X-Memsched-Session": "music"})
    await place.memories(ada, 3)
    kept = await place.service.service.mos.get_all(None, ada)

    assert submitted == [{"queued"}, {"duplicate"}, {"queued"}]
    sessions = {memory.text: memory.session_id for each in kept["text_mem"] for memory in each["memories"]}
    assert sessions["I play the cello."] == "music"
    assert sessions["I moved to Bergen."].startswith("chat-")
    assert "user" not in place.last


ERRORS = {
    "rate limit": (fails(429, "slow down", code="rate_limit_exceeded", retry_after="7"), openai.RateLimitError),
    "bad request": (fails(400, "no such parameter"), openai.BadRequestError),
    "server error": (fails(500, "boom"), openai.InternalServerError),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_what_the_server_refuses_comes_as_it_is_and_is_not_remembered(place: Place, name: str) -> None:
    reply, expected = ERRORS[name]
    client, ada = await place.client(), user()
    place.model.then(reply, says("Now."))

    with pytest.raises(expected) as refused:
        await client.chat.completions.create(**asked("I paint boats.", user=ada))
    await client.chat.completions.create(**asked("I paint boats.", user=ada))

    assert refused.value.response.content == reply.raw
    assert refused.value.response.headers.get("retry-after") == reply.headers.get("retry-after")
    assert await place.memories(ada, 2) == ["I paint boats.", "Now."]


async def test_the_services_own_key_is_neither_shown_nor_taken_for_the_clients(place: Place) -> None:
    client = await place.client()
    place.model.then(fails(401, f"Incorrect API key provided: {UPSTREAM_KEY}"))

    with pytest.raises(openai.InternalServerError) as refused:
        await client.chat.completions.create(**asked(user=user()))

    assert refused.value.status_code == 502
    assert "MEMSCHED_LLM_API_KEY" in refused.value.response.json()["detail"]
    assert UPSTREAM_KEY not in refused.value.response.text


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_no_error_quotes_the_services_own_key(place: Place, status: int) -> None:
    token, _ = await place.service.service.api_keys.create(Role.USER, user_id=user())
    place.model.then(fails(status, f"Bad key Bearer {UPSTREAM_KEY}", x_debug_auth=UPSTREAM_KEY))

    async with place.service.asking(token) as client:
        answer = await client.post("/v1/chat/completions", json=asked())

    assert answer.status_code == status
    assert "Bad key Bearer ***" in answer.text
    assert UPSTREAM_KEY not in answer.text + str(answer.headers)


async def test_no_redirect_is_followed(place: Place) -> None:
    token, _ = await place.service.service.api_keys.create(Role.USER, user_id=user())
    place.model.then(fails(307, "elsewhere", location="http://localhost:1/steal"))

    async with place.service.asking(token) as client:
        answer = await client.post("/v1/chat/completions", json=asked())

    assert (answer.status_code, "location" in answer.headers) == (502, False)


async def test_of_headers_goes_on_what_is_for_the_other_side(place: Place) -> None:
    token, _ = await place.service.service.api_keys.create(Role.USER, user_id=user())
    kept = {"X-RateLimit-Remaining": "3", "OpenAI-Version": "1", "Content-Type": "application/json"}
    others = {"Set-Cookie": "a=b", "Access-Control-Allow-Origin": "*", "Strict-Transport-Security": "max-age=1"}
    place.model.then(says("Hello.", headers={**kept, **others}))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    given = {"Cookie": "a=b", "X-Forwarded-For": "10.1.2.3", "OpenAI-Organization": "org", "traceparent": trace}
    async with place.service.asking(token, **given) as client:
        answer = await client.post("/v1/chat/completions", json=asked())

    sent = place.model.asked[-1].headers
    assert not {"cookie", "x-forwarded-for", "openai-organization"} & sent.keys()
    assert (sent["traceparent"], token in str(sent)) == (trace, False)
    assert {name: answer.headers[name] for name in kept} == kept
    assert not {name.lower() for name in others} & answer.headers.keys()


async def test_a_client_that_goes_ends_the_servers_work_and_of_its_talk_the_question_is_kept(place: Place) -> None:
    client, ada = await place.client(), user()
    place.model.hold_again()
    place.model.always = hangs()
    before = place.model.hung_up

    stream = await client.chat.completions.create(**asked("I sing on Mondays.", user=ada, stream=True))
    await stream.close()
    with pytest.raises(openai.APITimeoutError):
        await client.chat.completions.create(**asked("I sing on Mondays.", user=ada, timeout=0.3))
    await until(lambda: place.model.hung_up == before + 2)
    place.model.release()
    place.model.always = says("Lovely.")
    await client.chat.completions.create(**asked("I sing on Mondays.", user=ada))

    assert set(await place.memories(ada, 2)) == {"I sing on Mondays.", "Lovely."}


async def test_an_answer_that_breaks_off_breaks_off_and_is_not_remembered(place: Place) -> None:
    client, ada = await place.client(), user()
    place.model.then(Reply("one two three four", pieces=4, break_after=2))
    got = []

    async def read() -> None:
        async for chunk in await client.chat.completions.create(**asked("Count.", user=ada, stream=True)):
            got.append(chunk.choices[0].delta.content)

    with pytest.raises(openai.APIConnectionError):
        await read()

    assert "".join(got) == "one two th"
    assert await place.memories(ada, 1) == ["Count."]


async def test_bad_requests_are_refused_with_a_pointer(place: Place) -> None:
    token, _ = await place.service.service.api_keys.create(Role.USER, user_id="ada")
    viewer, _ = await place.service.service.api_keys.create(Role.VIEWER)
    bad = {
        "": "#",
        "[]": "#",
        "[" * 100_000: "#",
        '{"messages": [NaN]}': "#",
        "{}": "#/messages",
        '{"messages": []}': "#/messages",
        '{"messages": ["hello"]}': "#/messages/0",
        '{"messages": [{}], "user": 5}': "#/user",
    }
    async with place.service.asking(token) as client, place.service.asking(viewer) as looker:
        answers = {body: await client.post("/v1/chat/completions", content=body) for body in bad}
        other = await client.post("/v1/chat/completions", json=asked(user="bob"))
        cube = await client.post("/v1/chat/completions", json=asked(), headers={"X-Memsched-Cube": "%FF"})
        theirs = await client.post("/v1/chat/completions", json=asked(), headers={"X-Memsched-Cube": "bob/default"})
        looks = [await looker.post("/v1/chat/completions", json=asked()), await looker.get("/v1/models")]

    for body, pointer in bad.items():
        assert answers[body].status_code == 422, body[:40]
        assert answers[body].json()["errors"][0]["pointer"] == pointer, body[:40]
    assert [each.status_code for each in (other, cube, *looks)] == [403, 422, 403, 403]
    assert cube.json()["errors"][0]["parameter"] == "X-Memsched-Cube"
    assert place.model.asked == [] or theirs.status_code == 200


async def test_the_models_are_the_servers(place: Place) -> None:
    place.model.beside = {"/v1/models": {"object": "list", "data": [{"id": "fake", "object": "model"}]}}
    client = await place.client()

    assert [model.id async for model in client.models.list()] == ["fake"]


@asynccontextmanager
async def chunked(pieces: Sequence[str], gate: asyncio.Event) -> AsyncIterator[str]:
    """A model's server that sends its second piece when it may."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
            await asyncio.wait_for(gate.wait(), 20)
        await send({"type": "http.response.body", "body": b""})

    async with listening(app) as url:
        yield f"{url}/v1"


async def test_the_first_piece_has_arrived_before_the_second_is_sent_byte_for_byte(
    place: Place, vector_folder: str
) -> None:
    gate, pieces = asyncio.Event(), ['data:  {"choices": []}\r\n\r\n', ": comment\n\ndata: [DONE]\n\n"]
    async with (
        chunked(pieces, gate) as model,
        serving(place.redis_url, vector_folder, llm_base_url=model, memory=False, worker=False) as found,
        listening(found.app) as url,
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=asked(stream=True)) as answer,
    ):
        received = answer.aiter_raw()
        first = await anext(received)
        gate.set()
        rest = b"".join([piece async for piece in received])

    assert [first.decode(), rest.decode()] == pieces
    assert answer.headers["x-memsched-memory"] == "off"


async def test_without_a_configured_server_it_is_said_which_variable_to_set(place: Place, vector_folder: str) -> None:
    async with serving(place.redis_url, vector_folder, worker=False) as found:
        another = found.asking("sk-for-another-server")  # which such clients send in any case
        answers = [await another.get("/v1/models"), await another.post("/v1/chat/completions", json=asked())]

    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["x-should-retry"] == "false"
        assert "MEMSCHED_LLM_BASE_URL" in answer.json()["detail"]


async def test_without_the_servers_of_memory_a_call_still_works(own_redis: RedisServer, vector_folder: str) -> None:
    with FakeLLM(says("Hello.")) as model:
        given = {"llm_base_url": model.url, "rate_limit": "100/second", "worker": False}
        async with serving(own_redis.url, vector_folder, **given) as found:
            await found.service.scheduler.memory()
            token, _ = await found.service.api_keys.create(Role.USER, user_id="ada")
            async with found.asking(token) as client, found.asking("msk_" + "0" * 12 + "_" + "0" * 64) as stranger:
                before = await client.post("/v1/chat/completions", json=asked())
                own_redis.stop()
                found.service.api_keys._monotonic = lambda: time.monotonic() + 60  # it has to ask again
                began = time.monotonic()
                first = await client.post("/v1/chat/completions", json=asked())
                second = await client.post("/v1/chat/completions", json=asked())
                took = time.monotonic() - began
                own_redis.start()
                refused = await stranger.post("/v1/chat/completions", json=asked())

    assert before.headers["x-memsched-memory"].startswith("used; ")
    for answer in (first, second):
        assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "Hello.")
        assert answer.headers["x-memsched-memory"] == "unavailable"
    assert refused.status_code == 401
    assert model.asked[-1].body == asked()
    assert took < 8  # a call of the queue's server alone is tried for ten seconds


async def test_while_the_queues_server_is_full_what_reads_works_and_what_was_said_is_held(
    own_redis: RedisServer, place: Place, vector_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.held_turns._FIRST_PAUSE_SECONDS", 0.1)
    given = {"llm_base_url": place.model.url, "rate_limit": "100/second"}
    async with serving(own_redis.url, vector_folder, **given) as found:
        await found.service.scheduler.memory()
        client, metrics = await found.key(Role.USER, user_id="ada"), await found.key(Role.METRICS)
        await found.service.mos.add("My dog Rex loves carrots.", user_id="ada", wait=True)
        own_redis.client.config_set("maxmemory", "1mb")
        read = [
            await client.get("/v1/memories"),
            await client.post("/v1/search", json={"query": "Rex"}),
            await client.post("/v1/prompt", json={"query": QUESTION}),
            await metrics.get("/v1/scheduler/scaling"),
            await metrics.get("/metrics"),
        ]
        said = await client.post("/v1/chat/completions", json=asked("My boat is in Kiel."))
        refused = await client.post("/v1/memories", json={"text": "My aunt is called Olga."})
        own_redis.client.config_set("maxmemory", 0)
        kept = await Place(found, place.model, "").memories("ada", 3)

    assert [answer.status_code for answer in read] == [200] * 5
    assert not read[2].json()["scheduled"]
    assert said.status_code == 200
    assert said.headers["x-memsched-memory"].startswith("used; ")
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert "My boat is in Kiel." in kept
    assert "My aunt is called Olga." not in kept


async def test_what_a_full_queue_does_not_take_is_held_until_it_does(
    place: Place, vector_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.held_turns._FIRST_PAUSE_SECONDS", 0.1)
    given = {"llm_base_url": place.model.url, "max_backlog": 1, "worker": False}
    async with serving(place.redis_url, vector_folder, **given) as found:
        scheduler = found.service.scheduler
        for text in ("My dog Rex loves carrots.", "My boat is in Kiel.", "My aunt is called Olga."):
            answer = await found.client.post("/v1/chat/completions", json=asked(text))
            assert answer.status_code == 200
            await until(lambda: not found.service.proxy._remembering)
        await scheduler.start()
        kept = await Place(found, place.model, "").memories("root", 4)  # the model's answer is one of them

    assert {"My dog Rex loves carrots.", "My boat is in Kiel.", "My aunt is called Olga."} < {*kept}


async def test_without_a_search_it_is_told_what_is_near(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    client, ada = await place.client(), user()
    await place.service.service.mos.add("My dog Rex loves carrots.", user_id=ada, wait=True)

    async def away(*_: object, **__: object) -> None:
        await asyncio.sleep(30)

    scheduler = place.service.service.scheduler
    monkeypatch.setattr(scheduler, "settings", scheduler.settings.model_copy(update={"prompt_search_seconds": 0.2}))
    monkeypatch.setattr(scheduler, "patience", Patience())
    monkeypatch.setattr(scheduler.retriever, "search", away)
    raw = await client.chat.completions.with_raw_response.create(**asked("Where is the boat?", user=ada))

    assert raw.headers["x-memsched-memory"].startswith("used; search=unavailable block=")
    assert "My dog Rex loves carrots." in place.last["messages"][0]["content"]
