"""Where servers of our own run, or ever ran."""

from __future__ import annotations

from pathlib import Path

from memsched.activation.place import model_places, unload_own
from memsched.embedded.model_server import place_of
from memsched.settings import Settings


def test_the_places_of_all_models_are_known_whatever_is_set_now(tmp_path: Path) -> None:
    places = [
        place_of(tmp_path / folder, model) for folder, model in (("one", "a.gguf"), ("one", "b.gguf"), ("two", "c"))
    ]
    for each in places:
        (each / "adapters").mkdir(parents=True)
        for name in ("memsched-1", "another"):
            (each / "adapters" / f"{name}.gguf").touch()
    settings = Settings.load(
        redis_url="memory://places",
        llm_base_url=f"embedded://{tmp_path / 'one'}",
        llm_model="new.gguf",
        reader_base_url=f"embedded://{tmp_path / 'two'}",
        reader_model="c.gguf",
    )

    assert sorted(model_places(settings)) == sorted(places)
    unload_own(settings, "memsched-1")
    assert [each.name for each in tmp_path.glob("*/llm/*/adapters/*")] == ["another.gguf"] * 3
