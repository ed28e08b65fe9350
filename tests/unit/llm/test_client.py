"""The client of the language model, against a server that answers, errs, hangs and breaks off over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from pydantic import BaseModel
from support.conditions import until
from support.llm import FakeLLM, Reply, drops, fails, hangs, refuses, rubbish, says, says_json

from memsched.errors import SettingsError
from memsched.llm.client import LLM
from memsched.llm.errors import LLMError, LLMInvalidAnswer, LLMRefused, LLMTimeout, LLMUnavailable
from memsched.llm.prompts import Message
from memsched.llm.schemas import Extraction
from memsched.llm.servers import CacheHint, Caching, Step
from memsched.settings import Settings

KEY = "sk-very-secret-1234567890"
HELLO: list[Message] = [{"role": "user", "content": "hello"}]
JSON: list[Message] = [{"role": "user", "content": "give me json"}]
MARGIN_SECONDS = 0.5


class Colour(BaseModel):
    name: str
    strength: int


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FakeLLM]:
    with FakeLLM() as server:
        yield server


@pytest.fixture
async def llm_at(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., LLM]]:
    # Repetitions come at once; what they wait for is not what these tests are about.
    monkeypatch.setattr("memsched.llm.server_errors._BACKOFF_SECONDS", 0.01)
    made: list[LLM] = []

    def make(url: str, *, clock: Callable[[], float] = time.monotonic, **given: Any) -> LLM:
        settings = Settings.load(redis_url="memory://", llm_model="fake", llm_base_url=url, llm_api_key=KEY, **given)
        llm = LLM.from_settings(settings, clock=clock)
        assert llm is not None
        made.append(llm)
        return llm

    yield make
    for llm in made:
        await llm.aclose()


@pytest.fixture
def llm(llm_at: Callable[..., LLM], server: FakeLLM) -> LLM:
    return llm_at(server.url)


def test_without_a_model_there_is_no_client() -> None:
    assert LLM.from_settings(Settings.load(redis_url="memory://")) is None


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://h:port/v1"])
def test_a_bad_address_is_told_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_LLM_BASE_URL"):
        LLM.from_settings(Settings.load(redis_url="memory://", llm_model="m", llm_base_url=url))


def test_a_key_that_no_header_can_hold_is_told_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_LLM_API_KEY") as error:
        LLM.from_settings(Settings.load(redis_url="memory://", llm_model="m", llm_api_key="sécret\nkey"))

    assert "cret" not in str(error.value)


async def test_an_answer_comes_back_and_is_counted(llm: LLM, server: FakeLLM) -> None:
    server.then(says("Hi there", usage={"prompt_tokens": 11, "completion_tokens": 3}))

    answer = await llm.complete(HELLO, max_tokens=50, task="greet")

    assert answer == "Hi there"
    asked = server.asked[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.body["model"], asked.body["max_tokens"], asked.body["temperature"]) == ("fake", 50, 0.0)
    counts = llm.counters.as_dict()
    assert (counts["calls"], counts["failures"], counts["requests"]) == ({"greet": 1}, {}, 1)
    assert (counts["input_tokens"], counts["output_tokens"], counts["estimated"]) == (11, 3, 0)
    assert counts["latency_seconds"] > 0


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "many"}])
async def test_tokens_are_estimated_where_the_server_does_not_tell(llm: LLM, server: FakeLLM, usage: Any) -> None:
    server.then(says("12345678", usage=usage))

    await llm.complete(HELLO)

    assert (llm.counters.input_tokens, llm.counters.output_tokens, llm.counters.estimated) == (2, 2, 1)


async def test_text_that_cannot_be_encoded_is_sent_all_the_same(llm: LLM, server: FakeLLM) -> None:
    await llm.complete([{"role": "user", "content": "half \ud83d of a smile"}])

    assert server.asked[0].body["messages"][0]["content"] == "half ? of a smile"


async def test_a_server_that_hangs_costs_no_more_than_the_budget(llm: LLM, server: FakeLLM) -> None:
    server.always = hangs()
    started = time.monotonic()

    with pytest.raises(LLMTimeout) as error:
        await llm.complete(HELLO, budget_seconds=0.2)

    assert 0.2 <= time.monotonic() - started < 0.2 + MARGIN_SECONDS
    assert error.value.kind == "timeout"
    await until(lambda: server.hung_up == 1, "the connection to be closed")


async def test_a_budget_of_nothing_asks_nobody(llm: LLM, server: FakeLLM) -> None:
    with pytest.raises(LLMTimeout):
        await llm.complete(HELLO, budget_seconds=0)

    assert server.asked == []


@pytest.mark.parametrize("failure", [fails(500), fails(503), fails(429), fails(408), drops()])
async def test_what_may_pass_is_repeated(llm: LLM, server: FakeLLM, failure: Any) -> None:
    server.then(failure, failure, says("at last"))

    assert await llm.complete(HELLO) == "at last"
    assert (llm.counters.retries, llm.counters.requests) == (2, 3)


async def test_repetitions_come_to_an_end(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_max_retries=1)
    server.always = fails(500, code="overloaded")

    with pytest.raises(LLMUnavailable, match=r"500 \(overloaded\)") as error:
        await llm.complete(HELLO)

    assert error.value.kind == "server_error"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (401, ["MEMSCHED_LLM_API_KEY"]),
        (403, ["MEMSCHED_LLM_API_KEY", "MEMSCHED_LLM_MODEL"]),
        (404, ["MEMSCHED_LLM_MODEL", "MEMSCHED_LLM_BASE_URL"]),
    ],
)
async def test_wrong_settings_are_named_and_not_tried_again(
    llm: LLM, server: FakeLLM, status: int, names: list[str]
) -> None:
    server.always = fails(status)

    with pytest.raises(LLMUnavailable) as error:
        await llm.complete(HELLO)

    assert all(name in str(error.value) for name in names)
    assert error.value.kind == "misconfigured"
    assert len(server.asked) == 1


async def test_a_server_that_is_not_there_names_the_setting_to_check(llm_at: Callable[..., LLM]) -> None:
    with pytest.raises(LLMUnavailable, match="MEMSCHED_LLM_BASE_URL") as error:
        await llm_at("http://127.0.0.1:9/v1").complete(HELLO)

    assert error.value.kind == "unreachable"


async def test_the_server_says_how_long_to_wait(llm: LLM, server: FakeLLM) -> None:
    server.then(fails(429, retry_after="0.15"), says("now"))

    await llm.complete(HELLO)

    assert server.asked[1].at - server.asked[0].at >= 0.15


async def test_a_wait_beyond_the_budget_is_not_waited(llm: LLM, server: FakeLLM) -> None:
    server.always = fails(429, retry_after="30")
    started = time.monotonic()

    with pytest.raises(LLMUnavailable) as error:
        await llm.complete(HELLO, budget_seconds=2)

    assert time.monotonic() - started < MARGIN_SECONDS
    assert (error.value.kind, error.value.retry_after) == ("rate_limited", 30)


@pytest.mark.parametrize("reply", [refuses(), says("no", finish="content_filter"), fails(400, "policy"), fails(413)])
async def test_a_refusal_is_no_outage(llm_at: Callable[..., LLM], server: FakeLLM, reply: Any) -> None:
    llm = llm_at(server.url, llm_breaker_failures=1)
    server.always = reply

    with pytest.raises(LLMRefused):
        await llm.complete(HELLO)

    assert llm.breaker.state == "closed"
    assert len(server.asked) == 1


@pytest.mark.parametrize("reply", [rubbish(), says("  \n"), says("", finish="length"), says_json({}, raw=b"[]")])
async def test_an_answer_without_an_answer_is_rubbish(llm: LLM, server: FakeLLM, reply: Any) -> None:
    server.always = reply

    with pytest.raises(LLMInvalidAnswer):
        await llm.complete(HELLO)


# JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "red", "strength": 3}',
        'Sure! Here it is:\n```json\n{"name": "red", "strength": 3}\n```\nAnything else?',
        '<think>maybe {"name": "blue"}?</think>{"name": "red", "strength": 3, "extra": [1]}',
        "{'name': 'red', 'strength': 3,}",
        '{"name": "red", "strength": 3',
        '{"note": "first"} {"name": "red", "strength": 3}',
    ],
)
async def test_json_is_understood_as_models_write_it(llm: LLM, server: FakeLLM, text: str) -> None:
    server.always = says(text)

    assert await llm.complete_json(JSON, Colour) == Colour(name="red", strength=3)
    assert len(server.asked) == 1
    assert server.asked[0].body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("content", [None, "", "<think>{}</think>", "I save it."])
@pytest.mark.parametrize("arguments", ['{"name": "red", "strength": 3}', {"name": "red", "strength": 3}])
async def test_json_is_read_out_of_a_tool_call(llm: LLM, server: FakeLLM, content: str | None, arguments: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": content, "tool_calls": [call]}
    body = {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}
    server.always = says("", raw=json.dumps(body).encode())

    assert await llm.complete_json(JSON, Colour) == Colour(name="red", strength=3)
    assert len(server.asked) == 1
    if not content:
        with pytest.raises(LLMInvalidAnswer):
            await llm.complete(HELLO)


FACT = {"kind": "fact", "text": "A", "quote": "a", "source_turns": [0]}
OTHER = {**FACT, "text": "B"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (json.dumps(FACT), 1),
        (json.dumps({"memories": FACT}), 1),
        (json.dumps([FACT, OTHER]), 2),
        (f"{json.dumps(FACT)}\n{json.dumps(OTHER)}", 2),
        ("".join(f"{json.dumps({'memories': [each]})}\n" for each in (FACT, OTHER)), 2),
        (f"```jsonl\n{json.dumps(FACT)}\n{json.dumps(OTHER)}\n```", 2),
        (json.dumps({"result": {"memories": [FACT, OTHER]}}), 2),
        (json.dumps({"data": [FACT, OTHER, {"kind": "rumour"}]}), 2),
        (json.dumps([{"memories": [FACT]}, {"memories": [OTHER]}]), 2),
        (json.dumps({"memories": []}), 0),
    ],
)
async def test_a_list_is_read_at_the_first_try_in_whatever_it_stands(
    llm: LLM, server: FakeLLM, text: str, count: int
) -> None:
    server.always = says(text)

    assert len((await llm.complete_json(JSON, Extraction)).memories) == count
    assert len(server.asked) == 1


async def test_an_answer_that_does_not_fit_is_shown_to_the_model_once(llm: LLM, server: FakeLLM) -> None:
    server.then(says_json({"name": "red"}), says_json({"name": "red", "strength": 3}))

    assert await llm.complete_json(JSON, Colour) == Colour(name="red", strength=3)
    assert "strength: Field required" in server.asked[1].prompt
    assert '{"name": "red"}' in server.asked[1].prompt
    assert llm.counters.retries == 1


@pytest.mark.parametrize("text", ["I would rather not", "[" * 3000, '{"a":' * 300, "{}", "x" * 70_000, '"' * 999])
async def test_an_answer_that_never_fits_is_rubbish(llm: LLM, server: FakeLLM, text: str) -> None:
    server.always = says(text)

    with pytest.raises(LLMInvalidAnswer) as error:
        await llm.complete_json(JSON, Colour, task="paint")

    assert len(server.asked) == 2
    assert text[:20] not in str(error.value) or text == "{}"
    assert llm.counters.failures == {"invalid_answer": 1}
    assert llm.breaker.state == "closed"


async def test_the_second_try_is_within_the_same_budget(llm: LLM, server: FakeLLM) -> None:
    server.then(says("rubbish", delay_seconds=0.15), hangs())
    started = time.monotonic()

    with pytest.raises(LLMTimeout):
        await llm.complete_json(JSON, Colour, budget_seconds=0.3)

    assert time.monotonic() - started < 0.3 + MARGIN_SECONDS


async def test_a_server_without_json_mode_is_asked_without_it_and_remembered(llm: LLM, server: FakeLLM) -> None:
    red = says_json({"name": "red", "strength": 3})
    server.then(fails(400, "what is this?"), red, red)

    await llm.complete_json(JSON, Colour)
    await llm.complete_json(JSON, Colour)

    assert ["response_format" in asked.body for asked in server.asked] == [True, False, False]
    assert llm.counters.retries == 0


async def test_a_400_for_another_reason_does_not_cost_the_json_mode(llm: LLM, server: FakeLLM) -> None:
    server.then(fails(400, "too long"), fails(400, "too long"), says_json({"name": "red", "strength": 3}))

    with pytest.raises(LLMRefused):
        await llm.complete_json(JSON, Colour)
    await llm.complete_json(JSON, Colour)

    assert ["response_format" in asked.body for asked in server.asked] == [True, False, True]


async def test_a_model_that_takes_no_temperature_and_counts_tokens_anew_is_obeyed(llm: LLM, server: FakeLLM) -> None:
    server.then(
        fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        fails(400, "Unsupported value: 'temperature' does not support 0.0"),
    )

    await llm.complete(HELLO, max_tokens=7)
    await llm.complete(HELLO, max_tokens=7)

    for asked in server.asked[2:]:
        assert asked.body["max_completion_tokens"] == 7
        assert asked.body.keys().isdisjoint({"max_tokens", "temperature"})
    assert len(server.asked) == 4


async def test_json_mode_is_always_spoken_of(llm: LLM, server: FakeLLM) -> None:
    server.always = says_json({"name": "red", "strength": 3})

    await llm.complete_json(HELLO, Colour)

    assert "JSON" in server.asked[0].prompt


# Streams


async def read(llm: LLM, *, into: list[str] | None = None, **given: Any) -> list[str]:
    got = [] if into is None else into
    async with contextlib.aclosing(llm.stream(HELLO, **given)) as pieces:
        async for piece in pieces:
            got.append(piece)
    return got


async def test_a_stream_comes_in_pieces(llm: LLM, server: FakeLLM) -> None:
    server.then(says("one two three", usage={"prompt_tokens": 5, "completion_tokens": 4}))

    pieces = await read(llm)

    assert "".join(pieces) == "one two three"
    assert len(pieces) == 3
    assert (llm.counters.input_tokens, llm.counters.output_tokens) == (5, 4)


@pytest.mark.parametrize("breaking", [{"break_after": 1}, {"end_after": 1}])
async def test_a_stream_that_breaks_off_says_so(llm: LLM, server: FakeLLM, breaking: dict[str, int]) -> None:
    server.always = says("one two three", **breaking)
    got: list[str] = []

    with pytest.raises(LLMUnavailable):
        await read(llm, into=got)

    assert got == ["one t"]
    assert len(server.asked) == 1


async def test_a_stream_that_fails_before_its_first_piece_is_repeated(llm: LLM, server: FakeLLM) -> None:
    server.then(fails(503), says("lost", break_after=0), says("found"))

    assert "".join(await read(llm)) == "found"
    assert llm.counters.retries == 2


async def test_a_stream_that_falls_silent_ends_with_the_budget(llm: LLM, server: FakeLLM) -> None:
    server.always = hangs()
    started = time.monotonic()

    with pytest.raises(LLMTimeout):
        await read(llm, budget_seconds=0.2)

    assert time.monotonic() - started < 0.2 + MARGIN_SECONDS


async def test_a_stream_without_words_or_of_rubbish_is_rubbish(llm: LLM, server: FakeLLM) -> None:
    server.then(says(""), says("", raw=b"data: {oops\n\n", headers={"Content-Type": "text/event-stream"}))

    for _ in range(2):
        with pytest.raises(LLMInvalidAnswer):
            await read(llm)


async def test_a_refusal_may_come_in_a_stream(llm: LLM, server: FakeLLM) -> None:
    server.always = refuses()

    with pytest.raises(LLMRefused):
        await read(llm)


async def test_a_stream_that_nobody_reads_on_gives_its_place_back(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_concurrency=1)
    server.then(says("one two three", delay_seconds=0.01), says("next"))

    async with contextlib.aclosing(llm.stream(HELLO)) as pieces:
        assert await anext(pieces) == "one t"

    assert await llm.complete(HELLO, budget_seconds=2) == "next"


async def test_a_slow_reader_is_not_cut_off(llm: LLM, server: FakeLLM) -> None:
    server.always = says("one two three")
    got = ""

    async for piece in llm.stream(HELLO, budget_seconds=0.15):
        got += piece
        await asyncio.sleep(0.06)

    assert got == "one two three"


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource"])
async def test_an_answer_that_an_error_ended_is_none(llm_at: Callable[..., LLM], server: FakeLLM, finish: str) -> None:
    llm = llm_at(server.url, llm_max_retries=1)
    server.then(says("one tw", finish=finish), says("one two"))

    assert await llm.complete(HELLO) == "one two"

    server.always = says("one tw", finish=finish)
    for call in (llm.complete(HELLO), read(llm)):
        with pytest.raises(LLMUnavailable, match=finish):
            await call


def events(*chunks: Any) -> Reply:
    data = "".join(f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n" for chunk in chunks)
    return Reply(raw=data.encode(), headers={"Content-Type": "text/event-stream"})


def chunk_of(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **more}
    return {"object": "chat.completion.chunk", "choices": [choice]}


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk_of("one "), {"object": "chat.completion.chunk", "choices": None}, chunk_of("two")),
        (chunk_of("one ", index="0"), chunk_of("two", index=None)),
        ({"object": "text_completion", "choices": [{"index": 0, "text": "one two"}]},),
    ],
)
async def test_pieces_come_in_forms_of_their_own(llm: LLM, server: FakeLLM, chunks: tuple[Any, ...]) -> None:
    server.always = events(*chunks, "[DONE]")

    assert "".join(await read(llm)) == "one two"


async def test_an_error_of_another_form_in_a_stream_is_no_piece(llm: LLM, server: FakeLLM) -> None:
    server.always = events(chunk_of("one tw"), {"object": "error", "message": "boom", "code": 500}, "[DONE]")

    with pytest.raises(LLMError):
        await read(llm)


@pytest.mark.parametrize("ending", [{"finish": None}, {"done": False}])
async def test_a_stream_that_says_in_any_way_that_it_is_at_its_end_is_whole(
    llm: LLM, server: FakeLLM, ending: dict[str, Any]
) -> None:
    server.always = says("one two three", **ending)

    assert "".join(await read(llm)) == "one two three"


async def test_a_stream_that_ends_without_saying_so_broke_off(llm: LLM, server: FakeLLM) -> None:
    server.always = says("one two three", finish=None, done=False)

    with pytest.raises(LLMUnavailable):
        await read(llm)


async def test_a_server_that_streams_nothing_answers_in_one_piece(llm: LLM, server: FakeLLM) -> None:
    body = {"choices": [{"message": {"content": "one two"}, "finish_reason": "stop"}]}
    server.always = Reply(raw=json.dumps(body).encode())

    assert await read(llm) == ["one two"]


@pytest.mark.parametrize(
    ("within", "status", "error"),
    [
        ({"error": {"message": "no", "code": 429}}, "429", LLMUnavailable),
        ({"error": {"message": "no", "code": "rate_limit_exceeded"}}, "429", LLMUnavailable),
        ({"error": "the model is loading"}, "500", LLMUnavailable),
        ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "400", LLMRefused),
        ({"error": {"message": "no", "type": "authentication_error"}, "choices": []}, "401", LLMUnavailable),
        ({"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "x"}}]}, "502", LLMUnavailable),
    ],
)
async def test_an_error_within_a_200_is_that_error(
    llm_at: Callable[..., LLM], server: FakeLLM, within: dict[str, Any], status: str, error: type[LLMError]
) -> None:
    llm = llm_at(server.url, llm_max_retries=0)
    server.always = Reply(raw=json.dumps(within).encode())

    for call in (llm.complete(HELLO), read(llm)):
        with pytest.raises(error, match=status):
            await call


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "He is hard to please."}]},
    {"text": "Or so it seems.", "thought": True},
    {"type": "text", "text": "You live "},
    "in Rome.",
    {"type": "image_url", "image_url": {"url": "x"}},
]


@pytest.mark.parametrize(
    "reply",
    [
        says("", parts=PARTS),
        says("You live in Rome.", thought="He is hard to please."),
        says("<think>\nHe is hard to please.\n</think>\n\nYou live in Rome.", pieces=40),
    ],
)
async def test_what_a_model_thinks_is_no_part_of_its_answer(llm: LLM, server: FakeLLM, reply: Reply) -> None:
    server.always = reply

    assert await llm.complete(HELLO) == "You live in Rome."
    assert "".join(await read(llm)) == "You live in Rome."


async def test_a_model_that_only_thinks_says_nothing(llm: LLM, server: FakeLLM) -> None:
    server.always = says("<think>\nHe is hard", finish="length")

    for call in (llm.complete(HELLO), read(llm)):
        with pytest.raises(LLMInvalidAnswer, match="used up max_tokens"):
            await call


async def test_thinking_without_a_beginning_is_kept_back_where_it_is_expected(
    llm_at: Callable[..., LLM], server: FakeLLM
) -> None:
    text = "He is hard to please.\n</think>\n\nYou live in Rome."
    server.always = says(text, pieces=20)
    asked, unasked = llm_at(server.url), llm_at(server.url)

    assert "".join(await read(asked, thinking="hold")) == "You live in Rome."
    assert "".join(await read(unasked)) == text, "nothing told that it would think"
    assert "".join(await read(unasked)) == "You live in Rome.", "its answer before did"
    assert "".join(await read(unasked, thinking="show")) == text
    server.always = says("one two three")
    for _ in range(3):
        assert await read(unasked) == ["one two three"]
    assert len(await read(unasked)) == 3, "it does not think any more"


# Concurrency and cancellation


async def test_no_more_calls_run_at_once_than_allowed(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_concurrency=2)
    server.always = hangs()

    calls = [asyncio.create_task(llm.complete(HELLO)) for _ in range(6)]
    await until(lambda: server.in_flight == 2)
    server.release()

    assert await asyncio.gather(*calls) == ["late"] * 6
    assert server.most_in_flight == 2


async def test_waiting_for_a_place_is_within_the_budget(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_concurrency=1)
    server.then(hangs())
    first = asyncio.create_task(llm.complete(HELLO))
    await until(lambda: server.in_flight == 1)

    with pytest.raises(LLMTimeout, match="MEMSCHED_LLM_CONCURRENCY"):
        await llm.complete(HELLO, budget_seconds=0.1)

    assert len(server.asked) == 1
    server.release()
    await first


async def test_a_cancelled_call_leaves_no_place_taken(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_concurrency=1, llm_breaker_failures=1)
    server.always = hangs()
    running = asyncio.create_task(llm.complete(HELLO))
    waiting = asyncio.create_task(llm.complete(HELLO))
    streaming = asyncio.create_task(read(llm))
    await until(lambda: server.in_flight == 1)

    for task in (waiting, running, streaming):
        task.cancel()
    results = await asyncio.gather(running, waiting, streaming, return_exceptions=True)

    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await until(lambda: server.in_flight == 0, "the connection to be closed")
    server.release()
    assert await llm.complete(HELLO, budget_seconds=2) == "late"
    assert llm.breaker.state == "closed"


async def test_a_closed_client_ends_what_runs_and_refuses_more(llm: LLM, server: FakeLLM) -> None:
    server.always = hangs()
    running = asyncio.create_task(llm.complete(HELLO))
    await until(lambda: server.in_flight == 1)

    await llm.aclose()

    with pytest.raises(LLMError):
        await running
    with pytest.raises(LLMUnavailable, match="closed"):
        await llm.complete(HELLO)


# Circuit breaker


async def test_a_server_that_keeps_failing_is_left_alone_then_tried_with_one_call(
    llm_at: Callable[..., LLM], server: FakeLLM
) -> None:
    clock = Clock()
    llm = llm_at(server.url, clock=clock, llm_breaker_failures=2, llm_breaker_seconds=30, llm_max_retries=0)
    server.always = fails(500)
    for _ in range(2):
        with pytest.raises(LLMUnavailable):
            await llm.complete(HELLO)

    with pytest.raises(LLMUnavailable, match="left alone") as error:
        await llm.complete(HELLO)
    assert (error.value.kind, error.value.retry_after, len(server.asked)) == ("circuit_open", 30, 2)

    clock.now += 30
    server.always = hangs()
    probe = asyncio.create_task(llm.complete(HELLO))
    await until(lambda: server.in_flight == 1)
    with pytest.raises(LLMUnavailable, match="one call tries it"):
        await llm.complete(HELLO)
    server.release()
    assert await probe == "late"
    assert await llm.complete(HELLO) == "late"
    assert llm.counters.failures == {"server_error": 2, "circuit_open": 2}


async def test_a_failed_probe_leaves_it_alone_again(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    clock = Clock()
    llm = llm_at(server.url, clock=clock, llm_breaker_failures=1, llm_breaker_seconds=30)
    server.always = fails(500)
    with pytest.raises(LLMUnavailable):
        await llm.complete(HELLO)
    clock.now += 30

    with pytest.raises(LLMUnavailable, match="500"):
        await llm.complete(HELLO)
    with pytest.raises(LLMUnavailable, match="left alone"):
        await llm.complete(HELLO)

    assert len(server.asked) == 2, "an open breaker also ends the repetitions"


async def test_a_cancelled_probe_is_no_evidence(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    clock = Clock()
    llm = llm_at(server.url, clock=clock, llm_breaker_failures=1, llm_breaker_seconds=30)
    server.then(fails(500), hangs())
    with pytest.raises(LLMUnavailable):
        await llm.complete(HELLO)
    clock.now += 30
    await until(lambda: server.in_flight == 0)  # or the refused request would be taken for the probe
    probe = asyncio.create_task(llm.complete(HELLO))
    await until(lambda: server.in_flight == 1)

    probe.cancel()
    await asyncio.wait([probe])

    assert llm.breaker.state == "half_open"
    assert await llm.complete(HELLO) == "hello"


async def test_hanging_opens_the_breaker_but_little_time_does_not(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_budget_seconds=0.2, llm_breaker_failures=1)
    server.always = hangs()

    with pytest.raises(LLMTimeout):
        await llm.complete(HELLO, budget_seconds=0.03)
    after_little = llm.breaker.state
    with pytest.raises(LLMTimeout):
        await llm.complete(HELLO)

    assert (after_little, llm.breaker.state) == ("closed", "open")


# Secrets


async def test_the_key_is_in_no_error_and_no_log(
    llm_at: Callable[..., LLM], server: FakeLLM, caplog: pytest.LogCaptureFixture
) -> None:
    llm = llm_at(server.url, llm_breaker_failures=100)
    caplog.set_level(logging.DEBUG)
    told = []
    with structlog.testing.capture_logs() as lines:
        for status in (400, 401, 403, 404, 429, 500):
            server.always = fails(status, f"bad key {KEY}", code=KEY)
            for call in (llm.complete(HELLO), llm.complete_json(HELLO, Colour), read(llm)):
                with pytest.raises(LLMError) as error:
                    await call
                told.append(f"{error.value} {error.value.__context__} {error.value.__cause__} {vars(error.value)}")

    shown = [*told, str(lines), caplog.text, str(llm.counters.as_dict())]
    assert not any(KEY in text for text in shown)
    assert any("***" in str(line) for line in lines), "the complaint itself is there, for debugging"


async def test_no_prompt_is_logged_above_debug(
    llm_at: Callable[..., LLM], server: FakeLLM, caplog: pytest.LogCaptureFixture
) -> None:
    llm = llm_at(server.url, llm_breaker_failures=1)
    caplog.set_level(logging.INFO)
    server.then(says("no json, but a secret diary"), fails(500, "you said: secret diary"))
    with structlog.testing.capture_logs() as lines, pytest.raises(LLMError) as error:
        await llm.complete_json([{"role": "user", "content": "json of my secret diary"}], Colour)

    loud = [line for line in lines if line["log_level"] != "debug"]
    assert {line["action"] for line in loud} == {"llm.misfit", "llm.breaker_opened"}
    assert not any("diary" in text for text in (str(loud), caplog.text, str(error.value)))


def of_adapter(name: str | None) -> Caching:
    return Caching(CacheHint("head", "salt", "key", name), Step.ONCE)


def loaded(*names: str) -> dict[str, Any]:
    """What llama.cpp's server says of the adapters that it loaded when it started."""
    return {"/lora-adapters": [{"id": number, "path": f"/a/{name}.gguf"} for number, name in enumerate(names)]}


