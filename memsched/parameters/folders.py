"""The folders of adapters on disk: each has its data set and what a trainer made of it, and goes as a whole."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from memsched.memory.access.permissions import CubeRef
from memsched.settings import Settings

FIGURES = "figures.json"


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """One adapter's: ``data`` goes into a trainer, ``made`` is what comes out, its log and its own checkpoints too."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def made(self) -> Path:
        return self.path / "made"

    @property
    def figures(self) -> Path:
        return self.made / FIGURES

    @property
    def log(self) -> Path:
        return self.made / "train.log"

    def remove(self) -> bool:
        """Whether nothing of it is left here."""
        shutil.rmtree(self.path, ignore_errors=True)
        return not self.path.exists()


class AdapterFolders:
    """All of them, in MEMSCHED_PARAMETER_FOLDER."""

    def __init__(self, settings: Settings) -> None:
        self.root = Path(settings.embedded_folder(settings.parameter_folder))

    def of(self, ref: CubeRef, adapter_id: str) -> AdapterFolder:
        """By a hash of the cube, so that no path tells whose it is, or leads out of the folder."""
        cube = hashlib.sha256(ref.tenant.encode()).hexdigest()[:16]
        return AdapterFolder(self.root / cube / adapter_id)

    def remove(self, ref: CubeRef, adapter_id: str) -> bool:
        """Whether nothing of it is left. Where the folder of all is not there, another machine may have it."""
        return self.root.is_dir() and self.of(ref, adapter_id).remove()

    @property
    def lock(self) -> Path:
        """The file whose kernel lock a trainer on this machine holds."""
        return self.root / "training.lock"
