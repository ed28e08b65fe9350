"""A cube as an object: its configuration, and its dump, which is whole, checked, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memsched.errors import CubeDumpError
from memsched.memory.transfer import dump_folder
from memsched.memory.transfer.cube_object import ActivationMemory, GeneralMemCube, GeneralMemCubeConfig, TextMemory

FILES = {*dump_folder.FILES, dump_folder.MANIFEST}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ORIGINAL = """
model_schema: memos.configs.mem_cube.GeneralMemCubeConfig
user_id: "root"
cube_id: "root/mem_cube_kv_cache"
config_filename: config.json
text_mem: &part
  backend: general_text
  config:
    embedder: {backend: ollama, config: {model_name_or_path: nomic-embed-text}}
    cube_id: x
  note: kept
act_mem: *part
para_mem:
pref_mem: {backend: pref_text}
"""


def cube(**fields: Any) -> GeneralMemCube:
    made = GeneralMemCube(GeneralMemCubeConfig(user_id="alice", cube_id="home:{1}/ü", **fields))
    made.text_mem.add([{"memory_id": "m1", "text": "Line\u2028one\nü", "n": 1.5}, {"memory_id": "m2", "tags": ["a"]}])
    made.act_mem = ActivationMemory("Known:\r\n- ü\n", 7)
    made.para_mem = {"lora": {"rank": 8}, "x": None}
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dumps" / "home"


@pytest.fixture
def dumped(folder: Path) -> Path:
    cube().dump(folder)
    return folder


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """As somebody who makes a dump by hand does it: the manifest fits."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


# -- configuration -----------------------------------------------------------------------------------------------


def test_a_file_of_the_original_system_loads_and_keeps_all_its_keys(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(ORIGINAL)

    config = GeneralMemCubeConfig.from_yaml_file(tmp_path / "config.yaml")
    GeneralMemCube(config).dump(tmp_path / "dump")

    assert (config.user_id, config.cube_id) == ("root", "root/mem_cube_kv_cache")
    assert config.text_mem.backend == "general_text"
    assert config.text_mem.config["embedder"]["config"] == {"model_name_or_path": "nomic-embed-text"}
    assert (config.para_mem.backend, config.para_mem.config) == ("uninitialized", {})
    again = GeneralMemCube.load(tmp_path / "dump").config.model_dump()
    assert again == config.model_dump()
    assert again["pref_mem"] == {"backend": "pref_text"}
    assert again["text_mem"]["note"] == "kept"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1 is not YAML"),
        ("cube_id: a\ncube_id: b", "line 2 is not YAML: the key 'cube_id' is there already, in line 1"),
        ("[1]", "must be a mapping"),
        ("1: 2", "must be a mapping"),
        ("", "must be a mapping"),
        ("text_mem: {config: {api_key: sk-123}, backend: [sk-123]}", "text_mem.backend"),
        ("user_id: ''", "user_id"),
        ("a: !!python/object/apply:os.system [exit]", "is not YAML"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "nodes",
        ),
        ("a: &a {b: *a}", "nodes"),
        ("a: " + "x" * 2**20, "bytes"),
        ("[" * 2_000, "is not YAML"),
        (b"a: \xff", "is not YAML"),
    ],
)
def test_what_is_no_configuration_is_named_without_its_values(tmp_path: Path, text: str | bytes, said: str) -> None:
    (tmp_path / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(CubeDumpError) as refused:
        GeneralMemCubeConfig.from_yaml_file(tmp_path / "config.yaml")

    assert said in str(refused.value)
    assert "config.yaml" in str(refused.value)
    assert "sk-123" not in str(refused.value)


def test_a_configuration_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CubeDumpError, match=r"none\.yaml: No such file"):
        GeneralMemCubeConfig.from_yaml_file(tmp_path / "none.yaml")


def test_a_configuration_that_could_not_be_read_again_is_not_written(folder: Path) -> None:
    for config, said in (({"x": "x" * 200_000}, "the limit is"), ({"x": object()}, "what YAML cannot say")):
        with pytest.raises(CubeDumpError, match=said):
            GeneralMemCube(GeneralMemCubeConfig.model_validate({"text_mem": {"config": config}})).dump(folder)

    assert not folder.exists()


