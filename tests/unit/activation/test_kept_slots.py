"""Heads on disk: where deletions reach, and when a server is asked to read one again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from memsched.activation.files import SlotFile, SlotFiles, cube_hash, file_of
from memsched.activation.kept import KeptSlots
from memsched.activation.place import files_of
from memsched.embedded.model_server import SLOTS, place_of
from memsched.llm.client import LLM
from memsched.llm.server_errors import ServerError
from memsched.llm.servers import DIALECTS
from memsched.llm.servers.base import CacheHint, Caching, Dialect, Step
from memsched.memory.access.permissions import CubeRef
from memsched.settings import Settings

REF = CubeRef("ann", "home")
HINT = CacheHint("the head", "", "")


class Server:
    """llama.cpp's, with one slot: what it is asked to restore."""

    build = ""

    def __init__(self, marker: str = "<one>") -> None:
        self.marker = marker
        self.restored: list[str] = []
        self.saved: list[str] = []
        self.warmed = 0

    async def dialect(self) -> Dialect:
        return DIALECTS["llama_cpp"]

    async def warm(self, caching: Caching) -> None:
        self.warmed += 1

    async def manage(self, method: str, path: str, body: Any) -> Any:
        if "action=save" in path:
            self.saved.append(body["filename"])
            raise ServerError("no.", kind="refused")
        if "action=restore" in path:
            self.restored.append(body["filename"])
            return {"n_restored": 9, "n_read": 100}
        answers = {
            "/props": {"media_marker": self.marker},
            "/v1/models": {},
            "/lora-adapters": [],
            "/slots": [{"id": 0}],
        }
        return answers[path]


def settings_for(folder: Path, **more: Any) -> Settings:
    given: dict[str, Any] = {"llm_base_url": f"embedded://{folder}", "llm_model": "m.gguf"} | more
    return Settings.load(redis_url="memory://kept", **given)


def save(files: SlotFiles, key: str = "k1", instance: str = "i") -> SlotFile:
    files.folder.mkdir(parents=True, exist_ok=True)
    part = files.new_part(cube := cube_hash(REF.user_id, REF.mem_cube_id))
    (files.folder / part).write_bytes(b"k" * 100)
    return files.keep(part, SlotFile(cube, key, "g", "", 0, 9, 0, 0, (), instance, 0))


async def yes() -> bool:
    return True


async def saved_by(server: Server, folder: Path) -> tuple[KeptSlots, SlotFiles, SlotFile]:
    """What the server that runs now saved of the head."""
    settings = settings_for(folder)
    kept, files = KeptSlots(settings, cast("LLM", server)), files_of(settings)
    assert files is not None
    assert kept._slots is not None
    identity = await kept._slots.identity()
    return kept, files, save(files, kept._key(identity, HINT), identity.instance)


@pytest.mark.parametrize(
    "more",
    [
        {"llm_model": "new.gguf"},
        {"llm_model": ""},
        {"activation_files_mb": 0},
        {"activation_files": "elsewhere"},
        {"llm_base_url": "", "llm_model": "", "qdrant_url": "embedded"},
    ],
    ids=lambda more: " ".join(more),
)
async def test_a_deletion_reaches_what_was_saved_with_other_settings(tmp_path: Path, more: dict[str, Any]) -> None:
    save(SlotFiles(place_of(tmp_path, "m.gguf") / SLOTS, max_bytes=1_000, max_days=1))
    if "qdrant_url" in more:
        more = more | {"qdrant_url": f"embedded://{tmp_path}"}

    await KeptSlots(settings_for(tmp_path, **more), None).forget(REF)

    assert list(tmp_path.glob("llm/*/slots/*")) == []


async def test_what_the_models_of_before_left_is_swept(tmp_path: Path) -> None:
    save(SlotFiles(place_of(tmp_path, "m.gguf") / SLOTS, max_bytes=1_000, max_days=1, clock=lambda: 1e9))

    await KeptSlots(settings_for(tmp_path, llm_model="new.gguf"), None).sweep()

    assert list(tmp_path.glob("llm/*/slots/*")) == []


async def test_what_a_server_held_once_is_restored_when_it_is_warmed(tmp_path: Path) -> None:
    server = Server()
    kept, _, saved = await saved_by(server, tmp_path)
    assert await kept.restore(HINT) == 9
    assert server.restored == [], "it was saved by the server that runs: it has it still, as far as is known"

    for each in (kept, KeptSlots(settings_for(tmp_path), cast("LLM", server))):
        caching = Caching(HINT, Step.ONCE)
        await each.warm(REF, caching, [], yes)
        assert caching.use.cached == 9

    assert server.restored == [file_of(saved.name)] * 2
    assert server.warmed == 0


async def test_after_a_chat_that_did_not_find_it_a_head_is_restored_once(tmp_path: Path) -> None:
    server = Server()
    kept, _, saved = await saved_by(server, tmp_path)

    kept.lost(HINT)
    assert [await kept.restore(HINT) for _ in range(2)] == [9, 9]

    assert server.restored == [file_of(saved.name)]


async def test_nothing_is_saved_where_everybody_may_read_it(tmp_path: Path) -> None:
    server = Server()
    kept, files, _ = await saved_by(server, tmp_path)
    files.folder.chmod(0o755)

    with capture_logs() as lines:
        await kept.warm(REF, Caching(CacheHint("another head", "", ""), Step.ONCE), [], yes)

    (line,) = [each for each in lines if each["action"] == "activation.not_kept"]
    assert f"chmod o-rwx {files.folder}" in line["error"]
    assert server.warmed == 1
    assert server.saved == []


@pytest.mark.parametrize("marker", ["", "<__media__>"])
async def test_a_server_that_does_not_tell_when_it_was_started_is_not_asked_at_every_chat(
    tmp_path: Path, marker: str
) -> None:
    server = Server(marker)
    kept, _, saved = await saved_by(server, tmp_path)

    assert [await kept.restore(HINT) for _ in range(3)] == [9, 9, 9]
    assert server.restored == [file_of(saved.name)]

    kept.lost(HINT)
    assert [await kept.restore(HINT) for _ in range(3)] == [9, 9, 9]
    assert server.restored == [file_of(saved.name)] * 2


async def test_a_server_is_never_asked_to_restore_what_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    kept, _, _ = await saved_by(server, tmp_path)
    monkeypatch.setattr(SlotFiles, "verified", lambda *_: None)

    kept.lost(HINT)
    assert await kept.restore(HINT) == 0

    assert server.restored == []


async def test_a_folder_that_is_away_is_told(tmp_path: Path) -> None:
    with capture_logs() as lines:
        await KeptSlots(settings_for(tmp_path, activation_files=str(tmp_path / "away")), None).forget(REF)

    assert [(each["action"], each["folder"]) for each in lines] == [("activation.no_folder", str(tmp_path / "away"))]
