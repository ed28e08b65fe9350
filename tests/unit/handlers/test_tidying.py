"""What nobody asks for goes all the same: tidying is done without a command."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from support.conditions import until

from memsched.activation.files import cube_hash
from memsched.activation.kept import KeptSlots
from memsched.errors import MemschedError
from memsched.handlers import tidying as subject
from memsched.settings import Settings


class Parameters:
    """Those of all cubes, on a server that is away at first."""

    def __init__(self) -> None:
        self.swept = 0

    async def sweep_all(self) -> None:
        self.swept += 1
        if self.swept == 1:
            raise MemschedError("it is away.")


async def test_what_a_save_left_that_broke_off_goes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(redis_url="memory://tidying", activation_files=str(tmp_path))
    for name, hours in (("old", 2), ("new", 0)):
        part = tmp_path / f"{cube_hash('ann', name)}-1.part"
        part.write_bytes(b"half of a slot")
        os.utime(part, (part.stat().st_mtime - hours * 3600,) * 2)
    parameters = Parameters()
    monkeypatch.setattr(subject, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(subject, "_EVERY_SECONDS", 0.0)

    with capture_logs() as lines:
        running = asyncio.create_task(subject.Tidying(KeptSlots(settings, None), cast("Any", parameters)).run())
        await until(lambda: parameters.swept > 1, "it is done once more after it failed")
        running.cancel()

    assert [each.name for each in tmp_path.iterdir()] == [f"{cube_hash('ann', 'new')}-1.part"]
    assert "tidying.failed" in {each["action"] for each in lines}