def test_cubes_without_an_id_do_not_share_one() -> None:
    assert GeneralMemCubeConfig().cube_id != GeneralMemCubeConfig().cube_id


# -- text memory -------------------------------------------------------------------------------------------------


def test_a_memory_is_found_by_its_id_and_replaced_by_a_later_one() -> None:
    memories = TextMemory()

    assert memories.add({"memory_id": "a", "text": "old"}) == ["a"]
    (given_id,) = memories.add({"text": "other"})
    memories.add([{"memory_id": "a", "text": "new"}])

    assert memories.get("a") == {"memory_id": "a", "text": "new"}
    assert [record["text"] for record in memories.all()] == ["new", "other"]
    assert memories.get(given_id) == {"memory_id": given_id, "text": "other"}
    assert memories.get("none") is None
    assert len(memories) == 2


@pytest.mark.parametrize("bad", [["text"], [{"memory_id": 7}], [None]])
def test_what_is_no_memory_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError):
        TextMemory().add(bad)


# -- dumping and loading -----------------------------------------------------------------------------------------


def test_a_cube_comes_back_as_it_was(dumped: Path) -> None:
    loaded = GeneralMemCube.load(dumped)

    original = cube()
    assert loaded.config.model_dump() == original.config.model_dump()
    assert loaded.text_mem.all() == original.text_mem.all()
    assert (loaded.act_mem, loaded.para_mem) == (original.act_mem, original.para_mem)
    assert {entry.name for entry in dumped.iterdir()} == FILES
    assert [entry.name for entry in dumped.parent.iterdir()] == ["home"]
    assert len((dumped / "textual_memory.jsonl").read_bytes().split(b"\n")) == 3


@given(st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=5), TEXT, st.dictionaries(TEXT, JSON, max_size=3))
@example([], "a\x85b", {})
@settings(deadline=None)
def test_any_json_and_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], text: str, parts: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("dump") / "cube"
    numbered = [{**record, "memory_id": str(number)} for number, record in enumerate(records)]
    config = GeneralMemCubeConfig.model_validate({"cube_id": text or "c", "extra": {"text": text}})
    made = GeneralMemCube(config, act_mem=ActivationMemory(text), para_mem=parts)

    made.dump(folder, numbered)
    loaded = GeneralMemCube.load(folder)
    shutil.rmtree(folder.parent)

    assert loaded.text_mem.all() == numbered
    assert (loaded.act_mem.text, loaded.para_mem) == (text, parts)
    assert loaded.config.model_dump() == config.model_dump()


def test_memories_are_taken_and_given_one_by_one(folder: Path) -> None:
    alive = 0

    class Record(dict[str, Any]):
        def __init__(self, number: int) -> None:
            nonlocal alive
            alive += 1
            super().__init__(memory_id=str(number))

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def records() -> Iterator[Record]:
        nonlocal most
        for number in range(1000):
            yield Record(number)
            most = max(most, alive)

    cube().dump(folder, records())
    opened, memories = GeneralMemCube.open(folder)

    assert most <= 2
    assert len(opened.text_mem) == 0
    assert [record["memory_id"] for record in memories] == [str(number) for number in range(1000)]


async def test_memories_can_be_written_as_they_arrive(folder: Path) -> None:
    with cube().dumping(folder) as dump:
        for number in range(3):
            dump.add({"memory_id": str(number)})

    assert len(GeneralMemCube.load(folder).text_mem) == 3


