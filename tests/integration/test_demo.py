"""`memsched demo`, performed: what it reports, what it leaves behind, and that it could fail."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.conditions import wait_until
from support.memories import idle
from support.processes import clean_environment, processes_in
from support.servers import server_programs

from memsched import AsyncMemScheduler
from memsched.demo.collect_evidence import collect_evidence
from memsched.demo.conversation import ALICE, ALLERGY, BOB, NEW_HOME, OLD_HOME, PEANUT_BUTTER, TREAT, Turn
from memsched.demo.evidence import Evidence, Found, Passage, Ready
from memsched.demo.worker_processes import Kill
from memsched.settings import PREFIX

pytestmark = pytest.mark.alone

COMMAND = [sys.executable, "-m", "memsched.cli", "demo"]
needs_vectors = pytest.mark.skipif(find_spec("qdrant_edge") is None, reason="qdrant-edge-py is not installed")
needs_a_server = pytest.mark.skipif(not server_programs(), reason="no Redis or Valkey server on this machine")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a demo works. Nothing of it may be left running."""
    folder = tmp_path / "demo"
    yield folder
    for process in processes_in(folder):
        process.kill()


def environment(**more: str) -> dict[str, str]:
    return clean_environment(COLUMNS="200", **more)  # no line is broken


def begin(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A demo that runs, with its workers up and something for them to do; and where its dashboard is."""
    address = ""
    process = subprocess.Popen(
        [*COMMAND, "--keep", str(folder)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"look at it: (http://127\.0\.0\.1:\d+/)", line):
            address = found[1]
        if "Alice: " in line:
            return process, address
    raise AssertionError(process.communicate()[1])


@needs_a_server
@needs_vectors
def test_the_talk_is_remembered_though_a_worker_is_killed(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    # A developer's own settings are for real work.
    real = {"REDIS_URL": "redis://nowhere", "QDRANT_URL": "http://nowhere", "MEMORY": "false", "PARTITIONS": "3"}
    own = {PREFIX + name: value for name, value in real.items()}

    started = time.monotonic()
    done = subprocess.run(
        [*COMMAND, "--pace", "0.05", "--keep", str(folder), "--svg", str(picture)],
        env=environment(**own),
        capture_output=True,
        text=True,
        timeout=60,
    )
    seconds = time.monotonic() - started

    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds < 60
    (remembered, said) = re.findall(
        r"(\d+) of (\d+) utterances are in the vector store, each exactly once", done.stdout
    )[0]
    assert remembered == said
    assert re.search(r"worker \d was killed \(SIGKILL\) with \d+ messages? in its hands", done.stdout)
    assert re.search(r"worker \d → worker \d  done after +\d+ ms", done.stdout)
    assert re.search(r"(\d+) of \1 messages are done, by their records in Redis", done.stdout)
    assert re.search(r"up to date with the question \d+ ms after it", done.stdout)
    report = done.stdout.partition("utterances are in the vector store")[2]
    assert "WRONG" not in report
    for text in (NEW_HOME, f"instead of: {OLD_HOME}", PEANUT_BUTTER, ALLERGY):
        assert text in report
    assert processes_in(folder) == []

    drawn = picture.read_text()
    for word in ("SIGKILL", "working", "nuts"):
        assert word in drawn
    for private in ("@font-face", str(folder), socket.gethostname() + "-"):
        assert private not in drawn


@needs_a_server
@needs_vectors
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_an_interrupted_demo_leaves_no_process_behind(folder: Path, number: int, code: int) -> None:
    process, address = begin(folder)
    assert len(processes_in(folder)) > 4
    assert "memsched" in httpx.get(address).text

    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (code, "")
    assert processes_in(folder) == []


@needs_a_server
@needs_vectors
@pytest.mark.long
def test_a_killed_demo_leaves_no_process_behind(folder: Path) -> None:
    process, _ = begin(folder)

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
    """Of two utterances, all as it should be; the killed worker had remembered one and not reported it."""
    said = {"a": Turn(ALICE, "one"), "b": Turn(BOB, "two")}
    messages = [turn.message(reference) for reference, turn in said.items()]
    found = Evidence(said, 3, {"w-0": "worker 1", "w-1": "worker 2"}.__getitem__, kill_wanted=True)
    found.messages, found.done = messages, 2
    found.sources = Counter(list(said))
    found.texts = {reference: turn.text for reference, turn in said.items()}
    found.by_user = {ALICE: {"1"}, BOB: {"2"}}
    found.replaced = {OLD_HOME: NEW_HOME}
    found.kill = Kill("w-0", 1000.0, tuple(messages))
    found.passages = [
        Passage("one", "w-1", 10.0, 20.0, stored=True),
        Passage("two", "w-1", 11.0, 21.0, stored=False),
    ]
    found.where = [Found(NEW_HOME, "3")]
    found.ready = Ready([PEANUT_BUTTER], [PEANUT_BUTTER, ALLERGY], 0.4, 14.0)
    found.others, found.refused = {"What of Max?": [Found("two", "2")]}, True
    return found


def test_a_demo_in_which_nobody_could_be_killed_has_shown_nothing() -> None:
    found = evidence()
    found.kill = None

    assert found.problems == ["no worker was killed: none held a message in time"]


def test_a_talk_that_is_remembered_as_it_should_be_has_no_problems() -> None:
    found = evidence()

    assert found.problems == []
    said = [line for line, _ in found.report()]
    assert "✓ 2 of 2 utterances are in the vector store, each exactly once" in said
    assert "✓ 2 of 2 messages are done, by their records in Redis; no dead letters" in said
    assert "✓ worker 1 was killed (SIGKILL) with 2 messages in its hands; others finished them:" in said
    assert "    worker 2 did 2; the first began 10 ms after the kill" in said
    assert "    two  worker 1 → worker 2  done after   21 ms" in said
    assert f"    {PEANUT_BUTTER}  (there before, now number 1 of 2)" in said
    assert f"    {ALLERGY}  (came with it, now number 2 of 2)" in said
    assert "    read in 0.4 ms when the question came; up to date with the question 14 ms after it" in said


def test_of_many_recovered_messages_the_first_ones_and_the_last_are_named() -> None:
    found = evidence()
    found.passages = [Passage(f"entry {n} " + "x" * 100, "w-1", 1.0, 10.0 * n, stored=False) for n in range(40)]

    report = found.report()

    said = [line for line, _ in report if "→" in line or line.strip() == "..."]
    assert [line.partition(" x")[0].strip() for line in said] == ["entry 0", "entry 1", "entry 2", "...", "entry 39"]
    assert max(len(line) for line, _ in report) < 120


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sources": Counter({"a": 1})}, "1 are lost, such as: two"),
        ({"sources": Counter({"a": 1, "b": 2})}, "1 are there more than once, such as: two"),
        ({"sources": Counter({"a": 1, "b": 1, "c": 1})}, "1 that nobody said"),
        ({"texts": {"a": "one", "b": "too"}}, "1 say something else, such as: two"),
        ({"by_user": {ALICE: {"1", "3"}, BOB: {"2"}}}, "3 memories for 2 utterances"),
        ({"passages": []}, "nothing that it held was taken over by another"),
        ({"passages": [Passage("one", "w-1", 1.0, 2.0, stored=False)]}, "1 of them were not finished"),
        ({"where": [Found(OLD_HOME, "4")]}, "the correction is not what is found first"),
        ({"replaced": {}}, "what was corrected is not that, and that alone: {}"),
        ({"ready": Ready([], [PEANUT_BUTTER], 1.0, 1.0)}, f"not in it: {ALLERGY}"),
        ({"ready": Ready([], [PEANUT_BUTTER, ALLERGY])}, "it was not brought up to date with the question"),
        (
            {"ready": Ready([], [PEANUT_BUTTER, ALLERGY, OLD_HOME], 1.0, 1.0)},
            f"still in it, though corrected: {OLD_HOME}",
        ),
        ({"others": {"Max?": [Found("one", "1")]}}, "Max? found one"),
        ({"others": {}}, "there was nothing to find"),
        ({"refused": False}, "her cube was not refused to Bob"),
        ({"done": 1}, "1 of 2 have no record that they are done"),
        ({"dead": 1}, "1 in the dead letters"),
        ({"unfinished": 2}, "2 messages not finished in time"),
        ({"exit_code": 3}, "the workers ended with exit code 3"),
    ],
)
def test_whatever_went_wrong_in_the_talk_is_said(change: dict[str, Any], problem: str) -> None:
    found = evidence()
    for name, value in change.items():
        setattr(found, name, value)

    assert problem in found.problems
    assert any(line.strip() == f"WRONG: {problem}" for line, _ in found.report())
    assert TREAT in "".join(line for line, _ in found.report())


@needs_vectors
async def test_the_evidence_sees_in_the_stores_what_is_lost_and_what_is_doubled(
    memory_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    # given two utterances that are handled, one of them in two messages, and one that never gets to the server
    scheduler = memory_schedulers()
    await scheduler.start()
    said = {"kept": Turn(BOB, "My tent is green."), "twice": Turn(ALICE, "Max barks."), "lost": Turn(ALICE, "He sits.")}
    handled = [said[reference].message(reference) for reference in ("kept", "twice", "twice")]
    await scheduler.submit_messages(handled)
    await idle(scheduler)

    found = Evidence(said, 1, str, kill_wanted=False)
    found.messages = [*handled, said["lost"].message("lost")]
    await collect_evidence(scheduler, found, set())

    for problem in (
        "1 are lost, such as: He sits.",
        "1 are there more than once, such as: Max barks.",
        "1 of 4 have no record that they are done",
    ):
        assert problem in found.problems
