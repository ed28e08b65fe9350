"""The documentation, checked: its tables against the code, its commands and examples by running them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import structlog
import yaml
from support.conditions import until
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

from memsched import AsyncMemScheduler, HandlerContext, ScheduleLogForWebItem, ScheduleMessageItem, Settings
from memsched.keys import Keys
from memsched.logs import configure_logs
from memsched.messages import MAX_ID_CHARACTERS, WIRE_VERSION
from memsched.queue.dead import DeadFilter
from memsched.settings import ORIGINAL_SWITCHES, PREFIX

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = ROOT / "README.md"
WIRE_FORMAT = ROOT / "docs" / "wire-format.md"
OPERATIONS = ROOT / "docs" / "operations.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

pytestmark = pytest.mark.timeout(60)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [str(block) for block in found]


def section(page: Path, title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    _, found, rest = page.read_text(encoding="utf-8").partition(f"{title}\n")
    assert found, f"{page.name} has no heading {title!r}"
    level = title.count("#")
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without heads and rules."""
    tables = re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for table in tables
        for line in table.splitlines()[2:]
    ]


def named(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def sources(*patterns: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern))


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


# -- tables against the code --------------------------------------------------------------------------------------


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    cells = [row for row in rows(section(OPERATIONS, "## Settings")) if len(row) == 3]
    table = {named(name)[0]: default for name, default, _ in cells}

    expected = {
        PREFIX + name.upper(): f"`{field.default}`" if field.default != "" else "(empty)"
        for name, field in Settings.model_fields.items()
    }
    assert table == expected
    assert list(table) == list(expected), "in the order of settings.py"


def test_every_setting_that_a_page_names_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX, *ORIGINAL_SWITCHES}
    for page in PAGES:
        unknown = set(re.findall(r"MEMSCHED_[A-Z_]*[A-Z]|MEMSCHED_", page.read_text(encoding="utf-8"))) - known
        assert not unknown, page.name


def test_every_action_of_the_logs_is_explained() -> None:
    explained = [name for cells in rows(section(OPERATIONS, "### Logs")) for name in named(cells[0])]

    assert sorted(explained) == sorted(set(re.findall(r'action="([a-z_.]+)"', sources("memsched/**/*.py"))))


def test_the_readme_explains_everything_that_a_handler_gets_in_its_context() -> None:
    explained = {re.sub(r"^await |\(.*", "", named(name)[0]) for name, _ in rows(section(README, "## Write a handler"))}

    public = {name for name in dir(HandlerContext) if not name.startswith("_")} | {"deadline"}
    assert explained == public


def test_the_table_of_keys_has_every_key() -> None:
    keys = Keys()
    lane = keys.lane("add", "alice", "home")
    names = {getattr(lane, name) for name in ("stream", "delayed", "dead", "users", "outbox")}
    expected = names | {lane.task_prefix + "<item_id>", keys.lanes, keys.workers, keys.events, keys.wake}

    table = {named(key)[0] for key, _, _ in rows(section(ARCHITECTURE, "## On Redis"))}
    assert table == expected | {f"{keys.prefix}:worker:<id>"}


def test_the_table_of_fields_is_what_the_wire_form_has() -> None:
    table = {
        named(name)[0]: (required, limit) for name, required, _, limit, _ in rows(section(WIRE_FORMAT, "## Fields"))
    }

    everything = ScheduleMessageItem(
        user_id="u", mem_cube_id="c", label="L", content="x", task_id="t", session_id="s", trace_id="t", user_name="n",
        info={}, chat_history=[],
    )  # fmt: skip
    assert set(table) == set(everything.to_wire()[::2])
    assert table["user_id"][1] == f"1 to {MAX_ID_CHARACTERS} characters"
    assert WIRE_VERSION == "1"
    required = {name for name, (needed, _) in table.items() if needed == "yes"}
    fields = ScheduleMessageItem.model_fields
    assert required == {name for name in table if name in fields and fields[name].is_required()}


def test_the_examples_of_partitions_are_right() -> None:
    for text, checksum, lane in rows(section(WIRE_FORMAT, "### Partitions")):
        cube = named(text)[0].replace("\\|", "|")
        user, _, mem_cube = cube.partition("|")
        assert crc32(cube.encode()) == int(checksum)
        assert Keys(partitions=4).lane("DEMO", user, mem_cube).name == named(lane)[0]


