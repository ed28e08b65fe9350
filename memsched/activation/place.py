"""Where llama.cpp's server saves slots, by the settings."""

from __future__ import annotations

from pathlib import Path

from memsched.activation.files import SlotFiles
from memsched.embedded.model_server import SLOTS, place_of, places_of_models
from memsched.llm.endpoint import EMBEDDED
from memsched.settings import Settings


def files_of(settings: Settings) -> SlotFiles | None:
    """Where slots are saved (MEMSCHED_ACTIVATION_FILES); None: nowhere."""
    folder = _folder(settings)
    return None if folder is None or not settings.activation_files_mb else _files(settings, folder)


def all_files_of(settings: Settings) -> list[SlotFiles]:
    """Everywhere that slots may have been saved: also by servers of our own with the models of before, and also when no
    more are.

    With no model set, the embedded folders of the queue and the vectors are looked in.
    """
    now = _folder(settings)
    roots = (settings.llm_base_url, settings.redis_url, settings.qdrant_url)
    places = [
        place / SLOTS
        for root in dict.fromkeys(each for each in roots if each.startswith(EMBEDDED))
        for place in places_of_models(Path(settings.embedded_folder(root)))
        if (place / SLOTS).is_dir()
    ]
    return [_files(settings, each) for each in dict.fromkeys([*([] if now is None else [now]), *places])]


def _folder(settings: Settings) -> Path | None:
    if settings.activation_files:
        return Path(settings.embedded_folder(settings.activation_files))
    if settings.llm_base_url.startswith(EMBEDDED) and settings.llm_model:
        return place_of(settings.embedded_folder(settings.llm_base_url), settings.llm_model) / SLOTS
    return None


def _files(settings: Settings, folder: Path) -> SlotFiles:
    return SlotFiles(folder, max_bytes=settings.activation_files_mb * 1024**2, max_days=settings.activation_files_days)
