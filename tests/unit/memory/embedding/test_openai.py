"""Embeddings from a server: in batches, repeated where that helps, checked, and each text asked for once."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.embedding_server import EmbeddingsServer, Reply, vector_of

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.embedding.embedder import EmbeddingError
from memsched.memory.embedding.factory import embedder_from
from memsched.memory.embedding.openai import OpenAIEmbedder


@pytest.fixture(autouse=True)
def _near_and_patient_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("memsched.llm.server_errors._BACKOFF_SECONDS", 0.001)


@pytest.fixture
def server() -> Iterator[EmbeddingsServer]:
    server = EmbeddingsServer()
    yield server
    server.close()


def embedder_at(server: EmbeddingsServer, **given: Any) -> OpenAIEmbedder:
    settings = Settings.load(
        embedding_model="openai:small", embedding_base_url=server.url, embedding_api_key="secret-key", **given
    )
    found = embedder_from(settings)
    assert isinstance(found, OpenAIEmbedder)
    return found


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


async def test_a_server_s_vectors_come_in_the_order_of_the_texts_and_with_length_one(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server)
    await embedder.prepare()
    vectors = await embedder.embed_documents(["one", "two", "one"])
    assert embedder.dimensions == 8
    assert embedder.name == "openai:small"
    assert vectors[0] == vectors[2]
    for text, vector in zip(["one", "two"], vectors, strict=False):
        assert vector == pytest.approx(unit(vector_of(text, 8)), abs=1e-6)
    await embedder.aclose()


async def test_texts_go_in_batches_and_each_only_once(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_batch=3)
    await embedder.prepare()
    server.asked.clear()
    await embedder.embed_documents([f"text {number % 7}" for number in range(20)])
    assert sorted(len(body["input"]) for body in server.asked) == [1, 3, 3]
    await embedder.embed_query("text 3")
    assert len(server.asked) == 3
    await embedder.aclose()


async def test_a_call_has_no_more_text_than_a_server_takes_at_once(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    await embedder.embed_documents([f"{number:02} {'x' * 20_000}" for number in range(64)])
    asked = [sum(len(text) for text in body["input"]) for body in server.asked]
    assert sum(asked) == 64 * 8000
    assert max(asked) <= 256 * 1024
    await embedder.aclose()


async def test_the_library_is_loaded_beside_the_event_loop(
    server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    opened = OpenAIEmbedder._open

    def watched(embedder: OpenAIEmbedder) -> None:
        threads.append(threading.current_thread())
        opened(embedder)

    monkeypatch.setattr(OpenAIEmbedder, "_open", watched)
    embedder = embedder_at(server)
    assert "_client" not in vars(embedder)
    await embedder.prepare()
    assert "_client" in vars(embedder)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    await embedder.aclose()


async def test_half_a_surrogate_pair_does_not_stop_a_text(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    assert len(await embedder.embed_documents(["a \ud83d b"])) == 1
    assert [body["input"] for body in server.asked] == [["a ? b"]]
    await embedder.aclose()


async def test_dimensions_that_are_set_are_asked_for(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=4)
    await embedder.prepare()
    assert server.asked == []
    (vector,) = await embedder.embed_documents(["one"])
    assert server.asked[0]["dimensions"] == len(vector) == embedder.dimensions == 4
    await embedder.aclose()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_fails_for_a_moment_is_asked_again(server: EmbeddingsServer, status: int) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [(status, {"error": {"message": "later"}})]
    assert len(await embedder.embed_documents(["one"])) == 1
    assert len(server.asked) == 2
    await embedder.aclose()


@pytest.mark.parametrize(
    ("status", "temporary", "advice"),
    [
        (401, False, "MEMSCHED_EMBEDDING_API_KEY"),
        (404, False, "MEMSCHED_EMBEDDING_MODEL"),
        (400, False, "400"),
        (503, True, "503"),
    ],
)
async def test_an_error_says_what_to_do_and_whether_waiting_helps(
    server: EmbeddingsServer, status: int, temporary: bool, advice: str
) -> None:
    embedder = embedder_at(server, embedding_dimensions=8, embedding_timeout_seconds=3)
    server.next_replies = [(status, {"error": {"message": "no"}})] * 9
    with pytest.raises(EmbeddingError, match=advice) as caught:
        await embedder.embed_documents(["one"])
    assert caught.value.temporary is temporary
    assert "secret-key" not in str(caught.value)
    await embedder.aclose()


async def test_a_server_that_is_not_there_is_a_temporary_failure() -> None:
    settings = Settings.load(
        embedding_model="openai:small", embedding_base_url="http://127.0.0.1:9/v1", embedding_timeout_seconds=0.3
    )
    embedder = embedder_from(settings)
    with pytest.raises(EmbeddingError, match="MEMSCHED_EMBEDDING_BASE_URL") as caught:
        await embedder.prepare()
    assert caught.value.temporary
    await embedder.aclose()


def changed(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[EmbeddingsServer, dict[str, Any]], Any]:
    """The server's answer after a change of its rows."""

    def reply(server: EmbeddingsServer, body: dict[str, Any]) -> Any:
        answer = server.vectors(body)
        change(answer["data"])
        return answer

    return reply


