"""What is counted about the model, how its errors explain themselves, and when a server wants to be asked again."""

from __future__ import annotations

import inspect
import json

import pytest

from memsched.errors import MemschedError
from memsched.llm import errors
from memsched.llm.errors import LLMTimeout
from memsched.llm.metrics import Counters, estimate_tokens
from memsched.llm.server_errors import retry_after


def test_cost_is_counted_per_million_tokens() -> None:
    counters = Counters(input_price=2.0, output_price=10.0)

    counters.used_tokens(500_000, 100_000, estimated=False)

    assert counters.as_dict()["cost"] == pytest.approx(2.0)


def test_fallbacks_are_counted_by_task_and_reason() -> None:
    counters = Counters()

    counters.fell_back("extract", LLMTimeout("slow"))
    counters.fell_back("extract", LLMTimeout("slow again"))
    counters.fell_back("rerank", "no_budget")

    assert counters.as_dict()["fallbacks"] == {"extract": {"timeout": 2}, "rerank": {"no_budget": 1}}


def test_the_counts_are_fit_for_json() -> None:
    assert json.loads(json.dumps(Counters().as_dict()))["requests"] == 0


def test_tokens_are_estimated_at_four_characters() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


def kinds() -> list[type[MemschedError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LLMError)]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_explains_itself(kind: type[errors.LLMError]) -> None:
    assert len(kinds()) == 5
    error = kind("Because.")

    assert str(error).endswith(" Because.")
    assert len(str(error)) > 25
    assert "retry_after" not in str(error)
    assert error.reason == "Because."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Sun, 07 May 2023 10:00:30 GMT", 30.0),
        ("Sun, 07 May 2023 09:00:00 GMT", 0.0),
        ("99 Foo 99999999", None),
    ],
)
def test_retry_after_is_in_seconds_or_a_date(value: str, seconds: float | None) -> None:
    ten_o_clock = 1_683_453_600.0

    assert retry_after({"retry-after": value}, ten_o_clock) == seconds
