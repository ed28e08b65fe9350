"""Ranking, attributing and correcting with a model that helps, errs, or obeys strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.llm import FakeLLM, Reply, says_json

from memsched.llm.client import LLM
from memsched.llm.errors import LLMInvalidAnswer, LLMTimeout
from memsched.llm.judge import correction, rerank, used
from memsched.llm.schemas import Feedback
from memsched.settings import Settings


@pytest.fixture
def server() -> Iterator[FakeLLM]:
    with FakeLLM() as server:
        yield server


@pytest.fixture
async def llm(server: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LLM]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = LLM.from_settings(Settings.load(redis_url="memory://", llm_model="fake", llm_base_url=server.url))
    assert made is not None
    yield made
    await made.aclose()


async def test_nothing_is_asked_about_nothing(llm: LLM, server: FakeLLM) -> None:
    assert await rerank(llm, "q", ["only one"]) == [0]
    assert await used(llm, "answer", []) == set()
    assert await used(llm, " ", ["text"]) == set()
    assert server.asked == []


# Ranking and attribution


@pytest.mark.parametrize(
    ("order", "expected"),
    [([2, 0, 1], [2, 0, 1]), ([2], [2, 0, 1]), ([2, 2, 7, -1, 1], [2, 1, 0]), ([], [0, 1, 2])],
)
async def test_a_ranking_never_loses_a_memory(llm: LLM, server: FakeLLM, order: list[int], expected: list[int]) -> None:
    server.then(says_json({"order": order}))

    assert await rerank(llm, "tea?", ["a", "b", "c"], budget_seconds=2) == expected


async def test_ranking_ends_with_its_own_budget(llm: LLM, server: FakeLLM) -> None:
    server.always = Reply(hold=True)

    with pytest.raises(LLMTimeout):
        await rerank(llm, "tea?", ["a", "b"], 0.05)

    assert llm.breaker.state == "closed"


async def test_used_memories_are_those_that_exist(llm: LLM, server: FakeLLM) -> None:
    server.then(says_json({"used": [1, 5, -2, 1]}))

    assert await used(llm, "No nuts for you", ["likes tea", "allergic to nuts"]) == {1}


# Correction


async def test_a_correction_finds_its_memory_and_says_what_is_right(llm: LLM, server: FakeLLM) -> None:
    server.then(says_json({"corrected": 1, "text": "Ann lives in Lund"}))

    got = await correction(llm, "I moved, I live in Lund now", ["Ann likes tea", "Ann lives in Uppsala"])

    assert got == Feedback(corrected=1, text="Ann lives in Lund")


async def test_a_correction_may_leave_nothing_in_the_memorys_place(llm: LLM, server: FakeLLM) -> None:
    server.then(says_json({"corrected": 0, "text": ""}))

    assert await correction(llm, "That is not true", ["Ann has a dog"]) == Feedback(corrected=0, text="")


@pytest.mark.parametrize(
    "answer",
    [
        {"corrected": 5, "text": "Ann lives in Lund"},
        {"corrected": 0, "text": "Ann lives in Paris"},
        {"corrected": 0, "text": "Ann lives in Uppsala."[:-1]},
        {"corrected": None, "text": ""},
    ],
)
async def test_a_correction_that_nobody_made_is_no_answer(llm: LLM, server: FakeLLM, answer: dict[str, Any]) -> None:
    server.then(says_json(answer))

    with pytest.raises(LLMInvalidAnswer):
        await correction(llm, "I live in Lund now", ["Ann lives in Uppsala"])