def test_all_commands_that_the_code_sends_are_in_the_list_of_rights() -> None:
    allowed = set(re.findall(r"\+([a-z|]+)", blocks(OPERATIONS, "sh")[2]))
    assert "xreadgroup" in allowed, "the third block is the list of rights"

    in_scripts = re.findall(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?", sources("memsched/queue/*.lua"))
    code = sources("memsched/**/*.py")
    in_python = re.findall(r'\(\s*"([A-Z]{3,})", ?"?([A-Z]*)', code)
    in_python += [(name, "") for name in re.findall(r'(?:execute\(|Command\(\()"([A-Z]+)"', code) if name != "XGROUP"]
    options = {"block", "maxlen"}
    used = {f"xgroup|{second.lower()}" if name == "XGROUP" else name.lower() for name, second in in_scripts + in_python}
    assert used - options <= allowed
    assert {"xadd", "multi", "smembers", "xgroup|create", "xgroup|delconsumer"} <= used, "the commands were found"


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
        assert (ROOT / "memsched" / "queue" / name).exists(), name


def test_the_architecture_names_every_script_that_changes_a_message() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    included = {
        name for line in re.findall(r"-- include: (.+)", sources("memsched/queue/*.lua")) for name in line.split()
    }
    scripts = {path.stem for path in ROOT.glob("memsched/queue/*.lua")} - included
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
            while hasattr(command, "commands"):
                assert rest[0] in command.commands, where
                command, rest = command.commands[rest[0]], rest[1:]
            command.make_context(words[1], rest)  # raises for an option or a value that it does not know
        elif words[0] == "make":
            assert words[1] in targets, where
        elif words[0] in ("python", ".venv/bin/python"):
            files = [word for word in words[1:] if "/" in word]
            assert files, where
            assert all((ROOT / file).exists() for file in files), where
        else:
            assert words[0] in ("redis-cli", "docker") or words[0].startswith("due="), where
        checked += 1
    assert checked > 20


def test_the_extras_that_the_readme_names_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named_there = re.search(r"The extras: (.*?)\.\n", README.read_text(encoding="utf-8"), re.DOTALL)
    assert named_there is not None
    extras = {name for name in named(named_there[1]) if name.isalpha() and name.islower()}
    assert extras == set(project["optional-dependencies"]) - {"dev"}


def test_the_kubernetes_example_gives_workers_time_to_stop() -> None:
    (text,) = blocks(OPERATIONS, "yaml")
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= Settings.model_fields["grace_seconds"].default + 20
    for variable in pod["containers"][0]["env"]:
        assert variable["name"].removeprefix(PREFIX).lower() in Settings.model_fields


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
    await first.wait(timeout=10)
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
    status = any_server.client.hgetall("memsched:{DEMO}:task:order-17")
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
        {"user_id": ""}, {"item_id": "x" * 513}, {"content": b"\xff"}, {"v": "2"}, {"timestamp": "yesterday"},
        {"timestamp": "2026-01-02T03:04:05"}, {"info": "[1]"}, {"info": "{"}, {"chat_history": "{}"},
    ):  # fmt: skip
        bad.append({**good, **wrong})
    wide = {f"field {number}": "x" for number in range(5000)}
    bad += [{**good, **dict(list(wide.items())[:998])}, {**good, **wide}]
    for entry in [*bad, good]:
        any_server.client.xadd("memsched:{DEMO}:stream", entry)
    delayed = ["not JSON", '{"user_id": "u"}', json.dumps(["task", *wide, *wide])]
    any_server.client.zadd("memsched:{DEMO}:delayed", dict.fromkeys(delayed, 1))
    handled: list[ScheduleMessageItem] = []
    scheduler = schedulers_at(any_server.url)
    scheduler.register_handlers({"DEMO": handled.extend})

    await scheduler.start()
    await scheduler.wait(timeout=10)

    assert len(handled) == 1
    letters = await scheduler.dead_letters()
    found = [letter async for letter in letters.letters(DeadFilter())]
    assert [letter.reason for letter in found] == ["malformed"] * (len(bad) + len(delayed))
    assert [letter.fields["raw"] for letter in found if letter.fields.get("raw") in delayed] == sorted(delayed)


