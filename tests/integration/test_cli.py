"""The command line as its users meet it: a process, what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.conditions import wait_until
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

import memsched
from memsched import MemScheduler, ScheduleMessageItem, Settings
from memsched.cli import main
from memsched.cli.import_file import _Report
from memsched.console.terminal import duration
from memsched.escaping import plain

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "memsched.cli"]
NASTY = "\x1b[2J\x07[bold]x[/]\u202e"
SHOWN = r"\x1b[2J\x07[bold]x[/]\u202e"

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]
RunAll = Callable[..., list[Result]]

HANDLERS = """
import asyncio
async def work(messages): pass
async def fail(messages): raise ValueError("broken \\x1b[2J[red]")
handlers = {"work": work, "fail": fail}
"""


@pytest.fixture
def environment(real_redis: RedisServer, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "my_handlers.py").write_text(HANDLERS)
    return clean_environment(
        MEMSCHED_REDIS_URL=real_redis.url,
        MEMSCHED_LIVENESS_DIR=str(tmp_path / "live"),
        MEMSCHED_CONNECT_TIMEOUT_SECONDS="5",
        COLUMNS="100",
    )


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def call(*words: str, stdin: str = "", **more: str) -> Result:
        return subprocess.run(
            [*COMMAND, *words], env={**environment, **more}, input=stdin, text=True, capture_output=True, timeout=100
        )

    return call


@pytest.fixture
def here(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same without a process of its own, for what touches neither the server nor the logs."""

    def call(*words: str, **more: str) -> Result:
        for name, value in {**environment, **more}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            main(words)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(str(end.value.code or 0)), said.out, said.err)

    return call


@pytest.fixture
def run_all(run: Run) -> Callable[..., list[Result]]:
    """Several commands that do not depend on each other, at the same time."""

    def call(*commands: str) -> list[Result]:
        with ThreadPoolExecutor() as threads:
            return list(threads.map(lambda command: run(*shlex.split(command)), commands))

    return call


@pytest.fixture
def submitted(real_redis: RedisServer) -> Callable[..., None]:
    """Submits messages without a process of its own."""

    def submit(*contents: str, label: str = "work", delay: float = 0.0, **fields: Any) -> None:
        scheduler = MemScheduler(redis_url=real_redis.url)
        scheduler.submit_messages(
            [ScheduleMessageItem(**_fields(text, label), **fields) for text in contents], delay=delay
        )
        scheduler.stop()

    return submit


def _fields(content: str, label: str) -> dict[str, str]:
    return {"user_id": "alice", "mem_cube_id": "home", "label": label, "content": content}


@pytest.fixture
def dead_letters(real_redis: RedisServer, tmp_path: Path) -> list[ScheduleMessageItem]:
    """Three messages that were given up: two of alice, one of bob, whose id is nasty."""

    async def fail(messages: list[ScheduleMessageItem]) -> None:
        raise ValueError(f"cannot do {messages[0].content}")

    scheduler = MemScheduler(redis_url=real_redis.url, max_errors=0, liveness_dir=str(tmp_path / "mine"))
    messages = [ScheduleMessageItem(**_fields(f"work {number}", "fail")) for number in range(2)]
    nasty = {"user_id": "bob", "mem_cube_id": "home", "label": "fail", "content": NASTY, "item_id": f"id {NASTY}"}
    messages.append(ScheduleMessageItem(**nasty))
    scheduler.register_handlers({"fail": fail})
    scheduler.start()
    scheduler.submit_messages(messages)
    scheduler.wait(timeout=30)
    scheduler.stop()
    return messages


def one_line(result: Result) -> str:
    """What a failed command said: one line, and no traceback."""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("memsched: ")
    return lines[0]


# -- the package and the commands as such ------------------------------------------------------------------------


