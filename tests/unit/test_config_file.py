"""The configuration file of the original system: what its keys mean here, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from memsched.errors import SettingsError
from memsched.settings import Settings


def from_yaml(text: str) -> Settings:
    Path("config.yaml").write_text(text)
    return Settings.from_yaml("config.yaml")


def test_a_file_of_the_originals_shape_is_read() -> None:
    settings = from_yaml("""
mem_scheduler:
  backend: general_scheduler
  config:
    top_k: 10
    act_mem_update_interval: 30
    context_window_size: 5
    thread_pool_max_workers: 8
    consume_interval_seconds: 1
    enable_parallel_dispatch: true
    use_redis_queue: false
""")

    assert settings.concurrency == 8
    assert settings.redis_url == "memory://"
    assert (settings.top_k, settings.query_window) == (10, 5)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("thread_pool_max_workers", "concurrency"),
        ("max_internal_message_queue_size", "max_backlog"),
        ("context_window_size", "query_window"),
        ("working_mem_monitor_capacity", "working_set_size"),
        ("act_mem_update_interval", "activation_interval_seconds"),
        ("top_k", "top_k"),
    ],
)
def test_a_key_of_the_original_sets_what_it_is_called_here(key: str, name: str) -> None:
    assert getattr(from_yaml(f"mem_scheduler: {{config: {{{key}: 7}}}}"), name) == 7


@pytest.mark.parametrize(
    "key",
    ["consume_interval_seconds", "top_n", "activation_mem_size", "act_mem_dump_path"],
)
def test_a_key_of_the_original_that_means_nothing_here_is_passed_over(key: str) -> None:
    assert from_yaml(f"{key}: 7\ntop_k: 3") == Settings.load(top_k=3)


def test_a_value_of_the_original_is_held_to_the_limits_of_its_setting() -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_WORKING_SET_SIZE: "):
        from_yaml("working_mem_monitor_capacity: 10000")


def test_a_file_may_name_the_settings_of_memory_and_keys_stay_secret() -> None:
    settings = from_yaml("qdrant_url: http://q:6333\nqdrant_api_key: hunter2\nllm_model: small")

    assert (settings.store_url, settings.llm_model) == ("http://q:6333", "small")
    assert settings.qdrant_api_key.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings.shown())


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_without_parallel_dispatch_one_runs_at_a_time_whatever_else_is_said(order: tuple[str, str]) -> None:
    lines = {"a": "enable_parallel_dispatch: false", "b": "thread_pool_max_workers: 8"}

    assert from_yaml("\n".join(lines[name] for name in order)).concurrency == 1


def test_a_file_may_name_settings_as_they_are_called_here() -> None:
    assert from_yaml("min_idle_ms: 5000\nprefix: other").min_idle_ms == 5000


def test_a_file_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_MIN_IDLE_MS", "1000")

    assert from_yaml("min_idle_ms: 5000").min_idle_ms == 5000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_idel_ms: 1", "unknown key 'min_idel_ms'; did you mean min_idle_ms?"),
        ("- a list", "expected mem_scheduler"),
        ("", "expected mem_scheduler"),
        ("a: [", "config.yaml"),
        ("[" * 5000, "config.yaml: it is no YAML"),
        ("concurrency: none", "MEMSCHED_CONCURRENCY"),
        ("top_k: 3\nprefix: a\n'top_k': 5", "config.yaml: line 3: the key 'top_k' is there already, in line 1"),
        (
            "mem_scheduler:\n  config:\n    top_k: 3\n    top_k: 3",
            "line 4: the key 'top_k' is there already, in line 3",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_yaml(text)

    assert said in str(refused.value)


def test_keys_that_are_merged_may_be_there_once_more() -> None:
    text = "x-base: &base {top_k: 3, prefix: a}\nmem_scheduler: {config: {<<: *base, top_k: 5}}"

    assert from_yaml(text).top_k == 5


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: it cannot be read: No such file or directory\.$"):
        Settings.from_yaml("nowhere.yaml")
