"""The client of an OpenAI-compatible server: one kind of error, and nothing of the library's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr
from support.llm import FakeLLM, Reply, drops, fails, says

from memsched.embedded.model_server import ModelServer
from memsched.llm.endpoint import Endpoint
from memsched.llm.openai_client import OpenAIClient
from memsched.llm.responses import END, read_piece
from memsched.llm.server_errors import ServerError

REQUEST: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
NO_JSON = Reply(raw=b"data: {oops\n\n", headers={"Content-Type": "text/event-stream"})


@pytest.fixture
def server() -> Iterator[FakeLLM]:
    with FakeLLM() as server:
        yield server


@pytest.fixture
async def client(server: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIClient]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = OpenAIClient(Endpoint.checked("llm", server.url, SecretStr("sk-secret"), "fake"))
    yield client
    await client.aclose()


async def streamed(client: OpenAIClient) -> list[Any]:
    async with aclosing(client.stream_chat(REQUEST)) as chunks:
        return [chunk async for chunk in chunks]


@pytest.mark.parametrize(("reply", "kind"), [(fails(500), "server_error"), (drops(), "unreachable")])
async def test_a_failure_carries_nothing_of_the_library(
    client: OpenAIClient, server: FakeLLM, reply: Reply, kind: str
) -> None:
    server.always = reply

    for call in (client.chat(REQUEST), client.embed({"model": "fake", "input": ["x"]}), streamed(client)):
        with pytest.raises(ServerError) as error:
            await call
        assert error.value.kind == kind
        assert (error.value.__context__, error.value.__cause__) == (None, None)

    assert len(server.asked) == 3, "it retries nothing by itself"


@pytest.mark.parametrize(
    ("reply", "kind"), [(NO_JSON, "invalid_answer"), (says("one two three", break_after=1), "unreachable")]
)
async def test_a_stream_may_break_off(client: OpenAIClient, server: FakeLLM, reply: Reply, kind: str) -> None:
    server.always = reply

    with pytest.raises(ServerError) as error:
        await streamed(client)

    assert error.value.kind == kind


def _streamed(*choices: dict[str, Any], end: str) -> Reply:
    events = [f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [each]})}" for each in choices]
    return Reply(raw="\n\n".join([*events, end]).encode(), headers={"Content-Type": "text/event-stream"})


FIRST = {"index": 0, "delta": {"content": "Rex "}, "finish_reason": None}
OTHER = {"index": 1, "delta": {"content": "Max "}, "finish_reason": "stop"}
LAST = {"index": 0, "delta": {"content": "barks."}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("end", "ends"),
    [
        ("data: [DONE]", True),
        ("data: [DONE]\n", True),
        (f"data: {json.dumps({'choices': [LAST]})}", False),
        ("data: {", False),
    ],
)
async def test_a_last_event_needs_no_blank_line(client: OpenAIClient, server: FakeLLM, end: str, ends: bool) -> None:
    server.always = _streamed(FIRST, OTHER, end=end)

    *chunks, last = await streamed(client)

    assert (last is END) == ends
    pieces = [read_piece(each) for each in (chunks if ends else [*chunks, last])]
    assert "".join(each.text for each in pieces) == ("Rex barks." if "barks" in end else "Rex ")
    assert any(each.finish for each in pieces) == ("barks" in end), "another answer's end is none"


async def test_a_complaint_is_kept_without_the_key(client: OpenAIClient, server: FakeLLM) -> None:
    server.always = fails(400, "sk-secret may not use max_tokens")

    with pytest.raises(ServerError) as error:
        await client.chat(REQUEST)

    assert "*** may not use max_tokens" in error.value.complaint
    assert "max_tokens" not in str(error.value)


async def test_a_closed_client_says_so(client: OpenAIClient, server: FakeLLM) -> None:
    await client.aclose()

    for call in (client.chat(REQUEST), streamed(client)):
        with pytest.raises(ServerError) as error:
            await call
        assert error.value.kind == "closed"
    assert server.asked == []


class Own:
    """A server of our own that others may have found already. One that is lost is found again when it has loaded."""

    def __init__(self, fake: FakeLLM) -> None:
        self._fake = fake
        self.server: ModelServer | None = None

    async def ensure(self) -> ModelServer:
        if self.server is None:
            self._fake.is_loading = False
            self.server = ModelServer(self._fake.url.removesuffix("/v1"), "own-key", Path())
        return self.server

    def lose(self) -> None:
        self.server = None

    async def release(self) -> None:
        pass


@pytest.fixture
async def own(server: FakeLLM) -> AsyncIterator[tuple[OpenAIClient, Own]]:
    local = Own(server)
    client = OpenAIClient(Endpoint("llm", "embedded://x", "", "fake"), None, cast(Any, local))
    yield client, local
    await client.aclose()


async def test_the_key_of_our_own_server_is_taken_also_when_others_found_it(
    own: tuple[OpenAIClient, Own], server: FakeLLM
) -> None:
    client, local = own
    await local.ensure()

    await client.chat(REQUEST)

    assert server.asked[0].headers["authorization"] == "Bearer own-key"


async def test_our_own_server_that_loads_its_model_again_is_waited_for(
    own: tuple[OpenAIClient, Own], server: FakeLLM
) -> None:
    client, local = own
    server.beside = {"/lora-adapters": []}
    await local.ensure()
    server.is_loading = True

    assert await client.manage("GET", "/lora-adapters") == []
