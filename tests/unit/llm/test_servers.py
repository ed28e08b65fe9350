"""What each kind of model server is asked, and what of its answers is believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memsched.activation.ladder import is_hit, step_after
from memsched.llm.server_errors import ServerError
from memsched.llm.servers import DIALECTS, CacheHint, CacheUse, Step
from memsched.llm.servers.base import warm_ups
from memsched.llm.servers.detect import detect

HINT = CacheHint(head="0123\nInstructions.\nBLOCK\n", salt="a-salt", key="a-key")
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "system", "content": f"{HINT.head}near"}, {"role": "user", "content": "?"}],
}


def shaped_warm_ups(name: str, hint: CacheHint, step: Step) -> list[dict[str, Any]]:
    return [DIALECTS[name].shape({"model": "m", "messages": each}, hint, step) for each in warm_ups(hint, step)]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("generic", {}),
        ("llama_cpp", {"cache_prompt": True, "lora": [{"id": 0, "scale": 0.0}]}),
        ("vllm", {"cache_salt": "a-salt"}),
        ("sglang", {"cache_salt": "a-salt", "lora_path": None}),
        ("openai", {"prompt_cache_key": "a-key"}),
        ("deepseek", {}),
        ("ollama", {}),
        ("gateway", {"prompt_cache_key": "a-key"}),
    ],
)
def test_a_chat_says_whose_it_is_in_the_servers_words(name: str, fields: dict[str, Any]) -> None:
    assert DIALECTS[name].shape(CHAT, HINT, Step.ONCE) == {**CHAT, **fields}


@pytest.mark.parametrize("name", DIALECTS)
def test_each_kind_has_a_line_in_the_docs_and_one_to_be_printed(name: str) -> None:
    docs = (Path(__file__).parents[3] / "docs" / "activation.md").read_text(encoding="utf-8")
    about = DIALECTS[name].about()

    (row,) = [line for line in docs.splitlines() if line.startswith(f"| `{name}` |")]
    assert f"{DIALECTS[name].least_tokens:,}" in row
    assert all(about.values())


def test_what_the_user_sets_wins() -> None:
    shaped = DIALECTS["llama_cpp"].shape({**CHAT, "cache_prompt": False}, HINT, Step.ONCE)

    assert shaped["cache_prompt"] is False


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("openai", {"prompt_cache_breakpoint": {"mode": "explicit"}}),
        ("gateway", {"cache_control": {"type": "ephemeral"}}),
    ],
)
def test_a_mark_stands_where_the_head_ends_and_changes_no_word(name: str, mark: dict[str, Any]) -> None:
    dialect = DIALECTS[name]
    shaped = dialect.shape(CHAT, HINT, Step.MARK)
    (warm_up,) = shaped_warm_ups(name, HINT, Step.MARK)

    marked = {"type": "text", "text": HINT.head, **mark}
    assert shaped["messages"][0]["content"] == [marked, {"type": "text", "text": "near"}]
    assert shaped["messages"][1:] == CHAT["messages"][1:]
    assert warm_up["messages"][0]["content"] == [marked]
    assert CHAT["messages"][0]["content"] == f"{HINT.head}near", "the request itself stays as it was"


@pytest.mark.parametrize("name", DIALECTS)
def test_requests_that_warm_have_the_head_in_common_and_not_a_character_more(name: str) -> None:
    sent = {step: shaped_warm_ups(name, HINT, step) for step in (Step.ONCE, Step.TWICE, Step.THRICE)}

    assert [len(each) for each in sent.values()] == [1, 2, 3]
    for requests in sent.values():
        texts = [each["messages"][0]["content"] for each in requests]
        assert all(text.startswith(HINT.head) for text in texts)
        assert len({text[: len(HINT.head) + 1] for text in texts}) == len(texts)
    assert shaped_warm_ups(name, HINT, Step.OFF) == []


@pytest.mark.parametrize(
    ("name", "answer", "use"),
    [
        ("generic", {"usage": {"prompt_tokens_details": {"cached_tokens": 5}}}, CacheUse(5)),
        ("generic", {"usage": {"prompt_tokens_details": None}}, CacheUse()),
        ("vllm", {"usage": {"prompt_tokens_details": {"cached_tokens": None}}}, CacheUse()),
        ("vllm", {"usage": None}, CacheUse()),
        ("sglang", {"usage": {"prompt_tokens_details": {"cached_tokens": 0}}}, CacheUse(0)),
        ("llama_cpp", {"timings": {"cache_n": 7}, "usage": {}}, CacheUse(7)),
        ("llama_cpp", {"usage": {"prompt_tokens_details": {"cached_tokens": 6}}}, CacheUse(6)),
        ("deepseek", {"usage": {"prompt_cache_hit_tokens": 64}}, CacheUse(64)),
        (
            "openai",
            {"usage": {"prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2}}},
            CacheUse(1, 2),
        ),
        ("gateway", {"usage": {"cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}}, CacheUse(3, 4)),
        ("ollama", {"usage": {"prompt_tokens": 9}}, CacheUse()),
        ("openai", {"usage": {"prompt_tokens_details": {"cached_tokens": "12"}}}, CacheUse()),
        ("openai", {"usage": [1]}, CacheUse()),
        ("openai", {"usage": {"prompt_tokens_details": {"cached_tokens": -1}}}, CacheUse()),
    ],
)
def test_what_is_cached_is_read_where_this_server_tells_it_and_unknown_is_not_nothing(
    name: str, answer: Mapping[str, Any], use: CacheUse
) -> None:
    assert DIALECTS[name].evidence(answer) == use


@pytest.mark.parametrize(
    ("name", "adapter", "says"),
    [
        ("llama_cpp", "1", {"lora": [{"id": 1, "scale": 1.0}]}),
        ("vllm", "style-7", {"model": "style-7"}),
        ("sglang", "style-7", {"lora_path": "style-7"}),
        ("ollama", "style-7", {"model": "style-7"}),
    ],
)
def test_a_request_names_its_adapter(name: str, adapter: str, says: dict[str, Any]) -> None:
    hint = CacheHint(HINT.head, HINT.salt, HINT.key, adapter)

    assert says.items() <= DIALECTS[name].shape(CHAT, hint, Step.ONCE).items()
    assert all(says.items() <= each.items() for each in shaped_warm_ups(name, hint, Step.TWICE))


@pytest.mark.parametrize(
    ("model", "step"),
    [
        ("gpt-5.6", Step.MARK),
        ("gpt-5.10-mini", Step.MARK),
        ("openai/gpt-6", Step.MARK),
        ("gpt-5.5", Step.ONCE),
        ("gpt-5", Step.ONCE),
        ("gpt-5-mini", Step.ONCE),
        ("gpt-4o", Step.ONCE),
        ("o3-mini", Step.ONCE),
    ],
)
def test_marks_are_tried_with_models_that_may_know_them(model: str, step: Step) -> None:
    assert DIALECTS["openai"].first_step(model) is step


def test_each_step_leads_to_the_next_and_the_last_stays() -> None:
    steps = [Step.MARK]
    while steps[-1] is not Step.OFF:
        steps.append(step_after(steps[-1]))

    assert steps == list(Step)
    assert step_after(Step.OFF) is Step.OFF


@pytest.mark.parametrize(
    ("cached", "tokens", "unit", "hit"),
    [(900, 1000, 1, True), (899, 1000, 1, False), (1024, 1151, 128, True), (896, 1151, 128, False), (0, 10, 16, True)],
)
def test_a_chat_that_finds_nine_tenths_of_the_whole_blocks_of_its_head_is_a_hit(
    cached: int, tokens: int, unit: int, hit: bool
) -> None:
    assert is_hit(cached, tokens, unit) is hit


def answering(answers: Mapping[str, Any], asked: list[str]) -> Any:
    async def get(path: str) -> Mapping[str, Any] | None:
        asked.append(path)
        return answers.get(path)

    return get


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"/props": {"default_generation_settings": {}, "build_info": "b1"}}, "llama_cpp"),
        ({"/version": {"version": "0.27.1"}}, "vllm"),
        ({"/get_model_info": {"model_path": "m"}, "/version": {"version": "1"}}, "sglang"),
        ({"/api/version": {"version": "0.40.0"}}, "ollama"),
        ({"/props": {"error": {}}, "/version": {}}, "generic"),
        ({}, "generic"),
    ],
)
async def test_a_server_is_known_by_what_only_it_answers(answers: Mapping[str, Any], name: str) -> None:
    assert (await detect("http://127.0.0.1:8000/v1", answering(answers, []))).name == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "openai"),
        ("https://api.deepseek.com/v1", "deepseek"),
        ("https://openrouter.ai/api/v1", "gateway"),
    ],
)
async def test_a_service_is_known_by_its_name_and_not_asked(url: str, name: str) -> None:
    asked: list[str] = []

    assert (await detect(url, answering({}, asked))).name == name
    assert asked == []


async def test_a_server_that_does_not_answer_is_not_taken_for_another_kind() -> None:
    async def away(_: str) -> None:
        raise ServerError("away", kind="unreachable")

    with pytest.raises(ServerError):
        await detect("http://127.0.0.1:8000/v1", away)


@pytest.mark.parametrize("name", ["llama_cpp", "sglang"])
def test_a_request_that_named_no_adapter_by_itself_names_the_one_that_answers(name: str) -> None:
    dialect = DIALECTS[name]
    hint = CacheHint("head", "salt", "key", adapter="1")
    body = {**dialect.plain(), "messages": [{"role": "system", "content": "head"}]}

    shaped = dialect.shape(body, hint, Step.ONCE)

    assert dialect.plain()
    for field in dialect.plain():
        assert shaped[field] == dialect.fields(hint)[field] != dialect.plain()[field]
