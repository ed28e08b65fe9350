"""Which kind of server a model is behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from support.llm import FakeLLM

from memsched import Settings
from memsched.llm.client import LLM
from memsched.llm.endpoint import Endpoint
from memsched.llm.kind import Kind
from memsched.llm.server_errors import ServerError

pytestmark = pytest.mark.timeout(20)


async def test_a_server_is_asked_beside_its_v1_once() -> None:
    with FakeLLM(beside={"/props": {"default_generation_settings": {}}}) as server:
        llm = LLM(Settings.load(llm_model="m", llm_base_url=server.url))

        assert (await llm.dialect()).name == "llama_cpp"
        await llm.complete([{"role": "user", "content": "hi"}])
        server.beside = {}
        assert (await llm.dialect()).name == "llama_cpp"

        assert server.asked[0].body["lora"] == [{"id": 0, "scale": 0.0}], "no adapter, aloud"
        await llm.aclose()


async def test_what_is_set_is_not_asked_for() -> None:
    with FakeLLM(beside={"/props": {"default_generation_settings": {}}}) as server:
        llm = LLM(Settings.load(llm_model="m", llm_base_url=server.url, llm_server="SGLang"))

        assert (await llm.dialect()).name == "sglang"
        await llm.aclose()


async def test_a_server_that_is_away_is_asked_again_after_a_while_and_not_by_each_call() -> None:
    asked, now, is_away = [], [0.0], [True]

    async def get(path: str) -> Mapping[str, Any] | None:
        asked.append(path)
        if is_away[0]:
            raise ServerError("away", kind="unreachable")
        return {"version": "1"} if path == "/version" else None

    kind = Kind("auto", Endpoint("llm", "http://127.0.0.1:9/v1", "", "m"), get, lambda: now[0])
    names = [(await kind.dialect()).name for _ in range(5)]
    assert (set(names), len(asked)) == ({"generic"}, 1)

    is_away[0], now[0] = False, 29.0
    assert (await kind.dialect()).name == "generic"
    now[0] = 30.0
    assert (await kind.dialect()).name == "vllm"
    assert kind.now.name == "vllm"


async def test_a_server_that_hangs_is_waited_for_once_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memsched.llm.kind._LOOK_SECONDS", 0.05)

    async def hang(_: str) -> None:
        await asyncio.sleep(99)

    kind = Kind("auto", Endpoint("llm", "http://127.0.0.1:9/v1", "", "m"), hang)
    began = time.monotonic()
    names = [each.name for each in await asyncio.gather(*(kind.dialect() for _ in range(20)))]

    assert set(names) == {"generic"}
    assert time.monotonic() - began < 1


async def test_a_server_that_is_still_loading_is_asked_again_for_its_kind() -> None:
    now = [0.0]
    with FakeLLM(beside={"/props": {"default_generation_settings": {}}}) as server:
        server.is_loading = True
        llm = LLM(Settings.load(llm_model="m", llm_base_url=server.url), clock=lambda: now[0])
        assert (await llm.dialect()).name == "generic"

        server.is_loading, now[0] = False, 31.0
        assert (await llm.dialect()).name == "llama_cpp"
        await llm.aclose()


async def test_a_path_that_a_gateway_answers_with_an_error_does_not_hide_the_kind() -> None:
    async def get(path: str) -> Mapping[str, Any] | None:
        if path == "/props":
            raise ServerError("502", kind="server_error", status=502)
        return {"version": "1"} if path == "/version" else None

    kind = Kind("auto", Endpoint("llm", "http://127.0.0.1:9/v1", "", "m"), get)
    assert (await kind.dialect()).name == "vllm"
