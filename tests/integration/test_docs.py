"""The documentation, checked: its tables against the code, its commands and examples by running them."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from zlib import crc32

import pytest
import structlog
from pydantic import SecretStr
from support.conditions import until
from support.pages import (
    ARCHITECTURE,
    HANDLERS,
    OPERATIONS,
    PAGES,
    README,
    ROOT,
    WIRE_FORMAT,
    blocks,
    named,
    page_id,
    rows,
    section,
    sources,
    table,
)
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

from memsched import (
    AsyncMemScheduler,
    CubeRef,
    HandlerContext,
    Permission,
    ScheduleLogForWebItem,
    ScheduleMessageItem,
    Settings,
)
from memsched.broker.keys import Keys
from memsched.config_file import YAML_NAMES
from memsched.logs import configure_logs
from memsched.memory.access.api_keys import ApiKeys, Role
from memsched.memory.access.audit import Audit, AuditEntry, AuditFilter
from memsched.memory_prompt import Reason
from memsched.messages import MAX_ID_CHARACTERS, WIRE_VERSION
from memsched.queue.dead_letters import DeadFilter
from memsched.service.rate_limit import RateLimit
from memsched.settings import ORIGINAL_SWITCHES, PREFIX

pytestmark = pytest.mark.timeout(60)


# -- tables against the code --------------------------------------------------------------------------------------


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    shown = {named(name)[0]: default for name, default, _ in table(section(OPERATIONS, "## Settings"), "variable")}

    expected = {
        PREFIX + name.upper(): f"`{field.default}`" if str(field.default) else "(empty)"
        for name, field in Settings.model_fields.items()
    }
    assert shown == expected
    assert list(shown) == list(expected), "in the order of settings.py"


def test_the_table_says_which_settings_are_secret() -> None:
    cells = table(section(OPERATIONS, "## Settings"), "variable")
    secret = {named(name)[0] for name, _, meaning in cells if meaning.endswith("Secret.")}

    kept = {PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert secret == kept


def test_the_table_of_the_originals_keys_is_what_from_yaml_understands(tmp_path: Path) -> None:
    cells = table(section(OPERATIONS, "### A file of the original system"), "key")
    meant = {named(key)[0]: named(variable)[0].removeprefix(PREFIX).lower() for key, variable in cells}

    assert {key: name for key, name in meant.items() if key in YAML_NAMES} == YAML_NAMES
    others = meant.keys() - YAML_NAMES
    assert others == {"enable_parallel_dispatch: false", "use_redis_queue", "top_k"}
    values = {"enable_parallel_dispatch: false": "", "use_redis_queue": ": true"}
    (tmp_path / "config.yaml").write_text("\n".join(key + values.get(key, ": 3") for key in meant), encoding="utf-8")
    settings = Settings.from_yaml(tmp_path / "config.yaml")
    assert (settings.concurrency, settings.redis_url) == (1, "redis://localhost:6379/0")
    assert (settings.max_backlog, settings.query_window, settings.working_set_size, settings.top_k) == (3, 3, 3, 3)


@pytest.mark.parametrize("url", ["embedded://FOLDER", "memory://", "redis://db:6379/0"])
def test_the_store_that_goes_with_a_queue_is_what_the_table_says(url: str) -> None:
    cells = table(section(OPERATIONS, "### The vector store"), "`MEMSCHED_REDIS_URL`")
    stores = {queue.strip("`"): store for queue, store in cells}
    said = stores.get(url, stores["anything else"])

    chosen = Settings.load(redis_url=url).store_url
    assert {"embedded://FOLDER": "FOLDER/vectors", ":memory:": "this process"}.get(chosen, chosen) in said


def test_every_setting_that_a_page_names_exists_or_is_told_to_be_gone() -> None:
    gone = {"MEMSCHED_DEMO", "MEMSCHED_PORT", "MEMSCHED_REDIS_SERVICE_HOST"}  # service links, the last two
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX, *ORIGINAL_SWITCHES} | gone
    for page in PAGES:
        unknown = set(re.findall(r"MEMSCHED_[A-Z_]*[A-Z]|MEMSCHED_", page.read_text(encoding="utf-8"))) - known
        assert not unknown, page.name


def test_every_action_of_the_logs_is_explained() -> None:
    explained = [name for cells in rows(section(OPERATIONS, "### Logs")) for name in named(cells[0])]

    logged = re.findall(r'action="([a-z_.]+)"(?: if .+ else "([a-z_.]+)")?', sources("memsched/**/*.py"))
    assert sorted(explained) == sorted({action for either in logged for action in either if action})


def test_the_page_about_http_explains_every_reason_of_a_prompt() -> None:
    shown = [
        named(cells[0])[0]
        for cells in table(section(ROOT / "docs/http.md", "## Before the model"), "`sufficient.reason`")
    ]

    assert set(shown) == set(get_args(Reason))


def test_the_page_about_handlers_explains_everything_that_a_handler_gets_in_its_context() -> None:
    explained = {
        re.sub(r"^await |\(.*", "", named(name)[0]) for name, _ in rows(section(HANDLERS, "## Write a handler"))
    }

    public = {name for name in dir(HandlerContext) if not name.startswith("_")} | {"deadline"}
    assert explained == public


def test_the_table_of_keys_has_every_key() -> None:
    keys = Keys()
    lane = keys.lane("add", "alice", "home")
    expected = {*dataclasses.astuple(lane)} - {lane.label, lane.name, lane.task_prefix}
    expected |= {
        f"{lane.users}:<user>",
        f"{lane.parked}:<user>",
        f"{lane.outbox}:<batch>",
        lane.parts_of("<user>", "<task>").replace("%3C", "<").replace("%3E", ">"),
    }
    expected |= {lane.task_prefix + "<user>/<item_id>", keys.lanes, keys.workers, keys.events, keys.paused}
    expected |= {
        keys.wake,
        keys.users,
        keys.epoch,
        keys.training,
        keys.statistics,
        keys.adapted,
        f"{keys.prefix}:ladder:<server%20model>",
    }
    expected |= {keys.reindex("memsched"), keys.user("alice"), keys.user_cubes("alice"), keys.user_configs("alice")}
    expected |= {keys.user_grants("alice", "home"), *dataclasses.astuple(keys.cube("alice", "home"))}
    expected |= {f"{keys.prefix}:rate:<limit and API key>", keys.audit, keys.user_tags("alice")}
    expected |= {keys.api_keys, keys.api_keys_due, keys.api_keys_used}
    expected |= {f"{keys.prefix}:idempotency:<item_id>", f"{keys.prefix}:session:<hash of the cookie>"}
    ours = {name for name in dir(Keys) if not name.startswith("_")}
    assert ours == {
        "lane",
        "lanes_of",
        "worker",
        "reindex",
        "user",
        "user_cubes",
        "user_configs",
        "user_grants",
        "user_tags",
        "ladder",
        "rate",
        "idempotency",
        "session",
    }

    shown = {named(key)[0] for key, _, _ in rows(section(ARCHITECTURE, "## On Redis"))}
    assert shown == expected | {f"{keys.prefix}:worker:<id>"}


ALLOWED = {
    "broker": {"embedded"},
    "queue": {"broker"},
    "worker": {"queue", "broker"},
    "llm": {"embedded"},
    "embedded": set(),
    "memory": {"embedded", "llm", "broker"},
    "policy": {"memory"},
    "tiers": {"policy", "memory", "broker"},
    "parameters": {"tiers", "memory", "llm", "queue", "broker"},
    "activation": {"tiers", "policy", "memory", "memory_prompt", "llm", "queue", "broker", "embedded"},
    "handlers": {
        *("activation", "tiers", "policy", "memory", "llm", "broker", "worker"),
        *("deletion", "moving", "parameters"),
    },
}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_the_way_that_the_architecture_shows(package: str) -> None:
    code = sources(f"memsched/{package}/**/*.py")
    imported = set(re.findall(r"^\s*(?:from|import) memsched\.(\w+)", code, re.MULTILINE))

    floor = {
        "messages",
        "task_status",
        "settings",
        "errors",
        "logs",
        "blocking",
        "lazy_pattern",
        "lexicon",
        "made_up",
        "told_as_question",
        "backoff",
        "counting",
        "tracing",
        "deadline",
        "durations",
        "pace",
        "patience",
        "plurals",
        "escaping",
        "json_values",
        "redaction",
        "secrets_in_text",
        "config_file",
        "env_file",
        "thinking",
        "extensions",
        "version",
    }
    assert imported - floor - {package} <= ALLOWED[package]
    if package == "handlers":
        assert set(re.findall(r"from (memsched\.worker\.\w+)", code)) == {
            "memsched.worker.context",
            "memsched.worker.handlers",
        }


def test_the_table_of_fields_is_what_the_wire_form_has() -> None:
    fields_of = {
        named(name)[0]: (required, limit) for name, required, _, limit, _ in rows(section(WIRE_FORMAT, "## Fields"))
    }

    everything = ScheduleMessageItem(
        user_id="u",
        mem_cube_id="c",
        label="L",
        content="x",
        task_id="t",
        session_id="s",
        trace_id="t",
        user_name="n",
        expires_at=datetime(2026, 1, 2, tzinfo=UTC),
        info={},
        chat_history=[],
    )
    assert set(fields_of) == set(everything.to_wire()[::2])
    assert fields_of["user_id"][1] == f"1 to {MAX_ID_CHARACTERS} characters"
    assert WIRE_VERSION == "1"
    required = {name for name, (needed, _) in fields_of.items() if needed == "yes"}
    fields = ScheduleMessageItem.model_fields
    assert required == {name for name in fields_of if name in fields and fields[name].is_required()}


def test_the_examples_of_partitions_are_right() -> None:
    for text, checksum, lane in rows(section(WIRE_FORMAT, "### Partitions")):
        cube = named(text)[0].replace("\\|", "|")
        user, _, mem_cube = cube.partition("|")
        assert crc32(cube.encode()) == int(checksum)
        assert Keys(partitions=4).lane("DEMO", user, mem_cube).name == named(lane)[0]


def test_all_commands_that_the_code_sends_are_in_the_list_of_rights() -> None:
    rights, _ = blocks(OPERATIONS, "sh", "### Rights on the server")
    allowed = set(re.findall(r"\+([a-z|]+)", rights))

    in_scripts = re.findall(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?", sources("memsched/**/*.lua"))
    speaking = ("*", "broker/*", "cli/*", "demo/*", "handlers/*", "memory/**/*", "queue/*", "tiers/*", "worker/*")
    code = re.sub(
        r'"([A-Z]+)" if \w+ else "([A-Z]+)"', r'"\1"), ("\2"', sources(*(f"memsched/{part}.py" for part in speaking))
    )
    in_python = re.findall(r'\(\s*"([A-Z]{3,})", ?"?([A-Z]*)', code)
    in_python += [(name, "") for name in re.findall(r'(?:execute\(|Command\(\()"([A-Z]+)"', code) if name != "XGROUP"]
    options = {"block", "maxlen", "nx", "seconds", "nfc", "nfd", "nfkc"}
    used = {f"xgroup|{second.lower()}" if name == "XGROUP" else name.lower() for name, second in in_scripts + in_python}
    assert used - options <= allowed
    assert {"xadd", "multi", "smembers", "xgroup|create", "xgroup|delconsumer"} <= used, "the commands were found"
    assert {"hsetnx", "hset", "hscan", "zmscore", "zremrangebyrank"} <= used, "those of the memory half too"


# -- links, files, commands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = "memsched|scripts|workers|tests|benchmarks|examples|docs"
    paths = re.findall(rf"(?<![\w/.-])((?:{folders})/[\w/.-]*[\w/])", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing
    for name in re.findall(r"(?<![\w/])([a-z_]+\.lua)\b", text):
        assert list(ROOT.glob(f"memsched/**/{name}")), name


def test_what_the_reference_of_the_site_shows_exists() -> None:
    """``make docs`` says so too, but takes a quarter of a minute and packages of its own."""
    shown = [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)]

    assert len(shown) > 10
    assert [name for name in shown if not pkgutil.resolve_name(name)] == []


def test_the_readme_leads_to_every_example() -> None:
    linked = set(re.findall(r"\]\(examples/(\w+\.py)\)", README.read_text(encoding="utf-8")))

    assert linked == {path.name for path in (ROOT / "examples").glob("*.py")}


def test_the_architecture_names_every_script_that_changes_a_message() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    included = {
        name
        for line in re.findall(r"-- include: (.+)", sources("memsched/queue/scripts/*.lua"))
        for name in line.split()
    }
    scripts = {path.stem for path in ROOT.glob("memsched/queue/scripts/*.lua")} - included
    # These are what their names say, and change no message that runs.
    plain = {"beat", "begin", "checkpoint", "clear", "redrive", "unfinished"}
    assert {name for name in scripts if f"{name}.lua" not in text} <= plain


def command_lines() -> Iterator[tuple[Path, list[str]]]:
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip():
                    yield page, shlex.split(line, comments=True)


def test_the_commands_exist_with_their_options() -> None:
    import typer

    from memsched.cli.app import app

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    checked = 0
    for page, words in command_lines():
        where = f"{page.name}: {' '.join(words)}"
        if words[0] == "memsched":
            command: Any = typer.main.get_command(app)
            rest = words[1:]
            while hasattr(command, "get_command"):
                command, rest = command.get_command(None, rest[0]), rest[1:]
                assert command is not None, where
            command.make_context(words[1], rest)  # raises for an option or a value that it does not know
        elif words[0] == "make":
            assert words[1] in targets, where
        elif words[0] == ".":  # activates the environment
            assert words[1] == ".venv/bin/activate", where
        elif words[0] in ("python", ".venv/bin/python"):
            files = [word for word in words[1:] if "/" in word]
            assert files, where
            assert all((ROOT / file).exists() for file in files), where
        else:
            assert words[0] in ("redis-cli", "docker", "kubectl") or words[0].startswith("due="), where
        checked += 1
    assert checked > 20


def test_the_extras_that_the_readme_names_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named_there = re.search(r"The extras: (.*?)\.\n", README.read_text(encoding="utf-8"), re.DOTALL)
    assert named_there is not None
    extras = {name for name in named(named_there[1]) if name.isalpha() and name.islower()}
    assert extras == set(project["optional-dependencies"]) - {"dev"}


def test_the_image_on_top_of_ours_gets_what_the_extra_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (dockerfile,) = blocks(OPERATIONS, "dockerfile", "### Docker")
    line = re.search(r"pip .*install (.+?) && rm", dockerfile.replace("\\\n", " "))
    assert line is not None

    needed = {re.split(r"[<>=]", each)[0] for each in project["optional-dependencies"]["models"]}
    assert {re.split(r"[<>=]", each)[0] for each in shlex.split(line[1])} == needed


def test_our_image_has_what_the_service_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert {re.split(r"[<>=]", each)[0] for each in project["optional-dependencies"]["service"]} <= installed


# -- what is said about logs --------------------------------------------------------------------------------------


def test_log_lines_show_neither_local_variables_nor_passwords() -> None:
    before = structlog.get_config()
    settings = Settings.load(redis_url="redis://:open-sesame@localhost:1/0", log_format="console")
    out = io.StringIO()
    configure_logs(settings, out)
    try:
        what_alice_said = "a secret"
        try:
            raise ValueError(f"about {len(what_alice_said)} characters")
        except ValueError:
            structlog.get_logger().exception("failed", action="message.retried", server=settings.shown())
    finally:
        structlog.configure(**before)

    assert "ValueError: about 8 characters" in out.getvalue()
    assert "a secret" not in out.getvalue()
    assert "open-sesame" not in out.getvalue()


# -- redis-cli ----------------------------------------------------------------------------------------------------

_REDIS_CLI = """#!{python}
import sys, redis
client = redis.Redis(unix_socket_path={socket!r}, decode_responses=True, protocol=2)
client.response_callbacks.clear()
print(client.execute_command(*sys.argv[1:]))
"""


class Shell:
    """Runs the blocks of a page as a reader would, with a redis-cli that talks to the test's server."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self._folder = folder
        shim = folder / "bin" / "redis-cli"
        shim.parent.mkdir()
        socket = f"{server.folder}/s"
        if real := shutil.which("redis-cli"):
            shim.write_text(f'#!/bin/sh\nexec {shlex.quote(real)} -e -s {shlex.quote(socket)} "$@"\n', encoding="utf-8")
        else:
            shim.write_text(_REDIS_CLI.format(python=sys.executable, socket=socket), encoding="utf-8")
        shim.chmod(0o755)
        self._environment = clean_environment(PATH=f"{shim.parent}:{os.environ['PATH']}")

    def run(self, block: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", block], cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def shell(any_server: RedisServer, tmp_path: Path) -> Shell:
    return Shell(any_server, tmp_path)


async def test_what_the_wire_format_page_puts_in_is_handled(
    any_server: RedisServer, shell: Shell, schedulers_at: Any
) -> None:
    handled: dict[str, ScheduleMessageItem] = {}

    async def handle(messages: list[ScheduleMessageItem]) -> None:
        handled.update({message.content: message for message in messages})

    def worker() -> AsyncMemScheduler:
        scheduler: AsyncMemScheduler = schedulers_at(any_server.url)
        scheduler.register_handlers({"DEMO": handle, "räum auf": handle})
        return scheduler

    first, second = worker(), worker()
    await first.start()
    page = blocks(WIRE_FORMAT, "sh")
    for block in page:
        await asyncio.to_thread(shell.run, block)
    await second.start()  # sees lanes that the first one would find within 15 s

    expected = {"hello", "hello again", "the kitchen", "to a partition", "later"}
    await until(lambda: expected <= handled.keys(), "all that the page adds to be handled")
    await first.wait(timeout=30)
    promised = {text for block in page for text in re.findall(r"\bcontent\"?,? ['\"]([^'\"]+)['\"]", block)}
    assert promised == {*expected, "whose memory is this?"}
    assert handled.keys() == expected

    full = handled["hello again"]
    assert (full.item_id, full.info, full.user_name) == ("order-17", {"source": "web"}, "Ada")
    assert full.chat_history == [{"role": "user", "content": "hello"}]
    assert full.timestamp.isoformat() == "2026-01-02T03:04:05+00:00"
    assert (handled["the kitchen"].label, handled["the kitchen"].user_id) == ("räum auf", "j:{ö}")
    assert handled["later"].item_id == "order-18"

    status_table = {
        name for cells in rows(section(WIRE_FORMAT, "## Status of one message")) for name in named(cells[0])
    }
    status = any_server.client.hgetall("memsched:{DEMO}:task:u1/order-17")
    assert status["state"] == "completed"
    assert status.keys() <= status_table

    ((_, letter),) = any_server.client.xrange("memsched:{DEMO}:dead")
    dead_table = {name for cells in rows(section(WIRE_FORMAT, "## Dead letters")) for name in named(cells[0])}
    assert {name for name in letter if name.startswith("dead_")} == dead_table
    assert letter["dead_reason"] == "malformed"
    assert "mem_cube_id" in letter["dead_error"]


async def test_every_kind_of_malformed_entry_that_the_page_names_is_one(
    any_server: RedisServer, schedulers_at: Any
) -> None:
    good = {"user_id": "u", "mem_cube_id": "c", "content": ""}
    bad: list[dict[str, str | bytes]] = [
        {name: value for name, value in good.items() if name != missing} for missing in good
    ]
    for wrong in (
        {"user_id": ""},
        {"item_id": "x" * 513},
        {"content": b"\xff"},
        {"v": "0"},
        {"v": "two"},
        {"timestamp": "yesterday"},
        {"timestamp": "2026-01-02T03:04:05"},
        {"expires_at": "tomorrow"},
        {"expires_at": "2999-01-02T03:04:05"},
        {"info": "[1]"},
        {"info": "{"},
        {"chat_history": "{}"},
    ):
        bad.append({**good, **wrong})
    wide = {f"field {number}": "x" for number in range(5000)}
    bad += [{**good, **dict(list(wide.items())[:998])}, {**good, **wide}]
    newer = {**good, "v": "2"}
    for entry in [*bad, newer, good]:
        any_server.client.xadd("memsched:{DEMO}:stream", entry)
    delayed = ["not JSON", '{"user_id": "u"}', json.dumps(["task", *wide, *wide])]
    any_server.client.zadd("memsched:{DEMO}:delayed", dict.fromkeys(delayed, 1))
    handled: list[ScheduleMessageItem] = []
    scheduler = schedulers_at(any_server.url)
    scheduler.register_handlers({"DEMO": handled.extend})

    await scheduler.start()
    await until(lambda: any_server.client.xlen("memsched:{DEMO}:stream") == 1, "all but the newer one to be done with")
    await until(lambda: not any_server.client.exists("memsched:{DEMO}:delayed"), "those of the delayed set too")

    assert len(handled) == 1
    assert [fields for _, fields in any_server.client.xrange("memsched:{DEMO}:stream")] == [newer]
    letters = await scheduler.dead_letters()
    found = [letter async for letter in letters.letters(DeadFilter())]
    assert [letter.reason for letter in found] == ["malformed"] * (len(bad) + len(delayed))
    assert sum("timestamp" in letter.fields for letter in found) == sum("timestamp" in entry for entry in bad)
    assert [letter.fields["raw"] for letter in found if letter.fields.get("raw") in delayed] == sorted(delayed)


async def test_the_rights_that_the_operations_page_gives_are_enough(
    any_server: RedisServer, shell: Shell, schedulers_at: Any
) -> None:
    for block in blocks(OPERATIONS, "sh", "### Rights on the server"):
        shell.run(block)
    any_server.client.acl_log_reset()
    url = any_server.url.replace("unix://", "unix://memsched:change-me@")
    scheduler = schedulers_at(url, memory=True, min_idle_ms=300, qdrant_url=":memory:")
    seen: list[str] = []

    async def handle(messages: list[ScheduleMessageItem], context: HandlerContext) -> None:
        for message in messages:
            seen.append(message.content)
            if message.content == "give up":
                context.fail(message, "as asked")
            elif message.content == "fails once" and seen.count("fails once") == 1:
                raise ValueError("once")
            elif message.content == "leads on":
                await context.checkpoint([1])
                await context.renew()
                context.submit(message.model_copy(update={"item_id": "next", "content": "follows"}))
                context.log(
                    ScheduleLogForWebItem(
                        user_id="u",
                        mem_cube_id="c",
                        label="DEMO",
                        from_memory_type="",
                        to_memory_type="",
                        log_content="",
                    )
                )
        await asyncio.sleep(0.15)

    def message(content: str) -> ScheduleMessageItem:
        return ScheduleMessageItem(user_id=content, mem_cube_id="c", label="DEMO", content=content)

    scheduler.register_handlers({"DEMO": handle})
    await scheduler.start()
    await scheduler.submit_messages([message(text) for text in ("plain", "give up", "fails once", "leads on")])
    await scheduler.submit_messages(message("later"), delay=0.1)
    await _use_memory(scheduler)
    await _use_keys(scheduler)
    producer = any_server.client.connection_pool.connection_kwargs["path"]
    add = ["XADD", "memsched:{DEMO}:stream", "*", "user_id", "u", "mem_cube_id", "c", "content", "from abroad"]
    for command in (["SADD", "memsched:lanes", "DEMO"], add):
        _as_producer(producer, command)
    await scheduler.wait(user_id="plain", timeout=30)
    await scheduler.wait(timeout=30)
    letters = await scheduler.dead_letters()
    assert await letters.redrive(DeadFilter()) == 1
    await scheduler.wait(timeout=30)
    assert await letters.purge(DeadFilter()) == 1
    await scheduler.submit_messages(message("nobody's").model_copy(update={"label": "OTHER"}))
    assert await scheduler.clear() == 1
    assert await scheduler.get_web_log_messages()
    await scheduler.stop()

    assert {"plain", "follows", "later", "from abroad"} <= set(seen)
    refused = {entry["object"] for entry in any_server.client.acl_log() if entry["username"] == "memsched"}
    assert refused <= {"client|setinfo"}


async def _use_memory(scheduler: AsyncMemScheduler) -> None:
    """Everything about users and cubes, and a message of each kind that changes a cube."""

    async def submit(label: str, content: str) -> None:
        await scheduler.submit_messages(
            ScheduleMessageItem(user_id="ada", mem_cube_id="home", label=label, content=content)
        )
        await scheduler.wait(user_id="ada", timeout=30)

    cubes = (await scheduler.memory()).cubes
    await cubes.create_user("ada", "Ada")
    await cubes.create_user("bob")
    await cubes.register("ada", "home", {"about": "home"})
    assert await cubes.config_of(CubeRef("ada", "home")) == {"about": "home"}
    assert {user.user_id for user in await cubes.list_users()} == {"ada", "bob"}
    await submit("add", "I moved to Rome.")
    await submit("query", "Where did I move to?")
    await submit("answer", "You moved to Rome.")
    await submit("mem_organize", "")
    grant = await cubes.share("ada", "home", "bob", Permission.READ, accepted=True)
    assert [each.memory for each in await scheduler.retriever.search("Rome", "bob", grant.name)]
    assert await scheduler.working_set("bob", grant.name)
    assert await cubes.revoke("ada", "home", "bob")


async def _use_keys(scheduler: AsyncMemScheduler) -> None:
    """Everything that the service keeps of those who ask."""
    server = await scheduler.server()
    api_keys = ApiKeys(server, scheduler.keys)
    token, made = await api_keys.create(Role.APP, users="*", ttl=3600)
    principal = await api_keys.principal(token)
    assert principal is not None
    await api_keys.mint(principal, "ada")
    assert await RateLimit("9/second", server, scheduler.keys).seconds_to_wait(made.key_id) == 0
    assert len(await api_keys.list()) == 2
    assert await api_keys.revoke(made.key_id)
    audit = Audit(server, scheduler.keys, scheduler.settings.audit_maxlen)
    audit.record(AuditEntry("GET /v1/memories", made.key_id, "ada", "home", (), "ok"))
    await audit.aclose()
    assert len(await audit.read(AuditFilter(), 9)) == 1


def _as_producer(socket: str, command: list[str]) -> None:
    import redis

    with redis.Redis(unix_socket_path=socket, username="producer", password="change-me-too") as client:
        client.execute_command(*command)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command("XRANGE", "memsched:{DEMO}:stream", "-", "+")


# -- Python -------------------------------------------------------------------------------------------------------


def run_python(code: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *code],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=45,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_compile(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}[{number}]", "exec", flags=0)


def test_the_readme_s_library_examples_run_without_a_server(tmp_path: Path) -> None:
    mos, scheduler = blocks(README, "python")

    said = run_python(["-c", mos], tmp_path)
    assert "My dog Max is a border collie, three years old.\n" in said
    assert "No language model is configured." in said
    assert "I am allergic to nuts." in said.partition("No language model")[2]
    assert (tmp_path / "memsched-data" / "vectors").is_dir(), "where the README says"

    said = run_python(["-c", scheduler], tmp_path)
    found = re.findall(r"^\d\.\d\d  (.+?)(?:  \{.*)?$", said, re.MULTILINE)
    assert found[0] == "Actually, we moved to Rome in June.", "first in the working set"
    first, second = [line for line in said.splitlines() if line.endswith("}")][:2]
    assert "Actually, we moved to Rome in June." in first
    assert "'superseded': -" in second
    assert "The answer used 1 of " in said, "the table of events"


def test_the_examples_of_the_page_about_handlers_run_without_a_server(tmp_path: Path) -> None:
    async_example, handlers = blocks(HANDLERS, "python")[:2]

    said = run_python(["-c", async_example], tmp_path)
    assert said.startswith("delayed ")
    assert "'delayed': 1" in said

    scope: dict[str, Any] = {}
    exec(handlers, scope)
    assert set(scope["handlers"]) == {"MY_TASK", "URGENT", "SLOW", "IN_ORDER"}

    (hooks,) = blocks(HANDLERS, "python", "## Hooks around every call")
    exec(hooks, scope)
    (tracker,) = scope["scheduler"].orchestrator.middleware
    told: list[Any] = []
    tracker.report = lambda error, *, tags: told.append((str(error), tags["label"]))  # what Sentry's function takes
    item = ScheduleMessageItem(user_id="u", mem_cube_id="c", label="L", content="")
    tracker.failed([item], ValueError("broken"))
    tracker.dead(item, "errors", "broken")
    assert told == [("broken", "L"), ("given up (errors): broken", "L")]


@pytest.mark.long
def test_the_requests_of_the_original_run_as_the_page_shows_them(tmp_path: Path) -> None:
    (requests,) = [
        each for each in blocks(HANDLERS, "python", "## Scripts for the original system") if "asyncio" in each
    ]

    said = run_python(["-c", requests], tmp_path)

    assert "My boat is in the harbour of Kiel." in said
    assert 'data: {"type": "end"}' in said


async def test_the_test_of_a_handler_that_the_page_writes_passes(tmp_path: Path) -> None:
    (test,) = blocks(HANDLERS, "python", "## Test a handler")
    (tmp_path / "test_my_app.py").write_text(test, encoding="utf-8")

    said = await asyncio.to_thread(run_python, ["-m", "pytest", "-q", "test_my_app.py"], tmp_path)

    assert "1 passed" in said


@pytest.mark.long
async def test_the_commands_of_the_page_about_handlers_run_a_worker_and_messages(tmp_path: Path) -> None:
    (commands,) = blocks(HANDLERS, "sh", "## Run workers")
    worker, *submits = [shlex.split(line) for line in commands.strip().splitlines()]
    (tmp_path / "my_app.py").write_text(blocks(HANDLERS, "python", "## Write a handler")[0], encoding="utf-8")
    environment = clean_environment()
    cli = [sys.executable, "-m", "memsched.cli"]
    os.chdir(tmp_path)
    process = spawn([*cli, *worker[1:]], log=tmp_path / "log", env=environment)
    try:
        assert {submit[submit.index("--label") + 1] for submit in submits} == {"MY_TASK", "add"}
        for submit in submits:
            done = await asyncio.to_thread(
                subprocess.run, [*cli, *submit[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text(encoding="utf-8")
            assert re.fullmatch(r"queued \S+\ncompleted after [\d.]+s\n", done.stdout)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
    finally:
        end(process)


def test_the_operations_page_deletes_all_that_a_user_s_own_cubes_hold(tmp_path: Path) -> None:
    (deleting,) = blocks(OPERATIONS, "python", "### Deleting a user's data")
    before, after = (
        """
from memsched import MOS
mos = MOS()
mos.add("I am allergic to nuts.", mem_cube_id="home", user_id="alice", wait=True)
mos.add("I like nuts.", mem_cube_id="home", user_id="bob", wait=True)
mos.accept_cube(mos.share_cube_with_user("home", "alice", user_id="bob").name, "alice")
mos.stop()
""",
        """
delete_everything_of("alice")
mos = MOS()
for cube in mos.get_all(user_id="alice")["text_mem"]:
    print(cube["cube_id"], [memory.text for memory in cube["memories"]])
print(mos.working_set("home", user_id="alice"))
mos.stop()
""",
    )

    said = run_python(["-c", before + deleting + after], tmp_path).splitlines()

    assert "bob/home ['I like nuts.']" in said
    assert "home []" in said or not any(line.startswith("home ") for line in said)
    assert "[]" in said, "the working set"


@pytest.mark.parametrize("url", ["", "memory://"], ids=["embedded", "memory"])
def test_the_custom_handler_example_runs(url: str, tmp_path: Path) -> None:
    environment = {"MEMSCHED_REDIS_URL": url} if url else {}

    said = run_python([str(ROOT / "examples" / "custom_handler.py")], tmp_path, **environment)

    steps = [said.index(f"ada: {step}") for step in ("put off after chapter 2", "goes on after chapter 2", "6 words")]
    assert steps == sorted(steps)
    assert "ada: completed\nbob: completed" in said
    assert re.search(r"^total +0 ", said, re.MULTILINE), "the status table"


def test_the_status_in_json_has_what_the_operations_page_names() -> None:
    from memsched.queue.status import Status

    document = json.loads(json.dumps(Status().as_dict()))
    columns = {cells[0] for cells in rows(section(OPERATIONS, "## Looking").partition("###")[0])}
    assert columns - {"oldest"} <= document.keys()
    assert "oldest_seconds" in document


def test_the_urls_that_the_operations_page_gives_can_be_used() -> None:
    urls = [url for row in table(section(OPERATIONS, "## Settings"), "for") for url in named(row[1])]
    assert len(urls) == 7
    for url in urls:
        assert Settings.load(redis_url=url).shown()["MEMSCHED_REDIS_URL"].count("password") == 0
