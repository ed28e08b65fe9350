"""Every example runs, says what its docstring promises, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from support.conditions import wait_until
from support.processes import clean_environment, end, spawn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HERE = {"MEMSCHED_REDIS_URL": "memory://"}

pytestmark = pytest.mark.timeout(90)


def run(name: str, folder: Path, *options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *options],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def servers_in(folder: Path) -> list[int]:
    """Processes that were started for a folder."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


def test_every_example_has_a_test_here() -> None:
    tested = set(re.findall(r'(?:run|began)\("([a-z_]+)"', Path(__file__).read_text(encoding="utf-8")))

    assert tested == {path.stem for path in EXAMPLES.glob("*.py")}


def test_custom_handler(tmp_path: Path) -> None:
    said = run("custom_handler", tmp_path, **HERE)

    steps = [said.index(f"ada: {step}") for step in ("put off after chapter 2", "goes on after chapter 2", "6 words")]
    assert steps == sorted(steps)
    assert "ada: completed\nbob: completed" in said


def test_corrections(tmp_path: Path) -> None:
    said = run("corrections", tmp_path, **HERE)

    assert said.count("OK ") == 40
    assert "200 memories, 10 superseded" in said
    assert "200 memories, 0 superseded" in said


def test_langgraph_agent(tmp_path: Path) -> None:
    pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
    said = run("langgraph_agent", tmp_path)

    assert "ada, friday: Where is my boat?\n  My boat is in the harbour of Kiel." in said
    assert "bob, friday: Where is my boat?\n  My boat is in a barn in Tromso." in said
    assert "('ada', 'agent', 'notes'): 2 notes" in said


@pytest.mark.skipif(find_spec("langgraph.graph") is not None, reason="langgraph is installed")
def test_langgraph_agent_says_what_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "langgraph_agent.py")]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "pip install langgraph 'memsched[langgraph]'" in done.stderr


def test_pet_conversation(tmp_path: Path) -> None:
    said = run("pet_conversation", tmp_path)

    for question, best in (("favourite treat of Max", "peanut butter"), ("Is she allergic", "allergic to nuts")):
        found = said.partition(question)[2].splitlines()[1:4]
        assert re.match(r"  1\. [\d.]+  .*" + best, found[0]), said
        assert len(found) == 3


@pytest.mark.long
def test_beginners_guide_also_on_what_an_earlier_run_left(tmp_path: Path) -> None:
    for _ in range(2):
        said = run("beginners_guide", tmp_path)

        assert "Users: Ada, Bob\n" in said
        assert re.search(r"In which city do I live\?\n  [\d.]+  home: I live in Lisbon", said)
        assert re.search(r"In which city do I live now\?\n  [\d.]+  home: I live in Porto", said)
        assert re.search(r"No language model is configured\. .*\n- \S+ My favourite tea is jasmine tea", said)
        assert "Bob calls it 'ada/home'" in said
        assert re.search(r"allergic to anything:\n.*\n- \S+ Yes, I am allergic to penicillin", said)
        assert "Bob tries to write: The user may not do this with this cube." in said


@pytest.mark.parametrize(
    ("language", "wanted", "over"),
    [
        (
            "en",
            ("grey tiles", "water pipes", "sockets", "furniture is delivered"),
            ("house", "viewing", "bread", "film"),
        ),
        pytest.param(
            "zh",
            ("灰色瓷砖", "新水管", "插座", "家具十四号"),
            ("房子", "看房", "面包", "喜剧", "电影"),
            marks=pytest.mark.long,
        ),
    ],
)
@pytest.mark.long
def test_house_to_renovation(tmp_path: Path, language: str, wanted: tuple[str, ...], over: tuple[str, ...]) -> None:
    said = run("house_to_renovation", tmp_path, "--language", language)

    timeline, _, near = said.partition("\n10 April: ")
    hot = [look.splitlines()[1] for look in timeline.strip().split("\n\n")]
    assert len(hot) == 3
    assert all(line.startswith("  activated") for line in hot)
    assert hot[0].split()[2] == hot[1].split()[2] != hot[2].split()[2], "the first term of the hottest theme"
    assert "  plaintext " in timeline.rpartition("\n\n")[2], "what the first theme is in the end"
    begin, _, end = (re.findall(r"^  \d+ \w+: \w+ -> (\w+): ", look, re.M) for look in timeline.split("\n\n")[-3:])
    assert begin[0] == "ActivationMemory", said
    assert set(end) == {"ActivationMemory", "PlainText"}, said
    matters = near.partition("\n\n")[0].splitlines()[1:]
    assert len(matters) == 10
    assert all(any(each in line for line in matters) for each in wanted)
    assert not any(each in line for line in matters for each in over)


