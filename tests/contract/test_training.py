"""The trainer's process: whoever is killed, none is left alone, there is never a second one, and it goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.conditions import until, wait_until
from support.fake_trainer import command
from support.processes import clean_environment

from memsched.errors import SettingsError
from memsched.parameters.folders import AdapterFolder
from memsched.parameters.training import TrainerPutsOff, TrainerRuns, TrainingFailed, name_of_weights, train

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="who dies with whom is the kernel's word"),
]
WORKER = """
import asyncio, sys
from pathlib import Path
from memsched.parameters.folders import AdapterFolder
from memsched.parameters.training import train
asyncio.run(train(sys.argv[1], AdapterFolder(Path(sys.argv[2])), Path(sys.argv[3])))
"""
HOLDS = command(hold=60)
Worker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def folder(tmp_path: Path) -> AdapterFolder:
    made = AdapterFolder(tmp_path / "one")
    made.data.mkdir(parents=True)
    (made.data / "train.jsonl").write_text(json.dumps({"messages": []}) + "\n")
    return made


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "training.lock"


@pytest.fixture
def worker(folder: AdapterFolder, lock: Path) -> Iterator[Worker]:
    """Starts a process that trains, and returns when its trainer runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", WORKER, HOLDS, str(folder.path), str(lock)]
        started.append(subprocess.Popen(arguments, env=clean_environment()))
        wait_until(lambda: trainers(folder), "its trainer runs")
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def trainers(folder: AdapterFolder) -> list[psutil.Process]:
    """Those that ever began in this folder and live."""
    path = folder.made / "starts"
    pids = [int(line) for line in path.read_text().split()] if path.exists() else []
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("who", ["worker", "guard", "trainer"])
async def test_whoever_is_killed_no_trainer_is_left_and_the_next_one_goes_on(
    worker: Worker, folder: AdapterFolder, lock: Path, who: str
) -> None:
    process = worker()
    (trainer,) = trainers(folder)
    guard = psutil.Process(trainer.ppid())
    os.kill({"worker": process.pid, "guard": guard.pid, "trainer": trainer.pid}[who], signal.SIGKILL)

    await until(lambda: not trainers(folder), "no trainer is left")
    await until(lambda: not guard.is_running() or guard.status() == psutil.STATUS_ZOMBIE, "nor its guard")
    (folder.made / "saved").write_text("half of it")  # what a real one saves by itself
    figures = await train(HOLDS, folder, lock)
    assert figures.held_out == 0.96


async def test_there_is_no_second_trainer(worker: Worker, folder: AdapterFolder, lock: Path, tmp_path: Path) -> None:
    worker()
    other = AdapterFolder(tmp_path / "other")
    other.data.mkdir(parents=True)

    with pytest.raises(TrainerRuns):
        await train(command(), other, lock)


async def test_a_trainer_that_asks_for_another_time_is_none_that_runs(folder: AdapterFolder, lock: Path) -> None:
    with pytest.raises(TrainerPutsOff, match=r"it ended with 75 .*train\.log has what it said"):
        await train("sh -c 'echo the GPU is taken; exit 75'", folder, lock)

    assert folder.log.read_text() == "the GPU is taken\n"


async def test_who_is_told_to_stop_ends_the_trainer_first(folder: AdapterFolder, lock: Path) -> None:
    training = asyncio.create_task(train(HOLDS, folder, lock))
    await until(lambda: trainers(folder), "it runs")

    training.cancel()
    await asyncio.gather(training, return_exceptions=True)

    assert not trainers(folder)


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ({"fail": True}, r"ended with 1; .*train\.log"),
        ({"held_out": 7}, "held_out"),
        ({"weights": "../../elsewhere"}, "weights"),
        ({"weights": "nothing.bin"}, r"names nothing\.bin, which is not there"),
    ],
    ids=["it fails", "no share", "a path", "no weights"],
)
async def test_what_it_leaves_is_not_believed(
    folder: AdapterFolder, lock: Path, says: dict[str, object], what: str
) -> None:
    with pytest.raises(TrainingFailed, match=what):
        await train(command(**says), folder, lock)


async def test_a_trainer_is_told_no_secrets(folder: AdapterFolder, lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSCHED_LLM_API_KEY", "sk-0123456789")
    shown = folder.path / "environment"

    with pytest.raises(TrainingFailed):
        await train(f"sh -c 'env > {shown}; exit 1'", folder, lock)

    assert "PATH=" in shown.read_text()
    assert "sk-0123456789" not in shown.read_text()


async def test_a_command_that_is_none_is_told(folder: AdapterFolder, lock: Path) -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_PARAMETER_COMMAND is empty"):
        await train("", folder, lock)
    with pytest.raises(TrainingFailed, match="ended with 127"):
        await train("no-such-program", folder, lock)


async def test_a_name_follows_from_the_weights_and_is_never_used_again(folder: AdapterFolder, lock: Path) -> None:
    figures = await train(command(), folder, lock)

    names = {name_of_weights(folder, figures, each) for each in ("one", "two", "one")}
    (folder.made / figures.weights).write_bytes(b"others")

    assert len(names) == 2
    assert name_of_weights(folder, figures, "one") not in names
