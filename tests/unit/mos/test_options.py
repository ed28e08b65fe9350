"""What a MOS is told: the original's YAML, a mapping, single values; and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from memsched import MOS, MOSConfig, Settings
from memsched.errors import SettingsError
from memsched.mos.options import MosOptions, read_config

ORIGINAL = """
user_id: "root"
chat_model:
  backend: "openai"
  config:
    model_name_or_path: "gpt-4o-mini"
    temperature: 0.1
    remove_think_prefix: true
    max_tokens: 4096
    api_key: "sk-secret"
    api_base: "http://localhost:8000/v1"
mem_reader:
  backend: "simple_struct"
  config: {llm: {backend: "ollama", config: {model_name_or_path: "qwen3:0.6b"}}}
mem_scheduler:
  backend: "general_scheduler"
  config:
    top_k: 10
    top_n: 5
    act_mem_update_interval: 30
    context_window_size: 7
    thread_pool_max_workers: 12
    consume_interval_seconds: 1
    enable_parallel_dispatch: true
max_turns_window: 15
top_k: 5
enable_textual_memory: true
enable_activation_memory: true
enable_parametric_memory: false
enable_mem_scheduler: true
"""


def test_a_file_of_the_originals_shape_is_understood(tmp_path: Path) -> None:
    (tmp_path / "mos.yaml").write_text(ORIGINAL, encoding="utf-8")

    settings, options = read_config(tmp_path / "mos.yaml", {"redis_url": "memory://"})

    assert (settings.llm_model, settings.llm_base_url) == ("gpt-4o-mini", "http://localhost:8000/v1")
    assert settings.llm_api_key.get_secret_value() == "sk-secret"
    assert (settings.concurrency, settings.query_window, settings.top_k) == (12, 7, 10)
    assert (options.user_id, options.top_k, options.max_turns_window) == ("root", 5, 15)
    assert (options.temperature, options.max_tokens) == (0.1, 4096)
    assert options.enable_mem_scheduler
    assert options.session_id


_GUIDE = Path(__file__).parents[2] / "data" / "original_mos.yaml"
"""A configuration as the original's beginner's guide has it, with every key that its models know."""
_LINES = _GUIDE.read_text(encoding="utf-8").splitlines()
_SAYING_SOMETHING = [at for at, line in enumerate(_LINES) if line.split(":", 1)[1].strip()]


def _changed(line: str) -> str:
    """The line with another value of the same kind."""
    key, value = line.split(": ", 1)
    if value in ("true", "false"):
        return f"{key}: {'false' if value == 'true' else 'true'}"
    if value.startswith("{"):
        return f'{key}: {{"other": "value"}}'
    if value.isdigit():
        return f"{key}: {int(value) + 1}"
    return f"{key}: {float(value) / 2:g}" if value.replace(".", "").isdigit() else f'{key}: "other-{value[1:]}'


@pytest.mark.parametrize("at", _SAYING_SOMETHING, ids=[f"{at}:{_LINES[at].strip()}" for at in _SAYING_SOMETHING])
def test_every_line_of_the_guides_file_is_in_effect_or_refused_or_told_by_name(at: int, tmp_path: Path) -> None:
    changed = tmp_path / "mos.yaml"
    changed.write_text("\n".join([*_LINES[:at], _changed(_LINES[at]), *_LINES[at + 1 :]]), encoding="utf-8")
    key = _LINES[at].split(":")[0].strip()

    with capture_logs() as logged:
        whole = read_config(_GUIDE, {})
        try:
            found = read_config(changed, {})
        except SettingsError as refused:
            assert key in str(refused), "it is refused by name"
            return
    (told,) = [line["keys"] for line in logged if line["action"] == "mos.keys_without_effect"][:1]

    assert found != whole or any(name.rpartition(".")[2] == key and why for name, why in told.items())


def test_the_guides_file_means_what_it_says() -> None:
    settings, options = read_config(_GUIDE, {"redis_url": "memory://"})

    assert (settings.llm_model, settings.llm_base_url) == ("qwen3:1.7b", "http://model-server:11434/v1")
    assert settings.llm_extra_body == {"keep_alive": "5m", "reasoning_effort": "none"}
    assert settings.llm_headers.get_secret_value() == '{"X-Team": "memory"}'
    assert settings.llm_budget_seconds == 45
    assert (options.temperature, options.max_tokens, options.top_p) == (0.1, 4096, 0.8)
    assert (options.request, options.remove_think_prefix) == ({"top_k": 20}, True)
    assert (settings.reader_model, settings.reader_base_url) == ("qwen3:0.6b", "http://localhost:8088/v1")
    assert settings.reader_extra_body == {
        "temperature": 0.8,
        "max_tokens": 1024,
        "top_p": 0.9,
        "top_k": 50,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert settings.embedding_model == "openai:nomic-embed-text:latest"
    assert (settings.embedding_base_url, settings.embedding_dimensions) == ("http://localhost:11434/v1", 768)
    assert settings.chunk_tokens == 512


@pytest.mark.parametrize(
    ("backend", "url"),
    [
        ("openai", ""),
        ("ollama", "http://localhost:11434/v1"),
        ("vllm", "http://localhost:8088/v1"),
        ("deepseek", "https://api.deepseek.com/v1"),
        ("qwen", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    ],
)
def test_backends_are_addresses(backend: str, url: str) -> None:
    config = {"chat_model": {"backend": backend, "config": {"model_name_or_path": "m"}}}
    config |= {"mem_reader": {"config": {"llm": {"backend": backend, "config": {"model_name_or_path": "r"}}}}}

    settings, _ = read_config(config, {})

    assert (settings.llm_model, settings.llm_base_url) == ("m", url)
    assert (settings.reader_model, settings.reader_base_url) == ("r", url)


def test_null_is_not_given_and_what_two_keys_say_of_a_template_counts_together() -> None:
    chat = {"model_name_or_path": "m", "enable_thinking": None, "top_k": None, "seed": None}
    settings, options = read_config({"chat_model": {"config": chat}}, {})
    assert (settings.llm_extra_body, options.request) == ({}, {})

    for order in (1, -1):
        keys = {"enable_thinking": False, "extra_body": {"chat_template_kwargs": {"tone": "dry"}}}
        chat = {"model_name_or_path": "m", **dict(list(keys.items())[::order])}
        settings, _ = read_config({"chat_model": {"config": chat}}, {})
        assert settings.llm_extra_body == {"chat_template_kwargs": {"enable_thinking": False, "tone": "dry"}}


def test_a_mapping_means_the_same_as_a_file(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "mos.yaml").write_text(ORIGINAL, encoding="utf-8")
    given = {"session_id": "s"}

    assert read_config(yaml.safe_load(ORIGINAL), given) == read_config(str(tmp_path / "mos.yaml"), given)


@pytest.mark.parametrize("tab", ["", "\t"])
def test_a_configuration_as_the_originals_scripts_make_one_is_read(tab: str, tmp_path: Path) -> None:
    (tmp_path / "mos.json").write_text(f'{{\n{tab}"user_id": "ada",\n{tab}"top_k": 3\n}}')

    for made in (MOSConfig.from_json_file(tmp_path / "mos.json"), MOSConfig(user_id="ada", top_k=3)):
        _, options = read_config(made, {})

        assert (options.user_id, options.top_k) == ("ada", 3)


def test_single_values_win_over_the_file_and_the_file_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_TOP_K", "77")
    monkeypatch.setenv("MEMSCHED_LLM_MODEL", "from-the-environment")
    monkeypatch.setenv("MEMSCHED_PREFIX", "from-the-environment")
    config = {"chat_model": {"config": {"model_name_or_path": "from-the-file"}}, "concurrency": 3, "user_id": "file"}

    settings, options = read_config(config, {"concurrency": 4, "user_id": "ada", "top_k": 2})

    assert (settings.llm_model, settings.prefix) == ("from-the-file", "from-the-environment")
    assert (settings.concurrency, settings.top_k) == (4, 77)
    assert (options.user_id, options.top_k) == ("ada", 2)


def test_nothing_means_the_environment_and_the_defaults() -> None:
    settings, options = read_config(None, {})

    assert settings == Settings.load()
    assert options == MosOptions(session_id=options.session_id)
    assert read_config({}, {})[1].session_id != options.session_id


def test_settings_are_taken_as_they_are_and_may_come_with_options() -> None:
    given = Settings.load(redis_url="memory://x")

    settings, options = read_config(given, {"user_id": "ada", "enable_mem_scheduler": False})

    assert settings is given
    assert (options.user_id, options.enable_mem_scheduler) == ("ada", False)
    with pytest.raises(TypeError, match="not both"):
        read_config(given, {"prefix": "p"})


def test_the_scheduler_may_be_told_to_work_one_by_one_and_where_its_queue_is() -> None:
    config = {
        "mem_scheduler": {
            "config": {"enable_parallel_dispatch": False, "thread_pool_max_workers": 9, "use_redis_queue": False}
        }
    }

    settings, _ = read_config(config, {})

    assert (settings.concurrency, settings.redis_url) == (1, "memory://")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"user": "ada"}, "config: unknown key 'user'; did you mean user_id?"),
        ({"enable_mem_schedular": True}, "did you mean enable_mem_scheduler?"),
        ({"mem_scheduler": {"config": {"topk": 1}}}, "unknown key 'mem_scheduler.config.topk'; did you mean top_k?"),
        ({"chat_model": {"config": {"model": "x"}}}, "unknown key 'chat_model.config.model'"),
        (
            {"chat_model": {"backend": "huggingface", "config": {"model_name_or_path": "Qwen/Qwen3-1.7B"}}},
            "write instead: chat_model: {backend: vllm, config: {model_name_or_path: Qwen/Qwen3-1.7B, api_base: "
            "http://localhost:8088/v1}}",
        ),
        (
            {"mem_reader": {"config": {"llm": {"backend": "huggingface", "config": {}}}}},
            "mem_reader.config.llm.backend 'huggingface' cannot be used here",
        ),
        ({"chat_model": {"backend": "bedrock", "config": {}}}, "it may be openai, ollama, vllm, deepseek, qwen"),
        ({"chat_model": {"config": {"do_sample": True}}}, "chat_model.config.do_sample: only a model in this process"),
        ({"chat_model": {"backend": "deepseek", "config": {"enable_thinking": True}}}, "deepseek-reasoner thinks"),
        ({"chat_model": {"config": {"extra_body": 7}}}, "chat_model.config.extra_body: it must be a mapping"),
        ({"mem_reader": {"backend": "strategy"}}, "mem_reader.backend: 'strategy' is not here; write simple_struct"),
        (
            {"mem_reader": {"config": {"embedder": {"backend": "sentence_transformer", "config": {}}}}},
            "write instead embedding_model: fastembed:",
        ),
        ({"mem_scheduler": {"backend": "other", "config": {}}}, "mem_scheduler.backend: 'other' is not here"),
        ({"enable_parametric_memory": True}, "enable_parametric_memory: memsched trains no model; write false"),
        ({"chat_model": {"backend": "openai"}}, "config: chat_model.config.model_name_or_path: it names no model"),
        (
            {"mem_reader": {"config": {"llm": {"config": {"api_base": "http://localhost:1/v1"}}}}},
            "mem_reader.config.llm.config.model_name_or_path: it names no model",
        ),
        (
            {"mem_reader": {"config": {"embedder": {"backend": "ollama", "config": {}}}}},
            "mem_reader.config.embedder.config.model_name_or_path: it names no model",
        ),
        ({"chat_model": "gpt"}, "expected chat_model: {backend: ..., config: {...}}"),
        ({"mem_scheduler": {"config": [1]}}, "expected mem_scheduler: {backend: ..., config: {...}}"),
        ({"top_k": "many"}, "top_k: input should be a valid integer"),
        ({"user_id": ""}, "user_id: string should have at least 1 character"),
        ({"top_k": 0}, "top_k: input should be greater than or equal to 1"),
        ({"concurrency": 0}, "MEMSCHED_CONCURRENCY: input should be greater"),
        ({"mem_scheduler": {"config": {"use_redis_queue": "perhaps"}}}, "use_redis_queue: must be true or false"),
        ({7: "x"}, "unknown key '7'"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_probably_meant(config: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_config(config, {})

    assert said in str(refused.value)


def test_the_environment_may_name_the_model_of_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_LLM_MODEL", "small")

    settings, options = read_config({"chat_model": {"config": {"temperature": 0.5}}}, {})

    assert (settings.llm_model, options.temperature) == ("small", 0.5)


def test_all_mistakes_are_told_at_once_and_no_value_of_the_chat_model_is_repeated() -> None:
    config = {"a": 1, "b": 2, "chat_model": {"config": {"api_kay": "sk-secret", "api_key": "sk-secret"}}}

    with pytest.raises(SettingsError) as refused:
        read_config(config, {})

    assert len(refused.value.problems) == 3
    assert "sk-secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "mos.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match=r"mos\.yaml: "):
        MOS(tmp_path / "mos.yaml")
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: "):
        MOS("nowhere.yaml")


def test_an_unknown_single_value_is_named() -> None:
    with pytest.raises(SettingsError, match="user_ids is not a setting"):
        MOS(user_ids="ada")