def test_preferences_stay(tmp_path: Path) -> None:
    said = run("preferences_stay", tmp_path)

    near, _, moved = said.partition("What moved:\n")
    assert "diagrams" in near
    assert "in the evening" in near
    assert "Homework" not in near
    assert len(re.findall(r"20 July, to Archived: .*Homework", moved)) == 2, said
    assert re.search(r"nothing needed it for 13\d days \(more than 90\)", moved)


@pytest.mark.long
def test_checkpoint_restart_plays_both_acts(tmp_path: Path) -> None:
    said = run("checkpoint_restart", tmp_path)

    assert "It is killed in the middle: 4" in said
    assert "Second act: another process goes on.\n0 tasks are new, 100 were known; 4" in said
    assert re.search(r"'s book \d+ goes on after step [123] of 4\.", said)
    assert "100 tasks are done, 0 lost;" in said
    assert int(re.findall(r"(\d+) steps were done twice", said)[0]) <= 2, "one for each user's task at most"
    wait_until(lambda: not servers_in(tmp_path), "all servers to be gone")


@pytest.mark.long
def test_checkpoint_restart_stops_and_goes_on_by_hand(tmp_path: Path) -> None:
    said = run("checkpoint_restart", tmp_path, "--run", "--stop-after", "10")
    assert re.search(r"Stops itself with 1\d done", said)
    process = began("checkpoint_restart", tmp_path)
    try:
        diary = tmp_path / "memsched-data" / "checkpoint_restart.txt"
        wait_until(lambda: len(re.findall(r" 4$", diary.read_text(encoding="utf-8"), re.MULTILINE)) >= 20, "20 tasks")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        end(process)
    stopped = (tmp_path / "log").read_text(encoding="utf-8")

    said = run("checkpoint_restart", tmp_path, "--run")

    assert re.search(r"Stopped with \d+ done\. Start it again", stopped)
    assert "0 tasks are new, 100 were known; " in said
    assert "All is done: 100 tasks." in said


@pytest.mark.long
def test_what_is_killed_twice_loses_nothing_and_repeats_only_what_was_running(tmp_path: Path) -> None:
    said = run("killed_twice", tmp_path)

    (tasks, twice) = re.findall(r"All is done after [\d.]+ s: (\d+) tasks, (\d+) of them twice\.", said)[0]
    assert int(tasks) == 100
    assert int(twice) <= 2 * 32, "what two processes were running"
    assert int(re.findall(r"Killed after [\d.]+ s: (\d+) of", said)[1]) < 100
    wait_until(lambda: not servers_in(tmp_path), "all servers to be gone")


def began(name: str, folder: Path) -> subprocess.Popen[bytes]:
    previous = Path.cwd()
    os.chdir(folder)
    try:
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--run"]
        return spawn(command, log=folder / "log", env=clean_environment())
    finally:
        os.chdir(previous)


def test_most_asked_first(tmp_path: Path) -> None:
    said = run("most_asked_first", tmp_path)

    near = said.partition("Near, before the next one asks:\n")[2].splitlines()
    assert re.match(r"  3 times  A forgotten password", near[0]), said
    assert re.match(r"  2 times  The trial ends", near[1]), said


def test_redact_phone_numbers(tmp_path: Path) -> None:
    ines, _, ken = run("redact_phone_numbers", tmp_path).partition("ken reads:")

    assert ines.count("912 345 678") == 2
    assert "901820" in ines
    assert "345" not in ken
    assert "901820" not in ken
    assert ken.count("his number is [a phone number]") == 2
    assert "2019" in ken


def test_statsd_metrics(tmp_path: Path) -> None:
    said = run("statsd_metrics", tmp_path)

    assert said.count("memsched.messages:1|c|#label:GREET,outcome:done\n") == 2
    assert re.findall(r"memsched.handler_seconds:[\d.]+\|ms\|#label:GREET,outcome:(\w+)", said).count("done") == 2
    assert "user" not in said


def test_roles_and_tasks(tmp_path: Path) -> None:
    usual, _, only = run("roles_and_tasks", tmp_path).partition("For the move, TaskOnly:\n")

    for said in (usual, only):
        assert "home: The van for the move" in said
        assert "tom/notes: The piano" in said
        assert "tax" not in said
        assert "surprise" not in said
    assert "bicycle" in usual
    assert "bicycle" not in only