WRONG: dict[str, tuple[Callable[[EmbeddingsServer, dict[str, Any]], Any], str]] = {
    "too few": (changed(lambda rows: [rows.pop(), rows[0].pop("index")]), "1 vectors for 2 texts"),
    "none": (changed(lambda rows: rows.clear()), "0 vectors for 2 texts"),
    "too many": (changed(lambda rows: rows.append(rows[0])), "3 vectors for 2 texts"),
    "numbered alike": (changed(lambda rows: [row.update(index=0) for row in rows]), "numbered its vectors wrongly"),
    "numbered from one": (changed(lambda rows: [row.update(index=row["index"] + 1) for row in rows]), "wrongly"),
    "numbered in part": (changed(lambda rows: rows[0].pop("index")), "numbered its vectors wrongly"),
    "of two other lengths": (
        changed(lambda rows: [row.update(embedding=[1.0] * at) for at, row in enumerate(rows, 1)]),
        "vectors of numbers",
    ),
    "of other dimensions": (
        changed(lambda rows: [row.update(embedding=[1.0]) for row in rows]),
        "1 dimensions instead of 8",
    ),
    "empty": (changed(lambda rows: [row.update(embedding=[]) for row in rows]), "no dimensions"),
    "words": (changed(lambda rows: [row.update(embedding=["x"] * 8) for row in rows]), "vectors of numbers"),
    "no embedding": (changed(lambda rows: [row.pop("embedding") for row in rows]), "vectors of different or no"),
    "no list": (lambda server, body: {"data": "none"}, "did not send embeddings"),
    "no JSON": (lambda server, body: b"<html>", "did not send embeddings"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_answer_of_the_wrong_shape_is_refused(server: EmbeddingsServer, wrong: str) -> None:
    answer, said = WRONG[wrong]
    embedder = embedder_at(server)
    await embedder.prepare()
    server.asked.clear()
    server.next_replies = [lambda body: (200, answer(server, body))]

    with pytest.raises(EmbeddingError, match=said) as caught:
        await embedder.embed_documents(["a", "b"])

    assert not caught.value.temporary
    assert len(server.asked) == 1
    # and nothing of it was kept
    assert await embedder.embed_query("a") == pytest.approx(unit(vector_of("a", 8)), abs=1e-6)
    await embedder.aclose()


async def test_an_empty_text_is_not_sent_as_such(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    await embedder.embed_documents(["", "x" * 100_000])
    first, second = server.asked[0]["input"]
    assert first == "."
    assert len(second) == 8_000
    await embedder.aclose()


async def test_who_asks_for_the_same_text_at_the_same_time_shares_a_call(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)

    # when one of those who wait does so no longer
    callers = [asyncio.create_task(embedder.embed_query("same")) for _ in range(5)]
    await asyncio.sleep(0)
    callers[0].cancel()
    _, *vectors = await asyncio.gather(*callers, return_exceptions=True)

    assert len(server.asked) == 1
    assert all(isinstance(vector, list) and vector == vectors[0] for vector in vectors)
    await embedder.aclose()


def refusing(server: EmbeddingsServer, refused: Callable[[str], bool], status: int = 400) -> None:
    """Let the server refuse every call that has such a text."""

    def reply(body: dict[str, Any]) -> Reply:
        if any(refused(text) for text in body["input"]):
            return status, {"error": {"message": "the input is too long, or too strange"}}
        return 200, server.vectors(body)

    server.next_replies = [reply] * 99


@pytest.mark.parametrize("status", [400, 413, 422, 500])
async def test_a_text_that_is_too_long_for_the_model_does_not_fail_the_others(
    server: EmbeddingsServer, status: int
) -> None:
    embedder = embedder_at(server, embedding_dimensions=8, embedding_timeout_seconds=0.5)
    refusing(server, lambda text: len(text) > 2000, status)

    with capture_logs() as lines:
        short, long = await embedder.embed_documents(["short", "x " * 2000])

    assert short == pytest.approx(unit(vector_of("short", 8)), abs=1e-6)
    assert long == pytest.approx(unit(vector_of(("x " * 1000), 8)), abs=1e-6)
    (line,) = [line for line in lines if line["action"] == "embedding.shortened"]
    assert (line["bytes"], line["used"]) == (3999, 2000)
    await embedder.aclose()


@pytest.mark.parametrize("how", [math.nan, math.inf, None, 500, 502, 504, "empty", "null", "short", "words"])
async def test_a_text_without_a_vector_costs_the_others_nothing_and_may_get_one_later(
    server: EmbeddingsServer, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.llm.server_errors._BACKOFF_SECONDS", 0.001)
    embedder = embedder_at(server, embedding_dimensions=8)

    def reply(body: dict[str, Any]) -> Reply:
        answer = server.vectors(body)
        for row in answer["data"]:
            if body["input"][row["index"]] == "zebra":
                row["embedding"] = {"empty": [], "null": None, "short": [1.0], "words": ["x"] * 8}.get(how, [how] * 8)
                if how in (500, 502, 504):
                    return how, {"error": {"message": "unsupported value: NaN"}}
        return 200, answer

    server.next_replies = [reply] * 99

    cat, zebra, nuts = await embedder.embed_documents(["cat", "zebra", "nuts"])

    assert (cat, nuts) == tuple(pytest.approx(unit(vector_of(text, 8)), abs=1e-6) for text in ("cat", "nuts"))
    assert zebra == [0.0] * 8
    assert await embedder.embed_query("zebra") == [0.0] * 8
    server.next_replies.clear()
    assert any(await embedder.embed_query("zebra")), "no vector is not kept"
    assert embedder.may_embed_later
    await embedder.aclose()


async def test_a_text_whose_vector_is_left_out_costs_the_others_nothing(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [lambda body: (200, changed(lambda rows: rows.pop(1))(server, body))]

    cat, zebra, nuts = await embedder.embed_documents(["cat", "zebra", "nuts"])

    assert (cat, nuts) == tuple(pytest.approx(unit(vector_of(text, 8)), abs=1e-6) for text in ("cat", "nuts"))
    assert zebra == [0.0] * 8
    assert any(await embedder.embed_query("zebra")), "no vector is not kept"
    await embedder.aclose()


async def test_a_server_that_has_no_vector_for_anything_is_out_of_order(
    server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memsched.llm.server_errors._BACKOFF_SECONDS", 0.001)
    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [(500, {"error": {"message": "no"}})] * 99

    with pytest.raises(EmbeddingError) as caught:
        await embedder.embed_documents(["cat", "nuts"])

    assert caught.value.temporary
    assert len(server.asked) <= 8
    await embedder.aclose()


async def test_a_text_that_the_model_refuses_does_not_fail_the_others(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    refusing(server, lambda text: "strange" in text)
    texts = [f"text {number}" for number in range(20)]

    with capture_logs() as lines:
        vectors = await embedder.embed_documents([*texts[:13], "strange", *texts[13:]])

    assert vectors.pop(13) == [0.0] * 8
    assert vectors == [pytest.approx(unit(vector_of(text, 8)), abs=1e-6) for text in texts]
    (line,) = [line for line in lines if line["action"] == "embedding.refused"]
    assert line["log_level"] == "warning"
    assert "strange" not in str(line)
    assert len(server.asked) < len(texts)  # the batch was halved, not taken apart
    # whatever it comes with
    assert await embedder.embed_query("strange") == [0.0] * 8
    await embedder.aclose()


async def test_a_server_that_refuses_everything_is_no_matter_of_the_texts(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    refusing(server, lambda text: True)
    with pytest.raises(EmbeddingError, match="MEMSCHED_EMBEDDING_DIMENSIONS") as caught:
        await embedder.embed_documents([f"text {number}" for number in range(20)])
    assert not caught.value.temporary
    assert len(server.asked) == 2
    await embedder.aclose()


async def test_a_server_says_when_to_come_back(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8)
    server.next_replies = [(429, {"error": {"message": "soon"}})]
    server.headers = {"Retry-After": "0.02"}
    with capture_logs() as lines:
        await embedder.embed_documents(["one"])
    assert [line["delay_seconds"] for line in lines if line["action"] == "embedding.retry"] == [0.02]
    await embedder.aclose()


async def test_a_server_s_wish_to_wait_is_respected(server: EmbeddingsServer) -> None:
    embedder = embedder_at(server, embedding_dimensions=8, embedding_timeout_seconds=0.5)
    server.next_replies = [(429, {"error": {"message": "in a minute"}})]
    server.headers = {"Retry-After": "60"}
    with pytest.raises(EmbeddingError) as caught:  # it would be too late
        await embedder.embed_documents(["one"])
    assert caught.value.temporary
    assert caught.value.retry_after == 60
    assert len(server.asked) == 1
    await embedder.aclose()


@pytest.mark.parametrize("given", [{"embedding_base_url": "no url"}, {"embedding_api_key": "two words"}])
def test_an_address_or_key_that_is_none_is_a_clear_error(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"MEMSCHED_{next(iter(given)).upper()}"):
        embedder_from(Settings.load(embedding_model="openai:small", **given))