def test_every_public_name_is_there_when_it_is_asked_for() -> None:
    assert {name for name in memsched.__all__ if getattr(memsched, name, None) is None} == set()
    assert set(memsched.__all__) <= set(dir(memsched))
    with pytest.raises(ImportError):
        from memsched import no_such_name  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import memsched", {"pydantic", "redis", "asyncio", "rich", "typer"}),
        ("from memsched.cli import main; main(['live'])", {"redis", "structlog", "rich.table"}),
        (f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import show_redis_status", {"typer"}),
    ],
)
def test_what_must_be_quick_does_not_import_what_it_does_not_need(
    code: str, absent: set[str], environment: dict[str, str]
) -> None:
    watched = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {code}"
    done = subprocess.run([sys.executable, "-c", watched], env=environment, capture_output=True, text=True, timeout=30)

    assert set(done.stdout.split()) & absent == set()
    assert "memsched" in done.stdout.split()


def test_help_names_all_commands(here: Run) -> None:
    shown, version, option = here("--help"), here("version"), here("--version")

    assert shown.returncode == 0
    for command in "worker status submit pause resume task dead clear live config demo version".split():
        assert f" {command} " in shown.stdout
    assert version.stdout == option.stdout == f"memsched {memsched.__version__}\n"


def test_a_reason_that_is_none_is_refused(here: Run) -> None:
    refused = here("dead", "list", "--reason", "foo")

    assert refused.returncode == 2
    assert "'foo' is no reason" in refused.stderr


def test_an_unknown_variable_is_one_line_that_names_the_right_one(here: Run) -> None:
    refused = here("status", MEMSCHED_PROCESS="3")

    assert refused.returncode == 2
    assert "MEMSCHED_PROCESSES" in one_line(refused)


