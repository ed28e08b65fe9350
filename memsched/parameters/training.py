"""Training: the command of MEMSCHED_PARAMETER_COMMAND in its own process, one at a time, that ends with its worker.

The folder of the data set goes in, another one comes out. A trainer that is killed finds both as it left them: what it
had saved there is its own to go on from.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from memsched.errors import MemschedError, SettingsError
from memsched.messages import describe_validation_error
from memsched.parameters.folders import AdapterFolder
from memsched.parameters.gate import Figures
from memsched.parameters.guard import HELD

_ENDS_WITHIN_SECONDS = 15.0
_SETTINGS = ("MEMSCHED_", "MOS_", "MEMSCHEDULER_")
"""What a trainer does not get of the environment: keys and addresses are none of its business."""


class TrainingFailed(MemschedError):
    """The trainer ended without an adapter."""


class TrainerRuns(MemschedError):
    """Another trainer runs on this machine."""


class TrainerPutsOff(MemschedError):
    """The trainer cannot work now, and asks to be started later: it ended with 75 (EX_TEMPFAIL)."""


async def train(command: str, folder: AdapterFolder, lock: Path) -> Figures:
    """Run the trainer to its end, and read what it measured. A cancellation ends it and whatever it started.

    Raises TrainingFailed, TrainerRuns, TrainerPutsOff, SettingsError for a command that cannot be one.

    Args:
        lock: held by the trainer itself, so that there is never a second one, whoever was killed.
    """
    words = _words(command)
    folder.made.mkdir(parents=True, exist_ok=True, mode=0o700)
    guard = [sys.executable, "-m", "memsched.parameters.guard", str(lock), str(os.getpid()), str(folder.log)]
    process = await asyncio.create_subprocess_exec(
        *guard,
        *words,
        str(folder.data),
        str(folder.made),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    try:
        told, _ = await process.communicate()
    finally:
        await _end(process)
    if told == HELD:
        raise TrainerRuns
    if process.returncode == os.EX_TEMPFAIL:
        raise TrainerPutsOff(f"{folder.log} has what it said.")
    if process.returncode:
        raise TrainingFailed(f"It ended with {process.returncode}; {folder.log} has what it said.")
    return read_figures(folder)


def read_figures(folder: AdapterFolder) -> Figures:
    """Raises TrainingFailed."""
    try:
        figures = Figures.model_validate_json(folder.figures.read_bytes())
    except OSError as error:
        raise TrainingFailed(f"There is no {folder.figures} ({error.strerror}).") from error
    except ValidationError as error:
        raise TrainingFailed(f"{folder.figures}: {describe_validation_error(error)}") from error
    for name in filter(None, (figures.weights, figures.gguf)):
        if not (folder.made / name).is_file():
            raise TrainingFailed(f"{folder.figures} names {name}, which is not there.")
    return figures


def name_of_weights(folder: AdapterFolder, figures: Figures, adapter_id: str) -> str:
    """What the model's server will know them by: never the same for two trainings, even of the same weights."""
    digest = hashlib.sha256(adapter_id.encode())
    with open(folder.made / figures.weights, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return f"memsched-{digest.hexdigest()[:16]}"


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError([f"MEMSCHED_PARAMETER_COMMAND cannot be read: {error}."]) from error
    if not words:
        raise SettingsError(["MEMSCHED_PARAMETER_COMMAND is empty: name the program that trains an adapter."])
    return words


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(_SETTINGS)}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Tell the guard to end the trainer, and wait: it is not gone before that."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), _ENDS_WITHIN_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
