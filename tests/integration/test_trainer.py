"""The reference trainer, where torch is installed: it trains, measures, goes on after a kill, and writes weights."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from support.conditions import until
from support.processes import clean_environment, spawn

from benchmarks.parameters import templates, write_data
from benchmarks.tiny_texts import other_texts
from memsched.parameters.folders import AdapterFolder
from memsched.parameters.gate import why_refused
from memsched.parameters.training import train

for _name in ("torch", "transformers", "peft", "gguf"):
    pytest.importorskip(_name, reason="the extra train is not installed (pip install 'memsched[train]')")

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.tiny_base import make

    folder = tmp_path_factory.mktemp("base")
    make(folder, steps=4)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> AdapterFolder:
    made = AdapterFolder(tmp_path / "adapter")
    write_data(made, templates(4), other_texts(20))
    return made


async def test_what_has_hardly_learnt_is_measured_and_refused(
    base: Path, folder: AdapterFolder, tmp_path: Path
) -> None:
    command = f"{sys.executable} -m memsched.parameters.trainer --base {base} --threads 1 --epochs 1 --rank 4 --alpha 8"

    figures = await train(command, folder, tmp_path / "lock")

    assert figures.held_out < 0.9
    assert figures.replay_loss_before > 0
    assert why_refused(figures)
    assert (folder.made / figures.weights).stat().st_size > 1000
    assert (folder.made / figures.gguf).read_bytes()[:4] == b"GGUF"
    assert not (folder.made / "checkpoint.pt").exists()


async def test_one_that_was_killed_goes_on(base: Path, folder: AdapterFolder, tmp_path: Path) -> None:
    folder.made.mkdir()
    command = [sys.executable, "-m", "memsched.parameters.trainer", "--base", str(base), "--threads", "1"]
    command += ["--rank", "4", "--alpha", "8", "--epochs", "2", "--save-seconds", "0"]
    killed = spawn([*command, str(folder.data), str(folder.made)], log=folder.log, env=clean_environment())
    await until((folder.made / "checkpoint.pt").exists, "it has saved", seconds=300)
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    figures = await train(" ".join(command), folder, tmp_path / "lock")

    assert figures.gguf
    _, again = folder.log.read_text().split(" steps, 0 of them done before", 1)
    assert " steps, 0 of them done before" not in again
    assert "of them done before" in again