def weights_of(fake: FakeLLM) -> list[Any]:
    return [each.body["lora"] for each in (*fake.asked, *fake.warmed)]


async def said(llm: LLM, how: str, caching: Caching) -> None:
    if how == "warm":
        await llm.warm(caching)
    elif how == "stream":
        assert "".join([piece async for piece in llm.stream(HELLO, caching=caching)]) == "hello"
    else:
        assert await llm.complete(HELLO, caching=caching) == "hello"


@pytest.mark.parametrize("how", ["complete", "stream", "warm"])
async def test_a_call_that_waited_names_its_adapter_by_the_number_that_it_has_now(
    llm_at: Callable[..., LLM], server: FakeLLM, how: str
) -> None:
    llm = llm_at(server.url, llm_server="llama_cpp", llm_concurrency=1)
    server.beside = loaded("b")
    server.then(hangs())
    first = asyncio.create_task(llm.complete(HELLO))
    await until(lambda: server.in_flight == 1)
    waiting = asyncio.create_task(said(llm, how, of_adapter("b")))
    await asyncio.sleep(0.05)

    server.beside = loaded("a", "b")
    server.release()
    await asyncio.gather(first, waiting)

    assert weights_of(server)[-1] == [{"id": 1, "scale": 1.0}]


@pytest.mark.parametrize("how", ["complete", "stream"])
@pytest.mark.parametrize("reply", [fails(503), says("of another adapter")], ids=["failed", "answered"])
async def test_a_server_that_begins_anew_during_a_call_is_asked_again_by_the_new_number(
    llm_at: Callable[..., LLM], server: FakeLLM, reply: Reply, how: str
) -> None:
    llm = llm_at(server.url, llm_server="llama_cpp")
    server.beside = loaded("b")

    def begin_anew(_: Any) -> Reply:
        server.beside = loaded("a", "b")
        return reply

    server.then(begin_anew)
    await said(llm, how, of_adapter("b"))

    assert weights_of(server) == [[{"id": 0, "scale": 1.0}], [{"id": 1, "scale": 1.0}]]


async def test_an_adapter_that_is_gone_while_a_call_is_repeated_is_not_answered_by_another(
    llm_at: Callable[..., LLM], server: FakeLLM
) -> None:
    llm = llm_at(server.url, llm_server="llama_cpp")
    server.beside = loaded("b")

    def revoke(_: Any) -> Reply:
        server.beside = loaded("a")
        return says("of a")

    server.then(revoke)
    with pytest.raises(LLMRefused, match="does not have the adapter b"):
        await llm.complete(HELLO, caching=of_adapter("b"))


async def test_what_names_the_adapter_is_not_learnt_away(llm_at: Callable[..., LLM], server: FakeLLM) -> None:
    llm = llm_at(server.url, llm_server="sglang")
    server.then(fails(400, "lora_path: LoRA is not enabled"))
    await llm.complete(HELLO, caching=of_adapter(None))
    assert "lora_path" not in server.asked[-1].body

    await llm.complete(HELLO, caching=of_adapter("b"))
    assert server.asked[-1].body["lora_path"] == "b"
    await llm.complete(HELLO, caching=of_adapter(None))
    assert server.asked[-1].body["lora_path"] is None, "that none answers is said again too"
