"""What is counted about the model: calls, tokens, cost, and how often something else had to answer."""

from __future__ import annotations

import json

import pytest

from memsched.llm.errors import LLMTimeout
from memsched.llm.metrics import Counters


def test_cost_is_counted_per_million_tokens() -> None:
    counters = Counters(input_price=2.0, output_price=10.0)

    counters.used_tokens(500_000, 100_000, cached=None, estimated=False)

    assert counters.as_dict()["cost"] == pytest.approx(2.0)


def test_fallbacks_are_counted_by_task_and_reason() -> None:
    counters = Counters()

    counters.fell_back("extract", LLMTimeout("slow"))
    counters.fell_back("extract", LLMTimeout("slow again"))
    counters.fell_back("rerank", "no_budget")

    assert counters.as_dict()["fallbacks"] == {"extract": {"timeout": 2}, "rerank": {"no_budget": 1}}


def test_the_counts_are_fit_for_json() -> None:
    assert json.loads(json.dumps(Counters().as_dict()))["requests"] == 0


def test_cached_tokens_are_counted_beside_the_input_of_the_answers_that_told_them() -> None:
    counters = Counters()

    counters.used_tokens(1000, 10, cached=None, estimated=False)
    counters.used_tokens(2000, 10, cached=0, estimated=False)
    counters.used_tokens(3000, 10, cached=2500, estimated=False)

    shown = counters.as_dict()
    assert (shown["cached_tokens"], shown["cached_of_tokens"], shown["input_tokens"]) == (2500, 5000, 6000)
