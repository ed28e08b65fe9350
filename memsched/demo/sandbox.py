"""A sandbox for the demo: a folder, servers of its own, and settings that nothing on this machine has a say in."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memsched.demo.worker_processes import DemoFailed
from memsched.embedded.redis_binary import BINARY_VARIABLE
from memsched.settings import ORIGINAL_SWITCHES, PREFIX

EXIT_TOLD_TO_STOP = 128 + signal.SIGTERM


@contextmanager
def sandbox(keep: Path | None) -> Iterator[Path]:
    """A temporary folder, or one that stays. Raises DemoFailed when there is something in that already."""
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="memsched-demo-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = keep.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise DemoFailed(f"The folder {folder} is not empty; what is in it would be counted too.")
    yield folder


def cancel_on_signals() -> None:
    """SIGTERM and SIGHUP end this task as Ctrl-C does: in order, with everything stopped that it started."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def sandbox_settings(folder: Path) -> dict[str, Any]:
    """Everything in this folder, and a death is noticed soon; by the names of settings."""
    return {
        "redis_url": f"embedded://{folder / 'server'}",
        "beat_seconds": 0.25,
        "grace_seconds": 5.0,
        "liveness_dir": str(folder / "live"),
        "log_format": "json",
        "listen": "127.0.0.1:0",  # the dashboard is where nothing else is
    }


def environment_of(given: Mapping[str, Any]) -> dict[str, str]:
    """What the workers' processes get: nothing of the settings that this machine may have for real work."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name == BINARY_VARIABLE or not (name.upper().startswith(PREFIX) or name in ORIGINAL_SWITCHES)
    }
    return environment | {PREFIX + name.upper(): str(value) for name, value in given.items()}
