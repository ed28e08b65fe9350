"""Settings come from the environment, and a mistake in them is told in one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from memsched import AsyncMemScheduler, Settings
from memsched.broker.addresses import _FOR, _OF_TLS, _OPTIONS
from memsched.cli.app import app
from memsched.cli.config import env_file
from memsched.errors import SettingsError
from memsched.settings import _SHOWN_OPTIONS, masked


def problems_of(**given: object) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.load(**given)
    return str(refused.value)


def test_a_name_that_is_like_no_other_is_told_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_FOO", "1")
    assert "MEMSCHED_FOO is not a setting. `memsched config --env-example` lists all." in problems_of()


def test_the_defaults_need_no_environment() -> None:
    settings = Settings.load()

    assert settings.redis_url == "embedded://memsched-data"
    assert settings.min_idle_ms == 60_000
    assert (settings.max_errors, settings.max_crashes) == (5, 2)
    assert settings.memory
    assert (settings.embedding_model, settings.llm_model) == ("hashing", ""), "no model, no download"
    assert (settings.top_k, settings.working_set_size, settings.query_window) == (10, 20, 5)


def test_a_variable_sets_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_CONCURRENCY", "7")

    assert Settings.load().concurrency == 7


def test_what_is_given_wins_over_the_environment_and_that_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MEMSCHED_CONCURRENCY=1\nMEMSCHED_PREFIX=from-file\nMEMSCHED_PROCESSES=3\n")
    monkeypatch.setenv("MEMSCHED_CONCURRENCY", "2")
    monkeypatch.setenv("MEMSCHED_PREFIX", "from-environment")

    settings = Settings.load(concurrency=5)

    assert (settings.concurrency, settings.prefix, settings.processes) == (5, "from-environment", 3)


def test_an_unknown_variable_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_CONCURENCY", "7")

    assert "MEMSCHED_CONCURENCY is not a setting; did you mean MEMSCHED_CONCURRENCY?" in problems_of()


def test_an_unknown_variable_in_the_env_file_is_refused() -> None:
    Path(".env").write_text("MEMSCHED_MIN_IDEL_MS=1\n")

    assert "MEMSCHED_MIN_IDEL_MS is not a setting; did you mean MEMSCHED_MIN_IDLE_MS?" in problems_of()


def test_other_programs_variables_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("CONCURRENCY", "1")

    assert Settings.load().concurrency == 32


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MEMSCHED_CONCURRENCY", "many", "expected a whole number"),
        ("MEMSCHED_CONCURRENCY", "0", "greater than or equal to 1"),
        ("MEMSCHED_PREFIX", "a b", "pattern"),
        ("MEMSCHED_PREFIX", "a{b}", "pattern"),
        ("MEMSCHED_PREFIX", "new\nline", "pattern"),
        ("MEMSCHED_REDIS_URL", "http://example.org", "must start with one of redis://"),
        ("MEMSCHED_REDIS_URL", "localhost:6379", "must start with one of redis://"),
        ("MEMSCHED_REDIS_URL", "embedded://", "needs a folder"),
        ("MEMSCHED_LOG_LEVEL", "loud", "'debug'"),
        ("MEMSCHED_MIN_IDLE_MS", "1", "greater than or equal to 100"),
        ("MEMSCHED_QDRANT_URL", "localhost:6333", "must be http://HOST:PORT"),
        ("MEMSCHED_QDRANT_URL", "qdrant", "must be http://HOST:PORT"),
        ("MEMSCHED_QDRANT_URL", "redis://localhost", "must be http://HOST:PORT"),
        ("MEMSCHED_QDRANT_URL", "http://", "must be http://HOST:PORT"),
        ("MEMSCHED_QDRANT_URL", "embedded://", "embedded://FOLDER"),
        ("MEMSCHED_COLLECTION", "../other", "pattern"),
        ("MEMSCHED_SEARCH_METHOD", "magic", "'hybrid'"),
        ("MEMSCHED_TOP_K", "0", "greater than or equal to 1"),
        ("MEMSCHED_WORKING_SET_SIZE", "101", "less than or equal to 100"),
        ("MEMSCHED_QUERY_WINDOW", "0", "greater than or equal to 1"),
        ("MEMSCHED_EMBEDDING_DIMENSIONS", "-1", "greater than or equal to 0"),
        ("MEMSCHED_STORE_TIMEOUT_SECONDS", "0", "greater than 0"),
        ("MEMSCHED_LLM_BUDGET_SECONDS", "0", "greater than 0"),
        ("MEMSCHED_LLM_BREAKER_FAILURES", "0", "greater than or equal to 1"),
        ("MEMSCHED_MEMORY", "perhaps", "expected true or false"),
        ("MEMSCHED_GRACE_SECONDS", "1e300", "at most 1000000000"),
        ("MEMSCHED_MAX_BACKLOG", "9" * 400, "at most 1000000000"),
        ("MEMSCHED_LISTEN", "8765", "must be HOST:PORT"),
        ("MEMSCHED_LISTEN", "::1:8765", "must be HOST:PORT"),
        ("MEMSCHED_LISTEN", "127.0.0.1:70000", "must be HOST:PORT"),
        ("MEMSCHED_RATE_LIMIT", "100", "must be a number in a time"),
        ("MEMSCHED_RATE_LIMIT", "0/second", "must be a number in a time"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)

    told = problems_of()

    assert f"{name}: " in told
    assert said in told


def test_a_beat_that_is_set_must_fit_the_ttl_and_one_that_is_not_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_WORKER_TTL_SECONDS", "2")
    assert Settings.load().beat_seconds == pytest.approx(2 / 3)

    monkeypatch.setenv("MEMSCHED_BEAT_SECONDS", "1.5")
    assert "MEMSCHED_WORKER_TTL_SECONDS: must be at least twice MEMSCHED_BEAT_SECONDS (1.5)" in problems_of()


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_CONCURRENCY", "0")
    monkeypatch.setenv("MEMSCHED_PARTITIONS", "0")
    monkeypatch.setenv("MEMSCHED_NONSENSE", "1")

    told = problems_of()

    assert all(name in told for name in ("MEMSCHED_CONCURRENCY", "MEMSCHED_PARTITIONS", "MEMSCHED_NONSENSE"))


def test_a_misspelt_argument_is_refused_like_a_misspelt_variable() -> None:
    assert "concurency is not a setting; did you mean concurrency?" in problems_of(concurency=3)
    with pytest.raises(SettingsError, match="redis_ulr"):
        AsyncMemScheduler(redis_ulr="memory://")


def test_a_bad_argument_names_its_setting() -> None:
    assert "MEMSCHED_BATCH_SIZE: " in problems_of(batch_size=0)


@pytest.mark.parametrize("name", ["MOS_SCHEDULER_USE_REDIS_QUEUE", "MEMSCHEDULER_USE_REDIS_QUEUE"])
@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("true", "redis://localhost:6379/0"),
        ("True", "redis://localhost:6379/0"),
        ("1", "redis://localhost:6379/0"),
        ("false", "memory://"),
        ("OFF", "memory://"),
    ],
)
def test_the_original_systems_switch_is_understood(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str
) -> None:
    monkeypatch.setenv(name, value)

    assert Settings.load().redis_url == url


def test_a_switch_that_is_neither_true_nor_false_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOS_SCHEDULER_USE_REDIS_QUEUE", "perhaps")

    assert "MOS_SCHEDULER_USE_REDIS_QUEUE: must be true or false." in problems_of()


def test_an_url_wins_over_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOS_SCHEDULER_USE_REDIS_QUEUE", "false")
    monkeypatch.setenv("MEMSCHED_REDIS_URL", "redis://db:6380/1")

    assert Settings.load().redis_url == "redis://db:6380/1"
    assert Settings.load(redis_url="memory://x").redis_url == "memory://x"


@pytest.mark.parametrize(
    ("redis_url", "store"),
    [
        ("embedded://memsched-data", "embedded://memsched-data"),
        ("embedded:///var/lib/memsched", "embedded:///var/lib/memsched"),
        ("memory://", ":memory:"),
        ("memory://name", ":memory:"),
        ("redis://db:6379/0", "http://localhost:6333"),
        ("rediss://db:6379/0", "http://localhost:6333"),
        ("unix:///tmp/redis.sock", "http://localhost:6333"),
        ("redis+sentinel://a:1,b:2/main/0", "http://localhost:6333"),
        ("redis+cluster://a:1,b:2", "http://localhost:6333"),
    ],
)
def test_the_vector_store_goes_with_the_queue(redis_url: str, store: str) -> None:
    assert Settings.load(redis_url=redis_url).store_url == store


@pytest.mark.parametrize("store", ["http://q:6333", "https://q.example", "embedded://elsewhere", ":memory:"])
@pytest.mark.parametrize("redis_url", ["embedded://memsched-data", "memory://", "redis://db:6379/0"])
def test_a_vector_store_that_is_named_wins(redis_url: str, store: str) -> None:
    assert Settings.load(redis_url=redis_url, qdrant_url=store).store_url == store


def test_the_original_systems_switch_chooses_the_vector_store_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOS_SCHEDULER_USE_REDIS_QUEUE", "false")

    assert Settings.load().store_url == ":memory:"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@db:6379/0", "redis://:***@db:6379/0"),
        ("redis://user:secret@db:6379/0", "redis://user:***@db:6379/0"),
        ("redis://secret@db:6379/0", "redis://***@db:6379/0"),
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("redis://db:6379/0?password=secret", "redis://db:6379/0?..."),
        ("redis+sentinel://u:p@ss@a:1,b:2/main/0?sentinel_password=x", "redis+sentinel://u:***@a:1,b:2/main/0?..."),
        ("redis://:secret@db?socket_timeout=9&password=x&db=2", "redis://:***@db?socket_timeout=9&db=2&..."),
        ("rediss://db?ssl_ca_certs=/a/ca.pem", "rediss://db?ssl_ca_certs=/a/ca.pem"),
        ("redis://:p#w@db:6379", "redis://***"),
        ("redis://:p/w@db:6379", "redis://***"),
        ("redis://:p?w@db:6379", "redis://***"),
        ("redis://user:p@x#w@db:6379", "redis://***"),
        ("redis://db/0?password=p@w", "redis://***"),
        ("redis://:secret@[::1", "redis://***"),
        ("unix:///tmp/redis.sock", "unix:///tmp/redis.sock"),
        ("memory://name", "memory://name"),
        ("embedded://folder", "embedded://folder"),
        ("https://user:secret@qdrant.example:6333", "https://user:***@qdrant.example:6333"),
        ("http://llm.example/v1?key=secret", "http://llm.example/v1?..."),
        (":memory:", ":memory:"),
        ("", ""),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_options_that_are_shown_exist() -> None:
    assert {*_OPTIONS, *_FOR, *_OF_TLS} > _SHOWN_OPTIONS
    assert not [name for name in _SHOWN_OPTIONS if "password" in name or "username" in name]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://db/one", "MEMSCHED_REDIS_URL: db is no number of a database."),
        ("redis+sentinel://a:1,b:2", "needs the service name"),
        ("redis://db?socket_timeout=1", "shorter than a read waits"),
        ("rediss://db?ssl_ca_certs=/no/such/file", "no file that can be read"),
    ],
)
def test_the_config_command_refuses_what_all_others_refuse(url: str, said: str) -> None:
    refused = CliRunner().invoke(app, ["config"], env={"MEMSCHED_REDIS_URL": url})

    assert isinstance(refused.exception, SettingsError)
    assert said in str(refused.exception)


def test_shown_settings_hold_every_variable_and_no_password() -> None:
    shown = Settings.load(redis_url="redis://:hunter2@db").shown()

    assert set(shown) == {f"MEMSCHED_{name.upper()}" for name in Settings.model_fields}
    assert "hunter2" not in str(shown)


_KEYS = ["qdrant_api_key", "embedding_api_key", "llm_api_key", "reader_api_key", "mcp_token"]
_HEADERS = ["llm_headers", "reader_headers"]


@pytest.mark.parametrize("name", _KEYS)
def test_a_key_is_shown_as_set_and_never_as_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"MEMSCHED_{name.upper()}"
    monkeypatch.setenv(variable, "hunter2")

    settings = Settings.load()

    assert getattr(settings, name).get_secret_value() == "hunter2"
    assert set(settings.shown()[variable]) == {"*"}
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize("name", _KEYS)
def test_a_key_that_is_not_set_is_shown_as_empty(name: str) -> None:
    assert Settings.load().shown()[f"MEMSCHED_{name.upper()}"] == ""


def test_every_setting_that_is_called_a_key_is_secret() -> None:
    secret = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]

    assert sorted(secret) == sorted([*_KEYS, *_HEADERS])
    named = ("key", "password", "secret", "headers", "token")
    assert [name for name in Settings.model_fields if name.endswith(named)] == secret


@pytest.mark.parametrize("name", _HEADERS)
def test_headers_are_json_and_shown_no_more_than_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MEMSCHED_{name.upper()}", '{"X-Team": "hunter2"}')

    assert set(Settings.load().shown()[f"MEMSCHED_{name.upper()}"]) == {"*"}
    assert Settings.load(**{name: {"X-Team": "hunter2"}}) == Settings.load()
    told = problems_of(**{name: '{"X-Team": 7, "Y": "hunter2"}'})
    assert "must be a JSON object of texts" in told
    assert "hunter2" not in told


def test_what_else_a_request_says_is_a_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_LLM_EXTRA_BODY", '{"top_p": 0.8}')

    assert Settings.load().llm_extra_body == {"top_p": 0.8}
    assert "MEMSCHED_LLM_EXTRA_BODY: must be a JSON object" in problems_of(llm_extra_body="[1]")


def test_a_key_that_cannot_be_used_is_not_repeated_in_the_error() -> None:
    told = problems_of(llm_api_key=["hunter2"])

    assert "MEMSCHED_LLM_API_KEY: " in told
    assert "hunter2" not in told


@pytest.mark.parametrize("name", ["qdrant_url", "llm_base_url", "embedding_base_url"])
def test_a_password_in_an_address_is_masked(name: str) -> None:
    shown = Settings.load(**{name: "https://user:hunter2@server.example/v1"}).shown()

    assert shown[f"MEMSCHED_{name.upper()}"] == "https://user:***@server.example/v1"
    assert "hunter2" not in str(shown)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_config_command_shows_every_setting_and_no_secret(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMSCHED_REDIS_URL", "redis://:hunter2@db:6379/0")
    monkeypatch.setenv("MEMSCHED_QDRANT_URL", "https://user:hunter2@q.example")
    monkeypatch.setenv("COLUMNS", "200")
    for name in _KEYS:
        monkeypatch.setenv(f"MEMSCHED_{name.upper()}", "hunter2")

    done = CliRunner().invoke(app, ["config", *options])

    assert done.exit_code == 0, done.output
    assert "hunter2" not in done.output
    assert all(f"MEMSCHED_{name.upper()}" in done.output for name in Settings.model_fields)


def test_the_example_of_an_env_file_sets_nothing() -> None:
    assert all(line.startswith("#") for line in env_file().splitlines() if line)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


# -- the environment as others leave it ----------------------------------------------------------------------------

SERVICE_LINKS = {
    "MEMSCHED_PORT": "tcp://10.0.0.1:80",
    "MEMSCHED_PORT_80_TCP": "tcp://10.0.0.1:80",
    "MEMSCHED_PORT_80_TCP_PROTO": "tcp",
    "MEMSCHED_PORT_80_TCP_PORT": "80",
    "MEMSCHED_PORT_80_TCP_ADDR": "10.0.0.1",
    "MEMSCHED_SERVICE_HOST": "10.0.0.1",
    "MEMSCHED_SERVICE_PORT": "80",
    "MEMSCHED_SERVICE_PORT_HTTP": "80",
    "MEMSCHED_REDIS_SERVICE_HOST": "fd00::7",
    "MEMSCHED_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
    "MEMSCHED_WORKER_BLUE_2_PORT": "udp://10.0.0.3:53",
    "MEMSCHED_WORKER_BLUE_2_PORT_53_UDP": "udp://10.0.0.3:53",
}


def test_service_links_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)

    assert Settings.load() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEMSCHED_PORT", "8080"),
        ("MEMSCHED_SERVICE_PORT", "http"),
        ("MEMSCHED_REDIS_HOST", "10.0.0.1"),
        ("MEMSCHED_PORT_TCP", "tcp://10.0.0.1:80"),
        ("MEMSCHED_SERVICE_HOST", "my host"),
        ("MEMSCHED_REDIS_URLS", "redis://db"),
    ],
)
def test_what_is_no_service_link_is_still_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    assert f"{name} is not a setting" in problems_of()


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfMEMSCHED_PREFIX=mine\nMEMSCHED_PROCESSES=2\n",
        b"MEMSCHED_PREFIX=mine\r\nMEMSCHED_PROCESSES=2\r\n",
        b"export MEMSCHED_PREFIX=\"mine\"\nexport  MEMSCHED_PROCESSES='2'  # two\n",
        b"memsched_prefix = mine\nMemsched_Processes = 2\n",
        "MEMSCHED_PREFIX=mine\r\nMEMSCHED_PROCESSES=2\r\n".encode("utf-16"),
        b"\xfe\xff" + "MEMSCHED_PREFIX=mine\nMEMSCHED_PROCESSES=2".encode("utf-16-be"),
    ],
)
def test_an_env_file_is_understood_as_editors_leave_it(data: bytes) -> None:
    Path(".env").write_bytes(data)

    settings = Settings.load()
    assert (settings.prefix, settings.processes) == ("mine", 2)
    assert Settings() == settings


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            "\n# für die Müllers\nMEMSCHED_PREFIX=mine\n".encode("cp1252"),
            r"\.env is not UTF-8 text \(line 2\): save it",
        ),
        ("MEMSCHED_PREFIX=mine\n".encode("utf-16-le"), r"\.env is not UTF-8 text"),
        (b"\xff\xfeM\x00E", r"\.env is not UTF-8 text"),
        (b"A=1\nMEMSCHED_PREFIX mine\n", r"\.env: line 2 is not NAME=value: MEMSCHED_PREFIX \.\.\.$"),
        (b"A=1\n\n\nPASSWORD: secret\nB=2\n", r"\.env: line 4 is not NAME=value: PASSWORD \.\.\.$"),
        (
            "A=1\n\ufeffMEMSCHED_PREFIX=mine\n".encode(),
            r"\.env: line 2 begins with .* sees: '\\ufeffMEMSCHED_PREFIX'",
        ),
        ("\u200bMEMSCHED_PREFIX=mine\n".encode(), r"\.env: line 1 begins with a character that nobody sees"),
        (b"OTHER\nMEMSCHED_PREFIX\n", r"\.env: line 2 is not NAME=value: MEMSCHED_PREFIX \.\.\.$"),
        (b"A='1\nB=2\n", r"\.env: line 1 is not NAME=value: A \.\.\.$"),
    ],
)
def test_an_env_file_that_is_not_understood_is_refused_with_what_to_do(data: bytes, said: str) -> None:
    Path(".env").write_bytes(data)

    with pytest.raises(SettingsError, match=said):
        Settings.load()


@pytest.mark.parametrize("target", ["nowhere", ".env", "pipe"])
def test_a_link_called_env_that_leads_to_no_file_is_refused(target: str) -> None:
    os.mkfifo("pipe")
    Path(".env").symlink_to(target)

    with pytest.raises(SettingsError, match=r"\.env is neither a file nor a link to one"):
        Settings.load()


def test_a_folder_called_env_is_no_env_file() -> None:
    Path(".env/bin").mkdir(parents=True)

    assert Settings.load().prefix == "memsched"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MEMSCHED_CONCURRENCY=7\nMEMSCHED_PROCESSES=\nMEMSCHED_GONE=\n")
    for name in ("CONCURRENCY", "MIN_IDLE_MS", "LOG_LEVEL", "REDIS_URL", "MEMORY", "GRACE_SECONDS"):
        monkeypatch.setenv(f"MEMSCHED_{name}", " " if name == "MEMORY" else "")

    assert Settings.load() == Settings(concurrency=7)


def test_names_are_understood_in_any_case_and_values_with_spaces_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_LOG_LEVEL", "INFO")
    monkeypatch.setenv("MEMSCHED_LOG_FORMAT", " Json\r")
    monkeypatch.setenv("MEMSCHED_SEARCH_METHOD", "Lexical")
    monkeypatch.setenv("MEMSCHED_MEMORY", "FALSE ")
    monkeypatch.setenv("MEMSCHED_REDIS_URL", "redis://db/0\r")

    settings = Settings.load()
    assert (settings.log_level, settings.log_format, settings.search_method) == ("info", "json", "lexical")
    assert (settings.memory, settings.redis_url) == (False, "redis://db/0")


@pytest.mark.parametrize("odd", ["nan", "inf", "-inf", "1e400"])
def test_a_number_is_finite(monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    monkeypatch.setenv("MEMSCHED_GRACE_SECONDS", odd)

    assert "MEMSCHED_GRACE_SECONDS: " in problems_of()


def test_a_relative_folder_stays_where_the_settings_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may change its working directory; all its processes must mean one folder."""
    settings = Settings.load(redis_url="embedded://data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert settings.embedded_folder(settings.redis_url) == str(tmp_path / "data")
    assert settings.embedded_folder("embedded:///var/lib/data") == "/var/lib/data"


def test_a_relative_folder_in_a_deleted_working_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    settings = Settings(redis_url="embedded://data")

    with pytest.raises(SettingsError, match="name it by its whole path"):
        settings.embedded_folder(settings.redis_url)


def test_no_password_of_a_url_is_shown() -> None:
    settings = Settings(redis_url="redis://:hidden@db:6379/0?sentinel_password=hidden")

    assert "hidden" not in repr(settings) + str(settings)
    with pytest.raises(ValidationError) as caught:
        Settings(redis_url="http://:hidden@db")
    assert "hidden" not in str(caught.value)
    with pytest.raises(SettingsError) as refused:
        Settings.load(redis_url="http://:hidden@db")
    assert refused.value.__cause__ is None
