"""The OpenAPI document and the service, by a fuzzer that believes the document: `schemathesis`, all of its checks.

Two users ask: what one of them made, the other one may not have (object_level_authorization).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.conditions import wait_until
from support.llm import FakeLLM, says
from support.processes import clean_environment, end, free_port, spawn
from support.servers import RedisServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "20"))
ENDLESS = "/wait/stream$|/events$"
"""Streams that go on for an hour, or for good: test_service_tenants.py and test_service_streams.py ask them."""


def keys(environment: dict[str, str]) -> dict[str, str]:
    """A token of each user, and of an operator."""
    found = {}
    for name, options in {"ada": ["--user", "ada"], "eve": ["--user", "eve"], "root": ["--role", "admin"]}.items():
        command = [sys.executable, "-m", "memsched", "keys", "create", *options]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        found[name] = re.findall(r"msk_[0-9a-f_.]+", said)[0]
    return found


def test_a_fuzzer_finds_nothing(tmp_path: Path, real_redis: RedisServer, vector_folder: str) -> None:
    at, name = f"127.0.0.1:{free_port()}", "fuzzed"
    models = {"object": "list", "data": [{"id": "m", "object": "model"}]}
    with FakeLLM(says("Fish."), beside={"/v1/models": models}) as model:
        environment = clean_environment(
            MEMSCHED_REDIS_URL=real_redis.url,
            MEMSCHED_QDRANT_URL=f"embedded://{vector_folder}",
            MEMSCHED_PREFIX=name,
            MEMSCHED_COLLECTION=name,
            MEMSCHED_LISTEN=at,
            MEMSCHED_RATE_LIMIT="",
            MEMSCHED_LOG_LEVEL="WARNING",
            MEMSCHED_LLM_BASE_URL=model.url,
            MEMSCHED_LLM_MODEL="m",
            MEMSCHED_LLM_API_KEY="x",
            SCHEMATHESIS_HOOKS="support.schemathesis_hooks",
        )
        log = tmp_path / "serve.log"
        process = spawn([sys.executable, "-m", "memsched", "serve", "--worker"], log=log, env=environment)
        try:
            wait_until(lambda: is_ready(at), seconds=30)
            done = fuzz(tmp_path, at, keys(environment), environment)
        finally:
            end(process)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "Traceback" not in log.read_text()


def is_ready(at: str) -> bool:
    try:
        return httpx.get(f"http://{at}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def fuzz(
    folder: Path, at: str, tokens: dict[str, str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """One run of all checks over all operations that end."""
    who = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for name, token in tokens.items()
    ]
    (folder / "who.json").write_text(json.dumps({"auth": who}))
    config = folder / "schemathesis.toml"
    # A change without the memory's ETag, or with an old one, is well-formed, and is refused.
    config.write_text(
        f'[auth.wfc]\npath = "{folder}/who.json"\npeers = ["ada", "eve"]\n[checks.positive_data_acceptance]\n'
        'expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 428, 429, "5xx"]\n'
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    command += ["run", f"http://{at}/openapi.json", "--checks", "all", "--max-examples", str(EXAMPLES)]
    command += ["--exclude-path-regex", ENDLESS, "--request-timeout", "30", "--continue-on-failure"]
    command += ["--warnings", "off", "--seed", "14"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