def test_a_server_that_is_not_there_is_one_line(run: Run, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/nothing"

    refused = run("status", "--redis-url", nowhere, MEMSCHED_CONNECT_TIMEOUT_SECONDS="0.2")

    assert refused.returncode == 1
    assert "MEMSCHED_REDIS_URL" in one_line(refused)


def test_a_queue_inside_another_process_is_refused(here: Run) -> None:
    for words in (["status"], ["worker", "--app", "my_handlers:handlers"]):
        refused = here(*words, "--redis-url", "memory://")

        assert refused.returncode == 2
        assert "memory://" in one_line(refused)


def test_a_reader_that_has_enough_is_no_failure_to_talk_about(environment: dict[str, str]) -> None:
    command = subprocess.Popen([*COMMAND, "config"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()

    assert command.stderr.read() == b""
    command.wait()


# -- status ------------------------------------------------------------------------------------------------------


def test_status_counts_by_label_and_in_total(run_all: RunAll, submitted: Callable[..., None]) -> None:
    submitted("a", "b")
    submitted("c", label="other", delay=60)

    document, shown = run_all("status --json", "status")
    status = json.loads(document.stdout)
    table = [line.split() for line in shown.stdout.splitlines()]

    assert {name: status[name] for name in ("backlog", "remaining", "running", "orphaned", "delayed", "dead")} == {
        "backlog": 3,
        "remaining": 3,
        "running": 0,
        "orphaned": 0,
        "delayed": 1,
        "dead": 0,
    }
    assert status["labels"]["other"]["delayed"] == 1
    rows = {cells[0]: cells[1:7] for cells in table if len(cells) > 6}
    assert rows["work"] == ["2", "2", "0", "0", "0", "0"]
    assert rows["other"] == ["1", "1", "0", "0", "1", "0"]
    assert rows["total"] == ["3", "3", "0", "0", "1", "0"]


@pytest.mark.parametrize("columns", ["80", "140"])
def test_no_column_is_cut_and_no_stranger_paints_the_terminal(
    run: Run, submitted: Callable[..., None], columns: str
) -> None:
    submitted("a", label=f"{NASTY} and a long name of forty characters")

    shown = run("status", COLUMNS=columns).stdout

    assert all(len(line) <= int(columns) for line in shown.splitlines())
    for name in ("backlog", "remaining", "running", "orphaned", "delayed", "dead", "oldest"):
        assert name in shown
    assert not {character for character in shown if not character.isprintable()} - {"\n"}
    assert SHOWN[:7] in shown


def test_watching_shows_what_has_changed_until_it_is_interrupted(
    environment: dict[str, str], submitted: Callable[..., None], tmp_path: Path
) -> None:
    submitted("a")
    watching = spawn([*COMMAND, "status", "--watch", "0.2"], log=tmp_path / "watch", env=environment)
    try:
        wait_until(lambda: "total" in (tmp_path / "watch").read_text(), "the first look")
        submitted(*"bcdef")
        wait_until(lambda: "6 +5" in (tmp_path / "watch").read_text(), "the change")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
    finally:
        end(watching)
    assert "Traceback" not in (tmp_path / "watch").read_text()


# -- submit ------------------------------------------------------------------------------------------------------


def test_a_message_is_submitted_as_it_was_given(run: Run, real_redis: RedisServer) -> None:
    options = ["--label", "work", "--user", "alice", "--cube", "home"]
    until = ["--expires-at", "2999-01-01T01:00:00+01:00"]
    first = run("submit", *options, "--item-id", "one", "--info", '{"a": [1]}', *until, "-", stdin="two\nlines")
    again = run("submit", *options, "--item-id", "one", "other")
    later = run("submit", *options, "--delay", "60", "--item-id", "two", "later")

    assert (first.stdout, again.stdout, later.stdout) == ("queued one\n", "duplicate one\n", "delayed two\n")
    ((_, fields),) = real_redis.client.xrange("memsched:{work}:stream")
    assert fields["content"] == "two\nlines"
    assert json.loads(fields["info"]) == {"a": [1]}
    assert fields["expires_at"] == "2999-01-01T00:00:00+00:00"


def test_what_cannot_be_submitted_says_why(
    environment: dict[str, str], run_all: RunAll, submitted: Callable[..., None]
) -> None:
    submitted("a")
    environment["MEMSCHED_MAX_BACKLOG"] = "1"
    options = "submit text -l work -u alice -c"

    full, nameless, no_object = run_all(f"{options} home", f"{options} ''", f"{options} home --info [1]")

    assert full.returncode == nameless.returncode == 1
    assert "MEMSCHED_MAX_BACKLOG" in one_line(full)
    assert "mem_cube_id" in one_line(nameless)
    assert no_object.returncode == 2
    assert "JSON object" in no_object.stderr


def test_waiting_tells_how_it_ended(run: Run, run_all: RunAll, worker: Callable[..., Any]) -> None:
    options = "-u alice -c home text"
    late = run(*shlex.split(f"submit -l work --wait 0.1 {options}"))
    worker()

    done, failed = run_all(f"submit -l work --wait 10 {options}", f"submit -l fail --wait 10 {options}")

    assert late.returncode == 1
    assert "its state is waiting. No worker is running: start one (memsched worker)" in one_line(late)
    assert done.returncode == 0
    assert "completed after" in done.stdout
    assert failed.returncode == 1
    assert r"ValueError: broken \x1b[2J[red]" in one_line(failed)


# -- worker and live ---------------------------------------------------------------------------------------------


@pytest.fixture
def worker(
    environment: dict[str, str], tmp_path: Path, real_redis: RedisServer
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `memsched worker` and waits until its processes are registered."""
    started: list[subprocess.Popen[bytes]] = []

    def start(processes: int = 1) -> subprocess.Popen[bytes]:
        words = ["worker", "--app", "my_handlers:handlers", "--processes", str(processes), "--log-format", "json"]
        fast = {"MEMSCHED_MAX_ERRORS": "0", "MEMSCHED_GRACE_SECONDS": "2"}
        started.append(spawn([*COMMAND, *words], log=tmp_path / "worker.log", env={**environment, **fast}))
        wait_until(lambda: real_redis.client.zcard("memsched:workers") == processes, "the workers to be registered")
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def test_workers_run_until_they_are_told_to_stop(
    run_all: RunAll, worker: Callable[..., subprocess.Popen[bytes]], real_redis: RedisServer, tmp_path: Path
) -> None:
    process = worker(2)

    status, live = run_all("status --json", "live")
    assert len(json.loads(status.stdout)["workers"]) == 2
    assert live.stdout.startswith("2 live workers")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert real_redis.client.zcard("memsched:workers") == 0
    assert list((tmp_path / "live").iterdir()) == []
    lines = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    assert {line["action"] for line in lines} >= {"worker.started", "worker.stopped"}


def test_workers_without_handlers_are_not_started(environment: dict[str, str], run_all: RunAll) -> None:
    environment["MEMSCHED_MEMORY"] = "false"

    nowhere, wrong = run_all("worker", "worker --app my_handlers:nothing")

    assert nowhere.returncode == wrong.returncode == 2
    assert "MEMSCHED_APP" in one_line(nowhere)
    assert "MEMSCHED_APP=my_handlers:nothing" in wrong.stderr


def test_workers_with_an_embedding_model_that_is_none_are_not_started(environment: dict[str, str], run: Run) -> None:
    environment |= {"MEMSCHED_MEMORY": "true", "MEMSCHED_EMBEDDING_MODEL": "/no/such/folder"}

    refused = run("worker")

    assert refused.returncode == 2
    assert "MEMSCHED_EMBEDDING_MODEL: '/no/such/folder'" in one_line(refused)


def test_live_is_no_without_workers_and_names_the_stale_one(here: Run, tmp_path: Path) -> None:
    alone = here("live")
    folder = tmp_path / "live"
    folder.mkdir()
    for name, age in (("fresh", 0.0), ("stale", 100.0)):
        (folder / name).write_text(str(os.getpid()))
        os.utime(folder / name, (time.time() - age,) * 2)
    stale = here("live")
    (folder / "stale").unlink()
    fresh = here("live")

    assert alone.returncode == stale.returncode == 1
    assert "no worker runs here" in one_line(alone)
    assert "worker stale had no successful call for 1m4" in one_line(stale)
    assert (fresh.returncode, fresh.stderr) == (0, "")


# -- dead letters ------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_and_shown(run_all: RunAll, dead_letters: list[ScheduleMessageItem]) -> None:
    listed, in_json, of_bob, two, old, no_unit, shown, others, missing = run_all(
        "dead list",
        "dead list --json",
        "dead list --user bob --json",
        "dead list --limit 2",
        "dead list --before 1h",
        "dead list --before 30",
        f"dead show {shlex.quote(dead_letters[2].item_id)}",
        f"dead show {shlex.quote(dead_letters[2].item_id)} --user nobody",
        "dead show nothing",
    )

    for message in dead_letters[:2]:
        assert f"{message.item_id}  fail  alice  errors" in listed.stdout
    assert listed.stdout.count("ValueError: cannot do") == 3
    assert "\x1b" not in listed.stdout + shown.stdout
    documents = [json.loads(line) for line in in_json.stdout.splitlines()]
    assert {document["item_id"] for document in documents} == {message.item_id for message in dead_letters}
    assert [document["last_ms"] for document in documents] == sorted((d["last_ms"] for d in documents), reverse=True)
    assert of_bob.stdout.count("\n") == 1
    assert two.stdout.endswith("there are more: --limit shows them\n")
    assert old.stdout == "no dead letters\n"
    assert no_unit.returncode == 2, "thirty days, or seconds?"
    assert "'30' is no age; write 90s, 15m, 2h or 7d" in no_unit.stderr
    assert f"id {SHOWN}" in shown.stdout
    assert "no dead letter with this id" in others.stderr, "an item id is a user's own"
    assert (others.returncode, missing.returncode) == (1, 1)


@pytest.mark.parametrize("at", ["9" * 17, "9" * 400, "inf", "-1", ""])
def test_a_time_that_no_calendar_has_is_not_known(here: Run, real_redis: RedisServer, at: str) -> None:
    real_redis.client.sadd("memsched:lanes", "fail")
    real_redis.client.xadd("memsched:{fail}:dead", {"item_id": "one", "dead_first": at, "dead_last": at})
    real_redis.client.hset("memsched:{fail}:task:ada/one", mapping={"state": "waiting", "due": at, "submitted": at})

    assert "nobody knows when" in here("dead", "list").stdout
    assert here("dead", "show", "one").stdout.count("not known") == 2
    shown = here("task", "show", "one", "--user", "ada")
    assert (shown.returncode, "waiting" in shown.stdout) == (0, True)


def test_dead_letters_are_redriven_when_it_is_said_which(
    run: Run, run_all: RunAll, dead_letters: list[ScheduleMessageItem], real_redis: RedisServer
) -> None:
    waiting = lambda: real_redis.client.xlen("memsched:{fail}:stream")  # noqa: E731

    refused, tried, unknown = run_all(
        "dead redrive", "dead redrive --all --dry-run", f"dead redrive nothing {dead_letters[0].item_id}"
    )
    assert (refused.returncode, tried.returncode, unknown.returncode, waiting()) == (2, 0, 1, 0)
    assert "--all" in one_line(refused)
    assert tried.stdout.endswith("3 dead letters would be redriven\n")

    one = run("dead", "redrive", dead_letters[0].item_id)
    assert (one.stdout, waiting()) == ("1 dead letter redriven\n", 1)
    rest = run("dead", "redrive", "--reason", "errors", "--rate", "600/m")
    assert (rest.stdout, waiting()) == ("2 dead letters redriven\n", 3)


def test_dead_letters_are_purged_when_somebody_says_yes(
    run: Run, run_all: RunAll, dead_letters: list[ScheduleMessageItem], real_redis: RedisServer
) -> None:
    left = lambda: real_redis.client.xlen("memsched:{fail}:dead")  # noqa: E731

    unsaid, unasked = run_all("dead purge", "dead purge --all")
    assert (unsaid.returncode, unasked.returncode, left()) == (2, 2, 3)
    assert "--yes" in one_line(unasked)
    assert (run("dead", "purge", "--user", "bob", "--yes").stdout, left()) == ("1 dead letter deleted\n", 2)


# -- task -------------------------------------------------------------------------------------------------------


def test_one_message_is_shown_and_cancelled_by_its_id(run: Run, submitted: Callable[..., None]) -> None:
    submitted("a", item_id=NASTY, delay=60)

    shown = json.loads(run("task", "show", NASTY, "--user", "alice", "--json").stdout)
    assert (shown["state"], shown["label"], shown["worker"]) == ("waiting", "work", "")
    assert shown["due_ms"] > shown["submitted_ms"] > 0
    assert f"item id    {SHOWN}" in run("task", "show", NASTY, "--user", "alice").stdout
    unasked = run("task", "cancel", NASTY, "-u", "alice")
    assert (unasked.returncode, "--yes" in one_line(unasked)) == (2, True)

    assert run("task", "cancel", NASTY, "-u", "alice", "--yes").stdout == f"{SHOWN} is cancelled\n"

    again = run("task", "cancel", NASTY, "-u", "alice", "--yes")
    assert (again.returncode, again.stderr) == (1, f"memsched: {SHOWN} is finished already.\n")
    unknown, unsaid = run("task", "show", NASTY, "-u", "bob"), run("task", "show", NASTY)
    assert unknown.returncode == 1
    assert f"nothing is known of {SHOWN} of bob" in unknown.stderr
    assert (unsaid.returncode, unsaid.stderr) == (2, "memsched: ids are the user's own: say whose with --user.\n")
    assert run("clear", "--yes").stdout == "dropped 0 messages of all labels\n"


# -- pause and resume --------------------------------------------------------------------------------------------


def test_labels_are_paused_and_resumed(run: Run, submitted: Callable[..., None]) -> None:
    submitted("a")

    paused = run("pause", "work", NASTY)
    assert paused.stdout == f"work is paused\n{SHOWN} is paused\n"
    assert one_line(paused) == f"memsched: no worker and no message knows the label {SHOWN}."
    assert run("pause", "work").stdout == "work was paused already\n"
    assert json.loads(run("status", "--json").stdout)["paused"] == [NASTY, "work"]
    assert "work  paused" in run("status").stdout
    assert run("resume", "work", "never").stdout == "work goes on\nnever was not paused\n"


# -- clear -------------------------------------------------------------------------------------------------------


def test_clearing_is_for_one_label_or_for_all(run: Run, submitted: Callable[..., None]) -> None:
    submitted("a", "b")
    submitted("c", label="other")

    assert run("clear", "--label", "work", "--yes").stdout == "dropped 2 messages of label work\n"
    assert run("clear", "--yes").stdout == "dropped 1 message of all labels\n"


def test_clearing_a_label_that_nobody_made_known_is_asked_for_and_done(here: Run, real_redis: RedisServer) -> None:
    real_redis.client.xadd("memsched:{typo}:stream", {"user_id": "u", "mem_cube_id": "c", "content": "x"})

    asked = here("clear", "--label", "typo")
    assert (asked.returncode, "Drop 1 unfinished message " in asked.stderr) == (2, True)
    assert here("clear", "--label", "typo", "--yes").stdout == "dropped 1 message of label typo\n"
    assert real_redis.client.xlen("memsched:{typo}:stream") == 0


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0), (None, 130, 1)])
def test_clearing_asks_a_person(
    environment: dict[str, str],
    submitted: Callable[..., None],
    real_redis: RedisServer,
    answer: bytes | None,
    code: int,
    left: int,
) -> None:
    submitted("a")
    keyboard, terminal = pty.openpty()
    asking = subprocess.Popen(
        [*COMMAND, "clear"], env=environment, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert asking.stdout is not None
        assert asking.stdout.read(len("Drop 1")) == b"Drop 1"
        wait_until(lambda: psutil.Process(asking.pid).status() == psutil.STATUS_SLEEPING, "it to wait for an answer")
        if answer is None:
            asking.send_signal(signal.SIGINT)
        else:
            os.write(keyboard, answer)
        _, said = asking.communicate(timeout=10)
    finally:
        end(asking)
        os.close(keyboard)
        os.close(terminal)

    assert (asking.returncode, said) == (code, b"")
    assert real_redis.client.xlen("memsched:{work}:stream") == left


# -- config ------------------------------------------------------------------------------------------------------


def test_config_says_where_each_setting_comes_from_and_hides_passwords(
    environment: dict[str, str], here: Run, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MEMSCHED_PREFIX=mine\nMEMSCHED_REDIS_URL=redis://nowhere\n")

    environment["MEMSCHED_REDIS_URL"] = "redis://me:secret@host/0"

    in_json, table = here("config", "--json"), here("config")

    document = json.loads(in_json.stdout)
    assert document["MEMSCHED_REDIS_URL"] == {"value": "redis://me:***@host/0", "source": "environment"}
    assert document["MEMSCHED_PREFIX"] == {"value": "mine", "source": ".env"}
    assert document["MEMSCHED_PROCESSES"] == {"value": 1, "source": "default"}
    assert set(document) == {f"MEMSCHED_{name.upper()}" for name in Settings.model_fields}
    assert "secret" not in table.stdout


def test_config_names_the_original_switch(here: Run, environment: dict[str, str]) -> None:
    del environment["MEMSCHED_REDIS_URL"]

    document = json.loads(here("config", "--json", MOS_SCHEDULER_USE_REDIS_QUEUE="true").stdout)

    assert document["MEMSCHED_REDIS_URL"]["source"] == "MOS_SCHEDULER_USE_REDIS_QUEUE (environment)"


def test_the_example_for_the_env_file_is_the_one_in_the_repository(here: Run, tmp_path: Path) -> None:
    example = here("config", "--env-example").stdout

    assert example == (ROOT / ".env.example").read_text(), "make it anew: make settings"
    (tmp_path / ".env").write_text(example.replace("# MEMSCHED_", "MEMSCHED_"))
    document = json.loads(here("config", "--json").stdout)
    empty = set(re.findall(r"^# (MEMSCHED_\w+)=$", example, re.MULTILINE))
    assert {value["source"] for name, value in document.items() if name not in empty} == {".env", "environment"}
    assert {document[name]["source"] for name in empty} <= {"default", "environment"}, "an empty variable is none"


# -- what goes to the terminal -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümläut 漢字 👩‍💻", "plain ümläut 漢字 👩‍💻"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\x00", r"a\nb\tc\x00"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202eabc", r"\u202eabc"),
        ("no\xa0break", "no break"),
        ("\udcff", r"\udcff"),
    ],
)
def test_only_visible_characters_are_sent(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_durations_are_short() -> None:
    seconds = (0.04, 12.9, 200, 7500, 273_600)

    assert [duration(length) for length in seconds] == ["0.0s", "12s", "3m20s", "2h05m", "3d4h"]


# -- import ------------------------------------------------------------------------------------------------------

EXPORTS = ROOT / "tests" / "data" / "exports"


def test_an_import_s_dry_run_says_what_would_be_kept_and_writes_nothing(here: Run, real_redis: RedisServer) -> None:
    result = here("import", str(EXPORTS / "chatgpt.json"), "-u", "alice", "-c", "home", "--dry-run", COLUMNS="200")

    (oslo,) = [line for line in result.stdout.splitlines() if line.startswith("Moving to Oslo")]
    assert "2 × a tool's call or result" in oslo
    assert oslo.endswith("2024-03-09 16:00  2024-03-09 16:01  user, assistant")
    assert "refused: conversation 3 “Broken”: its mapping is no object" in result.stdout
    assert result.returncode == 1, "something is refused"
    assert real_redis.client.dbsize() == 0


@pytest.mark.parametrize(("capacity", "told"), [("4", True), ("6", False)])
def test_an_import_of_more_than_the_capacity_says_how_many_are_archived(here: Run, capacity: str, told: bool) -> None:
    file = str(EXPORTS / "chatgpt.json")
    result = here("import", file, "-u", "alice", "-c", "home", "--dry-run", MEMSCHED_LONG_TERM_CAPACITY=capacity)

    assert ("the least valuable, 2 or more, are archived" in " ".join(result.stderr.split())) == told


@pytest.mark.parametrize(("held", "capacity", "over"), [(0, 6, 0), (0, 4, 2), (3, 6, 1), (9, 6, 7)])
def test_what_the_cube_has_counts_against_its_capacity(held: int, capacity: int, over: int) -> None:
    report = _Report(capacity)
    report.totals.kept, report.totals.known, report.totals.held = 4, 2, held

    assert report.over_capacity == over
    assert (f"{held} memories in the cube before" in report.warning()) == (held > 0)


def test_a_dry_run_in_json_ends_with_what_is_over_the_capacity(here: Run) -> None:
    file = str(EXPORTS / "claude.json")
    result = here("import", file, "-u", "a", "-c", "b", "--dry-run", "--json", MEMSCHED_LONG_TERM_CAPACITY="2")

    assert json.loads(result.stdout.splitlines()[-1]) == {"over_capacity": 1}


def test_an_import_s_dry_run_in_json_has_a_line_for_each_conversation(here: Run) -> None:
    result = here("import", str(EXPORTS / "claude.json"), "-u", "alice", "-c", "home", "--dry-run", "--json")

    first, _ = map(json.loads, result.stdout.splitlines())
    assert result.returncode == 0
    assert (first["session_id"], first["title"], first["kept"]) == ("c-1", "Tea", 3)
    assert first["from"] == "2024-05-01T10:00:01+00:00"


def test_a_file_that_cannot_be_imported_is_one_line(here: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('[{"id": "a", "messages": []},\n {"id": }]')
    for name, said in (("broken.json", "broken.json, line 2, byte 39: parse error"), ("none.json", "No such file")):
        result = here("import", str(tmp_path / name), "-u", "alice", "-c", "home", "--dry-run")

        assert said in one_line(result)
        assert result.returncode == 1


def test_the_text_of_an_export_is_no_message(here: Run) -> None:
    text = (EXPORTS / "chatgpt.json").read_text()

    result = here("submit", text, "--label", "add", "-u", "alice", "-c", "home")

    assert "`memsched import FILE` remembers its conversations" in one_line(result)


def test_an_import_without_workers_and_without_a_store_hands_nothing_over(run: Run, real_redis: RedisServer) -> None:
    words = ("import", str(EXPORTS / "claude.json"), "-u", "alice", "-c", "home")

    result = run(*words, MEMSCHED_QDRANT_URL="http://127.0.0.1:9")

    assert "The vector store" in one_line(result)
    assert result.returncode == 1
    assert not real_redis.client.exists("memsched:{add}:stream")