def test_a_later_dump_replaces_an_earlier_one(dumped: Path) -> None:
    cube().dump(dumped, [{"memory_id": "only"}])
    (empty := dumped.parent / "empty").mkdir()
    cube().dump(empty)

    assert [record["memory_id"] for record in GeneralMemCube.load(dumped).text_mem] == ["only"]
    assert len(GeneralMemCube.load(empty).text_mem) == 2
    assert sorted(entry.name for entry in dumped.parent.iterdir()) == ["empty", "home"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"memory_id": "m", "x": object()}, "memory number 2 is not JSON"),
        ({"memory_id": "m", "x": float("nan")}, "memory number 2 is not JSON"),
        ({"memory_id": "m", "x": "\ud800"}, "memory number 2 is not JSON"),
        ({"memory_id": ""}, "memory number 2 has no memory_id"),
        ({"text": "x"}, "memory number 2 has no memory_id"),
        (["memory_id"], "memory number 2 is not an object"),
        ({"memory_id": "m", "x": "x" * dump_folder.MAX_LINE_BYTES}, "the limit is"),
    ],
)
def test_a_dump_that_fails_leaves_what_was_there(dumped: Path, record: Any, said: str) -> None:
    with pytest.raises(CubeDumpError, match=said):
        cube().dump(dumped, [{"memory_id": "new"}, record])

    assert [each["memory_id"] for each in GeneralMemCube.load(dumped).text_mem] == ["m1", "m2"]
    assert [entry.name for entry in dumped.parent.iterdir()] == ["home"]


def test_an_error_of_whoever_gives_the_memories_passes_through(dumped: Path) -> None:
    def records() -> Iterator[dict[str, Any]]:
        yield {"memory_id": "new"}
        raise ConnectionError("store gone")

    with pytest.raises(ConnectionError, match="store gone"):
        cube().dump(dumped, records())

    assert len(GeneralMemCube.load(dumped).text_mem) == 2
    assert [entry.name for entry in dumped.parent.iterdir()] == ["home"]


