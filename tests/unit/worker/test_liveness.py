"""The file that says a worker's read loop is alive."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from memsched import Settings
from memsched.worker.healthcheck import liveness_dir, read_liveness
from memsched.worker.liveness import Liveness


def settings(folder: Path) -> Settings:
    return Settings(liveness_dir=str(folder), liveness_seconds=30)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_worker_that_touches_its_file_is_alive(tmp_path: Path) -> None:
    sign = Liveness(tmp_path / "live", "host-1-abc")
    sign.begin()

    (report,) = read_liveness(settings(tmp_path / "live"))

    assert report.worker_id == "host-1-abc"
    assert report.alive
    assert report.age_seconds < 5


def test_a_worker_that_was_silent_too_long_is_not(tmp_path: Path) -> None:
    sign = Liveness(tmp_path, "worker")
    sign.begin()
    age(tmp_path / "worker", 31)

    (report,) = read_liveness(settings(tmp_path))

    assert not report.alive
    assert report.age_seconds >= 31


def test_touching_makes_it_young_again(tmp_path: Path) -> None:
    sign = Liveness(tmp_path, "worker")
    sign.begin()
    age(tmp_path / "worker", 31)

    sign.touch()

    assert read_liveness(settings(tmp_path))[0].alive


def test_touching_brings_back_a_file_that_somebody_tidied_away(tmp_path: Path) -> None:
    sign = Liveness(tmp_path / "live", "worker")
    sign.begin()
    (tmp_path / "live" / "worker").unlink()
    (tmp_path / "live").rmdir()

    sign.touch()

    assert read_liveness(settings(tmp_path / "live"))[0].alive


def test_the_file_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "worker").write_text(str(gone.pid))

    assert read_liveness(settings(tmp_path)) == []
    assert not (tmp_path / "worker").exists()


def test_the_number_of_a_process_that_is_gone_may_be_anothers_by_now(tmp_path: Path) -> None:
    """In a container that was started again, everybody has the number that its predecessor had."""
    (tmp_path / "predecessor").write_text(f"{os.getpid()} 1")

    assert read_liveness(settings(tmp_path)) == []


def test_a_worker_works_without_a_place_for_its_file_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sign = Liveness(tmp_path / "file" / "live", "worker")

    with capture_logs() as logs:
        sign.begin()
        sign.touch()
        sign.begin()
        sign.end()

    assert [row["action"] for row in logs] == ["liveness.not_written"]


def test_where_no_temporary_file_can_be_written_there_is_still_a_name_for_the_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)

    assert liveness_dir(Settings()) == Path(f"/tmp/memsched-live-{os.getuid()}")


def test_files_that_are_none_of_ours_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")

    assert read_liveness(settings(tmp_path)) == []
    assert (tmp_path / "notes.txt").exists()


def test_no_folder_means_no_worker(tmp_path: Path) -> None:
    assert read_liveness(settings(tmp_path / "nowhere")) == []


def test_a_worker_that_stopped_leaves_no_file(tmp_path: Path) -> None:
    sign = Liveness(tmp_path, "a/strange:id")
    sign.begin()
    reports = read_liveness(settings(tmp_path))

    sign.end()
    sign.end()

    assert [report.worker_id for report in reports] == ["a/strange:id"]
    assert list(tmp_path.iterdir()) == []


def test_without_a_setting_each_user_has_a_folder_of_their_own() -> None:
    assert liveness_dir(Settings()).name == f"memsched-live-{os.getuid()}"
