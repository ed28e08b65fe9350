"""`memsched activation files`: what is on disk, and how it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from memsched.activation.files import SlotFile, SlotFiles, cube_hash
from memsched.cli.app import app
from memsched.embedded.model_server import place_of
from memsched.errors import SettingsError


def saved(folder: Path, *cubes: str) -> SlotFiles:
    files = SlotFiles(folder, max_bytes=1_000, max_days=1)
    folder.mkdir(parents=True, exist_ok=True)
    for cube in cubes:
        part = files.new_part(cube_hash("ann", cube))
        (folder / part).write_bytes(b"k" * 100)
        files.keep(part, SlotFile(cube_hash("ann", cube), cube * 64, "g", "", 0, 9, 0, 0, (1.0,), "i", 1))
    return files


def run(*words: str, **environment: str) -> str:
    done = CliRunner().invoke(app, ["activation", "files", *words], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_files_are_listed_and_those_of_a_cube_or_all_removed(tmp_path: Path) -> None:
    files = saved(tmp_path, "h", "w", "x")
    where = {"MEMSCHED_ACTIVATION_FILES": str(tmp_path)}

    shown = json.loads(run("list", "--json", **where))
    assert {row["key"] for row in shown} == {"h" * 64, "w" * 64, "x" * 64}
    assert {row["tokens"] for row in shown} == {9}
    assert "hhhhhhhhhhhh" in run("list", **where)

    assert run("remove", "--user", "ann", "--cube", "h", **where) == "1 file was deleted.\n"
    assert {each.key for each in files.all()} == {"w" * 64, "x" * 64}
    assert "--user and --cube" in run("remove", "--user", "ann", **where)
    assert run("remove", "--all", **where) == "2 files were deleted.\n"
    assert files.all() == []


def test_those_of_a_server_of_our_own_are_found_by_its_folder_and_model(tmp_path: Path) -> None:
    saved(place_of(tmp_path, "m.gguf") / "slots", "h")
    where = {"MEMSCHED_LLM_BASE_URL": f"embedded://{tmp_path}", "MEMSCHED_LLM_MODEL": "m.gguf"}

    assert len(json.loads(run("list", "--json", **where))) == 1
    saved(place_of(tmp_path, "of before.gguf") / "slots", "w")
    assert len(json.loads(run("list", "--json", **where))) == 2, "and those of models of before, which `remove` removes"
    with pytest.raises(SettingsError, match="FILES_MB is 0: nothing is kept on disk"):
        run("list", **where, MEMSCHED_ACTIVATION_FILES_MB="0")
    with pytest.raises(SettingsError, match="MEMSCHED_ACTIVATION_FILES is not set, .*: nothing is kept on disk"):
        run("list")
    run("remove", "--all", **where)
    assert run("list", **where) == "no files\n"
