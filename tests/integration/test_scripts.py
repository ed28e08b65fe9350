"""The operator's scripts, run as files."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.conditions import wait_until
from support.processes import clean_environment, end, spawn
from support.servers import RedisServer

from memsched import MemScheduler, ScheduleMessageItem

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
SHOW = [sys.executable, str(SCRIPTS / "show_redis_status.py")]
WRITE_SETTINGS = SCRIPTS / "write_settings.py"
SUBMIT = [sys.executable, str(SCRIPTS / "submit_jsonl.py")]
GOOD = {"user_id": "alice", "mem_cube_id": "home", "label": "work", "content": "hello"}

HANDLERS = """
import asyncio
async def hang(messages): await asyncio.sleep(3600)
async def work(messages): pass
hanging, working = {"work": hang}, {"work": work}
"""


@pytest.fixture
def environment(real_redis: RedisServer, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "my_handlers.py").write_text(HANDLERS)
    return clean_environment(
        MEMSCHED_REDIS_URL=real_redis.url,
        MEMSCHED_LIVENESS_DIR=str(tmp_path / "live"),
        MEMSCHED_MIN_IDLE_MS="2000",
        MEMSCHED_BEAT_SECONDS="0.1",
        MEMSCHED_WORKER_TTL_SECONDS="0.5",
        COLUMNS="100",
    )


def run(command: list[str], environment: dict[str, str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, timeout=30)


def lines_of(*documents: Any) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in documents)


# -- submit_jsonl.py ---------------------------------------------------------------------------------------------


def test_bad_lines_are_named_and_do_not_stop_the_others(environment: dict[str, str], real_redis: RedisServer) -> None:
    given = lines_of(
        {**GOOD, "info": {"n": 1}, "session_id": "s"},
        b"",
        b"{",
        [1],
        {**GOOD, "user_id": None},
        b"\xff",
        {**GOOD, "color": 1},
        b'{"user_id": "a", "mem_cube_id": "c", "label": "work", "content": "\\ud800"}',
        {**GOOD, "mem_cube": {}},
        {**GOOD, "content": "\x1b[2J last", "\x1b[2J": 1},
        {**GOOD, "content": "last"},
    )

    done = run([*SUBMIT, "-", "--batch", "2"], environment, given)

    assert done.returncode == 1
    assert done.stdout.decode() == "10 lines: 2 queued, 8 bad\n"
    named = [line.split(":")[1].strip() for line in done.stderr.decode().splitlines()]
    assert named == [f"line {number}" for number in (3, 4, 5, 6, 7, 8, 9, 10)]
    assert "\x1b" not in done.stderr.decode()
    queued = [fields for _, fields in real_redis.client.xrange("memsched:{work}:stream")]
    assert [fields["content"] for fields in queued] == ["hello", "last"]
    assert queued[0]["info"] == '{"n":1}'


def test_a_file_with_ids_may_be_submitted_again(
    environment: dict[str, str], real_redis: RedisServer, tmp_path: Path
) -> None:
    unlabelled = {name: value for name, value in GOOD.items() if name != "label"}
    file = tmp_path / "messages.jsonl"
    file.write_bytes(lines_of(*({**unlabelled, "item_id": f"m{number}"} for number in range(1000))))

    first = run([*SUBMIT, str(file), "--label", "mine"], environment)
    again = run([*SUBMIT, str(file), "--label", "mine"], environment)

    assert (first.returncode, again.returncode) == (0, 0)
    assert first.stdout.decode() == "1000 lines: 1000 queued\n"
    assert again.stdout.decode() == "1000 lines: 0 queued, 1000 known already\n"
    parked = int(real_redis.client.hget("memsched:{mine}:parked", ""))
    assert real_redis.client.xlen("memsched:{mine}:stream") + parked == 1000


def test_a_full_lane_is_waited_for(environment: dict[str, str], real_redis: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "messages.jsonl"
    file.write_bytes(lines_of(*({**GOOD, "content": str(number)} for number in range(25))))
    limits = {"MEMSCHED_MAX_BACKLOG": "10", "MEMSCHED_QUEUE_FULL_RETRY_AFTER_SECONDS": "0.05"}
    log = tmp_path / "log"
    submitting = spawn([*SUBMIT, str(file), "--batch", "8"], log=log, env={**environment, **limits})
    handled: list[str] = []

    async def work(messages: list[ScheduleMessageItem]) -> None:
        handled.extend(message.content for message in messages)

    scheduler = MemScheduler(redis_url=real_redis.url, liveness_dir=str(tmp_path / "mine"))
    scheduler.register_handlers({"work": work})
    try:
        wait_until(lambda: "is full (limit 10)" in log.read_text(), "the lane to be full")
        scheduler.start()
        assert submitting.wait(20) == 0
        scheduler.wait(timeout=30)
    finally:
        scheduler.stop()
        end(submitting)

    assert "25 lines: 25 queued" in log.read_text()
    assert sorted(handled, key=int) == [str(number) for number in range(25)]


def test_a_file_that_is_not_there_is_one_line(environment: dict[str, str]) -> None:
    refused = run([*SUBMIT, "nothing.jsonl"], environment)

    assert refused.returncode == 1
    assert "nothing.jsonl" in refused.stderr.decode()
    assert b"Traceback" not in refused.stderr


# -- show_redis_status.py ----------------------------------------------------------------------------------------


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts one worker process, with nobody to look after it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(handlers: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "memsched.process"]
        settings = {"MEMSCHED_APP": f"my_handlers:{handlers}", "MEMSCHED_BATCH_SIZE": "1", "MEMSCHED_CONCURRENCY": "3"}
        started.append(spawn(command, log=tmp_path / "worker.log", env={**environment, **settings}))
        return started[-1]

    yield start
    for process in started:
        end(process)


@pytest.mark.long
def test_the_messages_of_a_killed_worker_are_shown_as_orphaned_until_another_takes_them(
    environment: dict[str, str], real_redis: RedisServer, worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    messages = lines_of(*({**GOOD, "mem_cube_id": f"c{number}"} for number in range(10)))
    run([*SUBMIT, "-"], environment, messages)

    def look() -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(run([*SHOW, "--once", "--json"], environment).stdout)
        return shown

    victim = worker("hanging")
    before = wait_until(lambda: (found := look())["running"] == 3 and found, "messages to run")
    end(victim)
    orphaned = wait_until(lambda: (found := look())["orphaned"] and found, "orphans to be seen")
    table = run([*SHOW, "--once"], environment).stdout.decode()
    worker("working")
    wait_until(lambda: real_redis.client.xlen("memsched:{work}:stream") == 0, "all messages to be done")
    after = look()

    assert (before["running"], before["orphaned"], before["remaining"], len(before["workers"])) == (3, 0, 7, 1)
    assert (orphaned["running"], orphaned["orphaned"], orphaned["backlog"]) == (0, 3, 10)
    assert orphaned["remaining"] == 10
    assert orphaned["oldest_seconds"] > 0
    assert "no live worker" in table
    assert (after["orphaned"], after["backlog"], after["dead"], len(after["workers"])) == (0, 0, 0, 1)


def test_the_status_is_shown_again_and_again_under_a_prefix_of_ones_own(
    environment: dict[str, str], real_redis: RedisServer, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    run([*SUBMIT, "-", "--prefix", "mine"], environment, lines_of(GOOD))
    showing = spawn([*SHOW, "--prefix", "mine", "--interval", "0.2", "--json"], log=log, env=environment)
    try:
        wait_until(lambda: log.read_text().count("\n") >= 2, "two looks")
        run([*SUBMIT, "-", "--prefix", "mine"], environment, lines_of(GOOD, GOOD))
        wait_until(lambda: '"backlog": 3' in log.read_text(), "the change")
        real_redis.client.flushall()
    finally:
        end(showing)

    looks = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    assert (looks[0]["backlog"], looks[0]["labels"]["work"]["backlog"]) == (1, 1)


# -- write_settings.py -------------------------------------------------------------------------------------------


def test_every_list_of_settings_is_up_to_date() -> None:
    checked = run([sys.executable, str(WRITE_SETTINGS), "--check"], clean_environment())

    assert checked.returncode == 0, checked.stderr.decode()  # it says what to run


def test_a_list_of_settings_is_written_anew_and_what_stands_around_it_is_kept(tmp_path: Path) -> None:
    script = runpy.run_path(str(WRITE_SETTINGS))
    files = (".env.example", "docker-compose.yml", "docs/operations.md")
    for name in files:
        old = (ROOT / name).read_text(encoding="utf-8")
        wrong = re.sub(r"^(# |    |\| `)MEMSCHED_PROCESSES.*$", "somebody wrote this by hand", old, flags=re.MULTILINE)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(wrong.replace("http://qdrant:6333", "http://mine:6333"), encoding="utf-8")

    found = script["out_of_date"](tmp_path)

    assert set(found) == {tmp_path / name for name in files}
    for name in files:
        right = (ROOT / name).read_text(encoding="utf-8")
        assert found[tmp_path / name] == right.replace("http://qdrant:6333", "http://mine:6333")
