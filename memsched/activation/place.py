"""Servers of our own that run here or ever did, and where llama.cpp's saves slots, by the settings."""

from __future__ import annotations

from pathlib import Path

from memsched.activation.files import SlotFiles
from memsched.embedded.model_server import SLOTS, place_of, places_of_models, unload_adapter
from memsched.llm.endpoint import EMBEDDED
from memsched.settings import Settings


def files_of(settings: Settings) -> SlotFiles | None:
    """Where slots are saved (MEMSCHED_ACTIVATION_FILES); None: nowhere."""
    folder = _folder(settings)
    return None if folder is None or not settings.activation_files_mb else _files(settings, folder)


def model_places(settings: Settings) -> list[Path]:
    """The folders of all servers of our own that ever ran, also with the models of before.

    With no model set, the embedded folders of the queue and the vectors are looked in.
    """
    roots = (settings.llm_base_url, settings.reader_base_url, settings.redis_url, settings.qdrant_url)
    folders = dict.fromkeys(settings.embedded_folder(each) for each in roots if each.startswith(EMBEDDED))
    return [place for folder in folders for place in places_of_models(Path(folder))]


def unload_own(settings: Settings, name: str) -> None:
    """Have servers of our own forget an adapter, with whatever model. Raises EmbeddedServerError."""
    for place in model_places(settings):
        unload_adapter(place, name)


def all_files_of(settings: Settings) -> list[SlotFiles]:
    """Everywhere that slots may have been saved: also by servers of our own with the models of before, and also when no
    more are.
    """
    now = _folder(settings)
    places = [place / SLOTS for place in model_places(settings) if (place / SLOTS).is_dir()]
    return [_files(settings, each) for each in dict.fromkeys([*([] if now is None else [now]), *places])]


def _folder(settings: Settings) -> Path | None:
    if settings.activation_files:
        return Path(settings.embedded_folder(settings.activation_files))
    if settings.llm_base_url.startswith(EMBEDDED) and settings.llm_model:
        return place_of(settings.embedded_folder(settings.llm_base_url), settings.llm_model) / SLOTS
    return None


def _files(settings: Settings, folder: Path) -> SlotFiles:
    return SlotFiles(folder, max_bytes=settings.activation_files_mb * 1024**2, max_days=settings.activation_files_days)
