"""Slot files: what a llama.cpp server computed of a head, on disk, each with a manifest that says what it must be.

A server takes whatever a file holds, also damaged bytes, and its answers are wrong then. So a file counts only with its
manifest, which is written after it, and only as long as size and checksum are those that the manifest says. Who dies in
between leaves a file that does not count, and goes at the next sweep.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field, TypeAdapter

from memsched.errors import MemschedError

_DATA, _MANIFEST, _PART = ".kv", ".json", ".part"
_PIECE_BYTES = 1 << 20
_LEFT_OVER_SECONDS = 3600.0
"""Older files without a manifest are nobody's: a save takes seconds."""
_USES_KEPT = 32
_HOUR_SECONDS = 3600.0

_Count = Annotated[int, Field(ge=0)]
_Time = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]


class OpenFolder(MemschedError):
    """Everybody on the machine may enter the folder of saved slots. They hold what was said: nothing is saved there."""


class DamagedSlotFile(MemschedError):
    """A saved slot is not what was saved. It was deleted; the server computes it again."""


@dataclass(frozen=True, slots=True)
class SlotFile:
    """A saved slot, as its manifest says.

    Args:
        cube: a hash of the cube's name. key: one of all that the content depends on (``KeptSlots``).
        group: one of server, model and adapter: of each the cube's latest is kept.
        sha256, size: of its bytes. tokens: that it holds.
        saved_at: seconds since the epoch. touched_at: when it was saved or restored last.
        uses: when answers used the cube's memories, seconds since the epoch.
        instance, slot: where it was last: the server's process, and its slot.
    """

    cube: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    key: str
    group: str
    sha256: str
    size: _Count
    tokens: _Count
    saved_at: _Time
    touched_at: _Time
    uses: tuple[_Time, ...]
    instance: str
    slot: _Count

    @property
    def name(self) -> str:
        return f"{self.cube}-{self.key}"

    def value(self, now: float) -> float:
        """What it is worth to have the cube's head at hand: how much and how lately its memories were used.

        Each use counts by a power of its age, as in the base-level activation of ACT-R (Anderson & Schooler 1991).
        """
        return sum(1.0 / math.sqrt(1.0 + max(0.0, now - at) / _HOUR_SECONDS) for at in self.uses)


_READ = TypeAdapter(SlotFile)


def file_of(name: str) -> str:
    """The name of a saved slot's file, as the server is told it."""
    return f"{name}{_DATA}"


def cube_hash(user_id: str, mem_cube_id: str) -> str:
    """How a cube is named in manifests: no id stands on the disk."""
    return hashlib.sha256(json.dumps([user_id, mem_cube_id]).encode()).hexdigest()[:32]


