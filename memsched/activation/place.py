"""Where llama.cpp's server saves slots, by the settings."""

from __future__ import annotations

from pathlib import Path

from memsched.activation.files import SlotFiles
from memsched.embedded.model_server import SLOTS, place_of
from memsched.llm.endpoint import EMBEDDED
from memsched.settings import Settings


def files_of(settings: Settings) -> SlotFiles | None:
    """Where slots are saved (MEMSCHED_ACTIVATION_FILES); None: nowhere."""
    folder: Path | None = None
    if settings.activation_files:
        folder = Path(settings.embedded_folder(settings.activation_files))
    elif settings.llm_base_url.startswith(EMBEDDED) and settings.llm_model:
        folder = place_of(settings.embedded_folder(settings.llm_base_url), settings.llm_model) / SLOTS
    if folder is None or not settings.activation_files_mb:
        return None
    return SlotFiles(folder, max_bytes=settings.activation_files_mb * 1024**2, max_days=settings.activation_files_days)
