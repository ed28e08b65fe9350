"""Slot files: what counts as saved, and what goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from memsched.activation.files import DamagedSlotFile, SlotFile, SlotFiles, cube_hash, file_of

HOME, WORK = cube_hash("ann", "home"), cube_hash("ann", "work")
NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(tmp_path: Path, clock: Clock) -> SlotFiles:
    return SlotFiles(tmp_path, max_bytes=1_000, max_days=30, clock=clock)


def save(files: SlotFiles, cube: str, key: str, data: bytes = b"k" * 100, **more: Any) -> SlotFile:
    """As the server and the worker do."""
    part = files.new_part(cube)
    (files.folder / part).write_bytes(data)
    told: dict[str, Any] = {"group": "g", "uses": (NOW,), "instance": "i", "slot": 1} | more
    return files.keep(part, SlotFile(cube, key, told["group"], "", 0, 9, 0, 0, told["uses"], told["instance"], 1))


def test_what_was_saved_is_found_by_its_content_and_is_what_was_saved(files: SlotFiles) -> None:
    saved = save(files, HOME, "k1")

    assert files.of_key("k1") == saved == files.verified(saved.name)
    assert (saved.size, saved.tokens) == (100, 9)
    assert files.of_key("k2") is None
    assert sorted(os.listdir(files.folder)) == [f"{saved.name}.json", f"{saved.name}.kv"]


@pytest.mark.parametrize("damage", ["a byte", "cut", "gone"])
def test_a_damaged_file_is_deleted_and_not_given(files: SlotFiles, damage: str) -> None:
    saved = save(files, HOME, "k1")
    path = files.folder / file_of(saved.name)
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data if damage == "a byte" else data[:99])

    with pytest.raises(DamagedSlotFile):
        files.verified(saved.name)
    assert os.listdir(files.folder) == []


def test_of_a_cube_the_latest_is_kept_for_each_adapter(files: SlotFiles) -> None:
    save(files, HOME, "k1")
    save(files, HOME, "k2", group="adapter")
    save(files, WORK, "k3")
    save(files, HOME, "k4")

    assert {each.key for each in files.all()} == {"k2", "k3", "k4"}


def test_the_least_used_cubes_go_first_when_there_is_too_much(files: SlotFiles) -> None:
    for number, uses in enumerate([(NOW, NOW), (NOW - 90 * 86_400,), (NOW,)]):
        save(files, cube_hash("ann", str(number)), f"k{number}", b"k" * 400, uses=uses)

    assert [each.key for each in files.all()] == ["k0", "k2"]


def test_one_that_is_larger_than_all_may_be_is_kept_alone(files: SlotFiles) -> None:
    save(files, HOME, "k1")
    save(files, WORK, "k2", b"k" * 2_000)

    assert [each.key for each in files.all()] == ["k2"]


def test_what_nobody_needed_for_long_goes_and_what_was_restored_stays(files: SlotFiles, clock: Clock) -> None:
    save(files, HOME, "k1")
    restored = save(files, WORK, "k2")
    clock.now += 20 * 86_400
    files.touch(restored.name, instance="other", slot=3)
    clock.now += 20 * 86_400

    assert [each.key for each in files.sweep()] == ["k1"]
    left = files.of_key("k2")
    assert left is not None
    assert (left.instance, left.slot) == ("other", 3)


def test_what_was_left_by_who_died_counts_for_nothing_and_goes(files: SlotFiles, clock: Clock) -> None:
    clock.now = time.time()
    (files.folder / files.new_part(HOME)).write_bytes(b"the server wrote this")
    (files.folder / f"{HOME}-k1.kv").write_bytes(b"and this has no manifest")
    (files.folder / f"{HOME}-k2.json").write_text("{")
    assert files.of_key("k1") is None
    assert files.all() == []

    assert files.sweep() == []
    assert len(os.listdir(files.folder)) == 3, "it may be being written"
    clock.now += 7_200
    files.sweep()
    assert os.listdir(files.folder) == []


def test_of_a_forgotten_cube_nothing_stays_also_of_what_is_being_written(files: SlotFiles) -> None:
    save(files, HOME, "k1")
    other = save(files, WORK, "k2")
    part = files.new_part(HOME)
    (files.folder / part).write_bytes(b"half")

    assert [each.key for each in files.forget(HOME)] == ["k1"]
    assert sorted(os.listdir(files.folder)) == [f"{other.name}.json", f"{other.name}.kv"]
    with pytest.raises(FileNotFoundError):
        files.keep(part, SlotFile(HOME, "k3", "g", "", 0, 9, 0, 0, (), "i", 1))
    assert files.forget(HOME) == []


def test_no_name_of_a_user_or_a_cube_stands_on_the_disk(files: SlotFiles) -> None:
    save(files, cube_hash("ann-marie", "home-cube"), "k1")

    for path in files.folder.iterdir():
        assert "ann-marie" not in path.name
        assert b"home-cube" not in path.read_bytes()


@pytest.mark.parametrize(
    "edited",
    [
        {"uses": ["x"]},
        {"uses": [None]},
        {"size": "9"},
        {"size": -9},
        {"touched_at": None},
        {"saved_at": 1e300},
        {"cube": "../victim", "touched_at": 1.0},
        {"key": "k2"},
        None,
    ],
    ids=str,
)
def test_an_edited_manifest_counts_for_nothing_and_hinders_nobody(
    tmp_path: Path, clock: Clock, edited: dict[str, Any] | None
) -> None:
    (tmp_path / "slots").mkdir()
    files = SlotFiles(tmp_path / "slots", max_bytes=1_000, max_days=30, clock=clock)
    victim = tmp_path / "victim-k1.kv"
    victim.write_bytes(b"precious")
    manifest = files.folder / f"{save(files, HOME, 'k1').name}.json"
    manifest.write_text(json.dumps([None] if edited is None else json.loads(manifest.read_text()) | edited))

    kept = save(files, WORK, "k3")

    assert files.all() == [kept]
    assert files.sweep() == []
    assert victim.exists()
    assert files.verified(manifest.stem) is None


def test_what_is_no_plain_file_is_let_be_and_never_counts(files: SlotFiles, clock: Clock, tmp_path: Path) -> None:
    folder, pipe = files.folder / f"{HOME}-k9.kv", files.folder / f"{HOME}-k8.json"
    folder.mkdir()
    os.mkfifo(pipe)
    saved = save(files, HOME, "k1")
    path = files.folder / file_of(saved.name)
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    clock.now = time.time() + 7_200

    files.sweep()
    with pytest.raises(DamagedSlotFile):
        files.verified(saved.name)
    assert elsewhere.exists()
    assert not path.is_symlink()
    files.forget(HOME)
    assert sorted(files.folder.iterdir()) == [folder, elsewhere]