class SlotFiles:
    """The folder that a llama.cpp server saves its slots in, and reads them from.

    Any number of processes may use it at once.

    Args:
        max_bytes: of all files together; those of least value go first. max_days: since they were saved or restored.
        clock: seconds since the epoch.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, max_days: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_days = max_days
        self._clock = clock

    def refuse_open(self) -> None:
        """Raises OpenFolder. Another user's server writes files as its umask has it: the folder keeps others out."""
        if self.folder.stat().st_mode & stat.S_IRWXO:
            raise OpenFolder(f"chmod o-rwx {self.folder}")

    def new_part(self, cube: str) -> str:
        """A name for a file that the server is to write."""
        return f"{cube}-{secrets.token_hex(12)}{_PART}"

    def bytes_at_head(self, part: str, count: int) -> bytes:
        """What the server wrote first."""
        with (self.folder / part).open("rb") as file:
            return file.read(count)

    def keep(self, part: str, saved: SlotFile) -> SlotFile:
        """Keep what the server wrote, in place of what the cube had of the same group; then sweep. Raises OSError: of a
        cube that was forgotten meanwhile there is nothing to keep.

        Args:
            saved: what is known of it; times, size and checksum are found here.
        """
        now = self._clock()
        sha256, size = self._checksum(self.folder / part)
        uses = tuple(sorted(saved.uses)[-_USES_KEPT:])
        saved = replace(saved, sha256=sha256, size=size, saved_at=now, touched_at=now, uses=uses)
        (self.folder / part).replace(self._data(saved.name))
        self._write(saved)
        for other in self.of_cube(saved.cube):
            if other.group == saved.group and other.name != saved.name:
                self.remove(other.name)
        self.sweep(spared=saved.name)
        return saved

    def of_key(self, key: str) -> SlotFile | None:
        """The saved slot with this content, as its manifest says; the file itself was not looked at."""
        found = [self.find(path.stem) for path in self._listed(f"*-{key}{_MANIFEST}")]
        return next((each for each in found if each is not None), None)

    def find(self, name: str) -> SlotFile | None:
        """As ``of_key``, by its name. None also when the manifest is none, or is that of another file."""
        try:
            with _open_plain(self._manifest(name)) as file:
                found = _READ.validate_json(file.read(), strict=True)
        except (OSError, ValueError):
            return None
        return found if found.name == name else None

    def verified(self, name: str) -> SlotFile | None:
        """The saved slot, if its file is there and is what was saved. Raises DamagedSlotFile; then it is gone."""
        found = self.find(name)
        if found is None:
            return None
        try:
            same = self._checksum(self._data(name)) == (found.sha256, found.size)
        except OSError:
            same = False
        if not same:
            self.remove(name)
            raise DamagedSlotFile(f"{self._data(name)}")
        return found

    def touch(self, name: str, *, instance: str, slot: int) -> None:
        """It was restored there."""
        if (found := self.find(name)) is not None:
            self._write(replace(found, touched_at=self._clock(), instance=instance, slot=slot))

    def all(self) -> list[SlotFile]:
        """All saved slots, those of greatest value first."""
        now, found = self._clock(), self._found(f"*{_MANIFEST}")
        return sorted(found, key=lambda each: (-each.value(now), -each.touched_at, each.name))

    def of_cube(self, cube: str) -> list[SlotFile]:
        """What there is of a cube."""
        return self._found(f"{cube}-*{_MANIFEST}")

    def forget(self, cube: str) -> list[SlotFile]:
        """Delete all of a cube, also what is being written. Returns what there was."""
        found = self.of_cube(cube)
        for path in self._listed(f"{cube}-*"):
            _unlink(path)
        return found

    def remove(self, name: str) -> None:
        """Delete one; nothing happens when it is not there."""
        _unlink(self._data(name))
        _unlink(self._manifest(name))

    def discard(self, part: str) -> None:
        """Delete what the server wrote and nobody wants."""
        (self.folder / part).unlink(missing_ok=True)

    def sweep(self, *, spared: str = "") -> list[SlotFile]:
        """Delete what is too old, too much, or nobody's. Returns those that had a manifest.

        Args:
            spared: one that is never too much.
        """
        now, gone, total = self._clock(), list[SlotFile](), 0
        for each in sorted(self.all(), key=lambda each: each.name != spared):
            total += each.size
            too_old = now - each.touched_at > self._max_days * 86_400
            if each.name != spared and (too_old or total > self._max_bytes):
                total -= each.size
                self.remove(each.name)
                gone.append(each)
        for path in self._listed("*-*"):
            ours = path.suffix in (_DATA, _MANIFEST, _PART)
            if ours and now - _modified(path) > _LEFT_OVER_SECONDS and self.find(path.stem) is None:
                _unlink(path)
        return gone

    def _data(self, name: str) -> Path:
        return self.folder / file_of(name)

    def _manifest(self, name: str) -> Path:
        return self.folder / f"{name}{_MANIFEST}"

    def _listed(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    def _found(self, pattern: str) -> list[SlotFile]:
        return [each for path in self._listed(pattern) if (each := self.find(path.stem)) is not None]

    def _write(self, file: SlotFile) -> None:
        """As a whole or not at all: a manifest that is half there is none."""
        temporary = self.folder / self.new_part(file.cube)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as manifest:
            json.dump(asdict(file), manifest)
        temporary.replace(self._manifest(file.name))

    @staticmethod
    def _checksum(path: Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        with _open_plain(path) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
        return digest.hexdigest(), size


@contextmanager
def _open_plain(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises OSError when it is no plain file: a link points anywhere, a pipe never ends."""
    with open(path, "rb", opener=_without_following) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no plain file")
        yield file


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _unlink(path: Path) -> None:
    """Nothing happens when it is not there, or is a folder: that is none of ours."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()