def test_a_crash_between_the_two_renames_loses_nothing(dumped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = dumped.with_name(".home.previous")
    dumped.rename(aside)

    assert len(GeneralMemCube.load(dumped).text_mem) == 2
    with pytest.raises(CubeDumpError):
        cube().dump(dumped, [{}])
    assert len(GeneralMemCube.load(dumped).text_mem) == 2
    assert not aside.exists()
    shutil.copytree(dumped, aside)
    cube().dump(dumped, [])
    assert [entry.name for entry in dumped.parent.iterdir()] == ["home"]


def test_a_rename_that_fails_brings_the_earlier_dump_back(dumped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target == dumped and path.name != ".home.previous":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(CubeDumpError, match="No space left on device. What was there before still is"):
        cube().dump(dumped, [])

    assert len(GeneralMemCube.load(dumped).text_mem) == 2
    assert [entry.name for entry in dumped.parent.iterdir()] == ["home"]


def test_a_folder_with_anything_else_in_it_is_not_touched(dumped: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (tmp_path / "file").touch()
    (dumped / "notes.txt").touch()

    for name, said in (("photos", "not empty and not a cube's dump"), ("file", "not a folder")):
        with pytest.raises(CubeDumpError, match=said):
            cube().dump(tmp_path / name)
    with pytest.raises(CubeDumpError, match=r"'notes\.txt', which would be lost"):
        cube().dump(dumped)
    with pytest.raises(CubeDumpError, match="give a folder in it"):
        cube().dump("/")

    assert (tmp_path / "photos" / "cat.jpg").exists()
    assert (dumped / "notes.txt").exists()
    assert len(GeneralMemCube.load(dumped).text_mem) == 2


# -- what is refused when it is loaded ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", dump_folder.FILES)
def test_damage_is_found(dumped: Path, name: str) -> None:
    content = (dumped / name).read_bytes()
    for damaged in (content + b"\n", content[:-1], b"", bytes([content[0] ^ 1]) + content[1:]):
        (dumped / name).write_bytes(damaged)
        with pytest.raises(CubeDumpError, match=f"{name} is damaged"):
            GeneralMemCube.load(dumped)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(dumped: Path, name: str) -> None:
    (dumped / name).unlink()

    with pytest.raises(CubeDumpError, match=f"{name} is missing"):
        GeneralMemCube.load(dumped)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_of_the_folder_itself_is_not_followed(
    dumped: Path, tmp_path: Path, name: str, kind: str
) -> None:
    (dumped / name).rename(tmp_path / "outside")
    make: dict[str, Callable[[], None]] = {
        "link": lambda: (dumped / name).symlink_to(tmp_path / "outside"),
        "folder": lambda: (dumped / name).mkdir(),
        "pipe": lambda: os.mkfifo(dumped / name),
    }
    make[kind]()

    with pytest.raises(CubeDumpError, match=name):
        GeneralMemCube.load(dumped)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 3}, "says version 3; this memsched reads version 2 and older ones"),
        ({"version": 1}, "must list exactly"),
        ({"version": True}, "says version True"),
        ({"version": None}, "says version None"),
        ({"format": "zip"}, "not the manifest of a cube's dump"),
        ({"files": {}}, "must list exactly"),
        ({"files": dict.fromkeys(dump_folder.FILES)}, "must give bytes and sha256"),
        ({"files": {**{name: {} for name in dump_folder.FILES}, "../../secret": {}}}, "must list exactly"),
        ({"files": {name if name != "config.yaml" else "/etc/passwd": {} for name in dump_folder.FILES}}, "must list"),
        ({"files": {name: {} for name in dump_folder.FILES}}, "is damaged"),
        ({"x": "x" * 100_000}, "not the manifest"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(dumped: Path, change: dict[str, Any], said: str) -> None:
    manifest = json.loads((dumped / "manifest.json").read_text())
    (dumped / "manifest.json").write_text(json.dumps(manifest | change))

    with pytest.raises(CubeDumpError, match=said):
        GeneralMemCube.load(dumped)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("textual_memory.jsonl", b'{"memory_id":"a"}\n[1]\n', "line 2 is not an object"),
        ("textual_memory.jsonl", b'{"memory_id":"a"}\n\n', "line 2 is not JSON"),
        ("textual_memory.jsonl", b'{"memory_id":7}\n', "line 1 has no memory_id"),
        ("textual_memory.jsonl", b'{"memory_id":"a","x":NaN}\n', "line 1 is not JSON"),
        ("textual_memory.jsonl", b'{"memory_id":"a","x":"\\ud800"}\n', "line 1 is not JSON"),
        ("textual_memory.jsonl", b"[" * 100_000 + b"\n", "line 1 is not JSON"),
        ("textual_memory.jsonl", b"x" * (dump_folder.MAX_LINE_BYTES + 1), "line 1 has more than"),
        ("activation_memory.json", b'{"version": true}', "must give the version"),
        ("activation_memory.json", b"[]", "must give the version"),
        ("activation_memory.txt", b"\xff", "not UTF-8 text"),
        ("parameter_memory.json", b"[]", "object of named parts"),
        ("config.yaml", b"[]", "must be a mapping"),
    ],
)
def test_content_that_means_nothing_is_refused_though_the_checksum_fits(
    dumped: Path, name: str, content: bytes, said: str
) -> None:
    rewrite(dumped, name, content)

    with pytest.raises(CubeDumpError, match=said) as refused:
        GeneralMemCube.load(dumped)

    assert name in str(refused.value)


def test_a_folder_that_is_not_there_or_no_dump_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300), Path("/")):
        with pytest.raises(CubeDumpError):
            GeneralMemCube.load(folder)


def test_memories_of_another_dump_that_took_this_ones_place_are_noticed(dumped: Path) -> None:
    _, memories = GeneralMemCube.open(dumped)
    cube().dump(dumped, [{"memory_id": "other"}])

    with pytest.raises(CubeDumpError, match="damaged"):
        list(memories)


def test_a_dump_of_the_first_version_is_read(dumped: Path) -> None:
    manifest = json.loads((dumped / dump_folder.MANIFEST).read_bytes())
    del manifest["files"][dump_folder.STANDING]
    (dumped / dump_folder.STANDING).unlink()
    (dumped / dump_folder.MANIFEST).write_text(json.dumps({**manifest, "version": 1}))

    cube = GeneralMemCube.load(dumped)

    assert len(cube.text_mem) == 2
    assert (cube.standing.pins, cube.standing.log) == ([], [])
