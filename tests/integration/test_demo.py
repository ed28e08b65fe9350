"""`memsched demo`, performed: what it reports, what it leaves behind, and that it could fail."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.conditions import wait_until
from support.messages import message
from support.processes import clean_environment
from support.servers import server_programs

from memsched.demo.crew import Kill
from memsched.demo.evidence import Evidence, Recovery
from memsched.demo.handlers import write_result
from memsched.settings import PREFIX

COMMAND = [sys.executable, "-m", "memsched.cli", "demo"]
needs_a_server = pytest.mark.skipif(not server_programs(), reason="no Redis or Valkey server on this machine")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a demo works. Nothing of it may be left running."""
    folder = tmp_path / "demo"
    yield folder
    for process in processes_in(folder):
        process.kill()


def processes_in(folder: Path) -> list[psutil.Process]:
    """The workers, which have it as their working directory, and the server, whose guard names it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) or any(str(folder) in word for word in process.cmdline()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.pid != os.getpid()]


def environment(**more: str) -> dict[str, str]:
    return clean_environment(COLUMNS="100", **more)


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A demo that runs, with its messages submitted."""
    process = subprocess.Popen(
        [*COMMAND, "--keep", str(folder), *words],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "submitted" in line:
            return process
    raise AssertionError(process.communicate()[1])


@needs_a_server
def test_nothing_is_lost_and_nothing_counted_twice_though_a_worker_is_killed(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    # A developer's own settings are for real work.
    own = {f"{PREFIX}REDIS_URL": "redis://nowhere", f"{PREFIX}PARTITIONS": "3", f"{PREFIX}MAX_CRASHES": "1"}

    started = time.monotonic()
    done = subprocess.run(
        [*COMMAND, "--messages", "40", "--keep", str(folder), "--svg", str(picture)],
        env=environment(**own), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    seconds = time.monotonic() - started

    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds < 60
    assert "40 of 40 done" in done.stdout
    assert "none lost: 40 messages left a file" in done.stdout
    assert "none counted twice: 40 counts for 40 messages" in done.stdout
    recovered = re.findall(r"message \d+ of (?:alice|bob) +(worker \d) → (worker \d) +(\d+) ms after", done.stdout)
    (victim,) = set(re.findall(r"(worker \d) was killed \(SIGKILL\)", done.stdout))
    assert recovered
    assert {owner for owner, _, _ in recovered} == {victim}
    assert victim not in {heir for _, heir, _ in recovered}
    assert max(int(ms) for _, _, ms in recovered) < 10_000
    assert processes_in(folder) == []
    assert len({json.loads(file.read_text())["item_id"] for file in (folder / "results").iterdir()}) == 40

    drawn = picture.read_text()
    for word in ("orphaned", "SIGKILL", "lost:", "twice:"):
        assert word in drawn
    for private in ("@font-face", str(folder), socket.gethostname() + "-"):
        assert private not in drawn


@needs_a_server
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process_behind(folder: Path, number: int, code: int) -> None:
    process = begin(folder, "--messages", "5000")
    assert len(processes_in(folder)) > 4

    process.send_signal(number)
    _, said = process.communicate(timeout=20)

    assert (process.returncode, said) == (code, "")
    assert processes_in(folder) == []


@needs_a_server
def test_a_killed_demo_leaves_no_process_behind(folder: Path) -> None:
    process = begin(folder, "--messages", "5000")

    process.kill()
    process.communicate()

    wait_until(lambda: not processes_in(folder), "workers and server to be gone", seconds=20)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()

    refused = subprocess.run(
        [*COMMAND, "--keep", str(tmp_path)], env=environment(), capture_output=True, text=True, timeout=20
    )

    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
    assert refused.stderr.count("\n") == 1


# -- the evidence ------------------------------------------------------------------------------------------------


def evidence() -> Evidence:
    """Of three messages, all of which were handled; the killed worker had finished one and held two."""
    messages = [message(f"message {number}") for number in range(3)]
    ids = [item.item_id for item in messages]
    found = Evidence(messages, 1.0, 3, {"w-0": "worker 1", "w-1": "worker 2"}.__getitem__, kill_wanted=True)
    found.kill = Kill("w-0", 1000.0, 1, (ids[0], ids[1]))
    found.recoveries = [Recovery(ids[0], "w-0", "w-1", 12.0), Recovery(ids[1], "w-0", "w-1", 13.0)]
    found.counted = Counter(ids)
    found.runs = Counter([*ids, ids[0]])
    return found


def test_a_message_that_ran_twice_and_counted_once_is_as_it_should_be() -> None:
    found = evidence()

    assert found.problems == []
    said = [line for line, _ in found.report()]
    assert said[0] == "3 of 3 done in 1.0 s by 3 worker processes"
    assert "  message 0 of alice  worker 1 → worker 2     12 ms after the kill" in said
    assert any(line.startswith("1 ran twice, counted once") for line in said)


def test_whatever_went_wrong_is_said() -> None:
    found = evidence()
    first, second, _ = (item.item_id for item in found.messages)
    found.runs = Counter([first, second, "a stranger"])
    found.counted = Counter([first, first, second])
    found.recoveries = []
    found.dead, found.unfinished, found.exit_code = 1, 2, 3

    said = "\n".join(line for line, _ in found.report())

    for problem in (
        "2 not finished in time", "1 lost", "1 not counted", "1 counted twice", "1 that nobody submitted",
        "1 in the dead letters", "exit code 3", "nothing that the killed worker held",
    ):  # fmt: skip
        assert f"WRONG: {problem}" in said or problem in said
    assert len(found.problems) == 8
    assert "none lost" not in said


def test_a_demo_in_which_nobody_could_be_killed_has_shown_nothing() -> None:
    found = evidence()
    found.kill = None

    assert found.problems == ["no worker was killed: none held a message in time"]


# -- the handlers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item_id", ["plain", "../../etc/passwd", ".", "with.dots", "x" * 500, "漢字" * 100])
def test_every_run_leaves_one_whole_file_whatever_the_message_is_called(tmp_path: Path, item_id: str) -> None:
    for _ in range(2):
        write_result(tmp_path / "new" / "results", message(item_id=item_id), time.time())

    files = list((tmp_path / "new" / "results").iterdir())
    assert len(files) == 2
    for file in files:
        name, pid, _, kind = file.name.split(".")
        assert (pid, kind) == (str(os.getpid()), "json")
        assert name == item_id or item_id != "plain"
        assert json.loads(file.read_text())["item_id"] == item_id