async def test_the_rights_that_the_operations_page_gives_are_enough(
    any_server: RedisServer, shell: Shell, schedulers_at: Any
) -> None:
    for block in blocks(OPERATIONS, "sh")[2:4]:
        shell.run(block)
    any_server.client.acl_log_reset()
    scheduler = schedulers_at(any_server.url.replace("unix://", "unix://memsched:change-me@"), min_idle_ms=300)
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
                        user_id="u", mem_cube_id="c", label="DEMO", from_memory_type="", to_memory_type="",
                        log_content="",
                    )
                )  # fmt: skip
        await asyncio.sleep(0.15)

    def message(content: str) -> ScheduleMessageItem:
        return ScheduleMessageItem(user_id=content, mem_cube_id="c", label="DEMO", content=content)

    scheduler.register_handlers({"DEMO": handle})
    await scheduler.start()
    await scheduler.submit_messages([message(text) for text in ("plain", "give up", "fails once", "leads on")])
    await scheduler.submit_messages(message("later"), delay=0.1)
    producer = any_server.client.connection_pool.connection_kwargs["path"]
    add = ["XADD", "memsched:{DEMO}:stream", "*", "user_id", "u", "mem_cube_id", "c", "content", "from abroad"]
    for command in (["SADD", "memsched:lanes", "DEMO"], add):
        _as_producer(producer, command)
    await scheduler.wait(user_id="plain", timeout=10)
    await scheduler.wait(timeout=10)
    letters = await scheduler.dead_letters()
    assert await letters.redrive(DeadFilter()) == 1
    await scheduler.wait(timeout=10)
    assert await letters.purge(DeadFilter()) == 1
    await scheduler.submit_messages(message("nobody's").model_copy(update={"label": "OTHER"}))
    assert await scheduler.clear() == 1
    assert len(await scheduler.get_web_log_messages()) == 1
    await scheduler.stop()

    assert {"plain", "follows", "later", "from abroad"} <= set(seen)
    refused = {entry["object"] for entry in any_server.client.acl_log() if entry["username"] == "memsched"}
    assert refused <= {"client|setinfo"}


def _as_producer(socket: str, command: list[str]) -> None:
    import redis

    with redis.Redis(unix_socket_path=socket, username="producer", password="change-me-too") as client:
        client.execute_command(*command)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command("XRANGE", "memsched:{DEMO}:stream", "-", "+")


# -- Python -------------------------------------------------------------------------------------------------------


def run_python(code: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *code], cwd=folder, env=clean_environment(**environment), capture_output=True, text=True,
        timeout=45,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_compile(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}[{number}]", "exec", flags=0)


def test_the_readme_s_library_examples_run_without_a_server(tmp_path: Path) -> None:
    sync_example, async_example, handlers = blocks(README, "python")

    said = run_python(["-c", sync_example], tmp_path)
    assert "alice says: I moved to Rome.\nalice says: I am allergic to nuts." in said
    assert "MY_TASK" in said.rpartition("allergic")[2], "the status table"
    assert (tmp_path / "memsched-data").is_dir(), "where the README says"

    said = run_python(["-c", async_example], tmp_path)
    assert said.startswith("delayed ")
    assert "'delayed': 1" in said

    scope: dict[str, Any] = {}
    exec(handlers, scope)
    assert set(scope["handlers"]) == {"MY_TASK", "URGENT", "SLOW"}


async def test_the_readme_s_commands_run_a_worker_and_a_message(tmp_path: Path) -> None:
    worker, submit = [shlex.split(line) for line in blocks(README, "sh")[1].strip().splitlines()]
    (tmp_path / "my_app.py").write_text(blocks(README, "python")[2], encoding="utf-8")
    environment = clean_environment()
    cli = [sys.executable, "-m", "memsched.cli"]
    os.chdir(tmp_path)
    process = spawn([*cli, *worker[1:]], log=tmp_path / "log", env=environment)
    try:
        done = await asyncio.to_thread(
            subprocess.run, [*cli, *submit[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text(encoding="utf-8")
        assert re.fullmatch(r"queued \S+\ncompleted after [\d.]+s\n", done.stdout)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
    finally:
        end(process)


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
    urls = [url for row in rows(section(OPERATIONS, "## Settings")) if len(row) == 2 for url in named(row[1])]
    assert len(urls) == 7
    for url in urls:
        assert Settings.load(redis_url=url).shown()["MEMSCHED_REDIS_URL"].count("password") == 0
