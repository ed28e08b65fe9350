"""A dump's folder: what is in it, and how it is written atomically, all of it or nothing.

    config.yaml             the cube's configuration
    textual_memory.jsonl    one memory per line: a JSON object with a memory_id
    activation_memory.txt   the activation block, byte for byte
    activation_memory.json  what belongs to it: its version
    parameter_memory.json   named parts, each any JSON value
    standing.json           which memories are pinned, and the log of what answers used (since version 2)
    manifest.json           format, version, and size and SHA-256 of every other file

A dump is written beside its folder and renamed into place. Only an empty folder, or an earlier dump with nothing else
in it, is replaced; the earlier dump is moved aside first, and a process that dies between the two renames leaves it
there, where reading and the next writing find it. The checksums find damage; they do not prove who wrote the dump.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from memsched.errors import CubeDumpError

FORMAT = "memsched-cube"
VERSION = 2
CONFIG, TEXTS = "config.yaml", "textual_memory.jsonl"
BLOCK, BLOCK_ABOUT, PARTS = "activation_memory.txt", "activation_memory.json", "parameter_memory.json"
MANIFEST = "manifest.json"
STANDING = "standing.json"
FILES = (CONFIG, TEXTS, BLOCK, BLOCK_ABOUT, PARTS, STANDING)
_FILES_OF = {1: FILES[:-1], VERSION: FILES}
"""By version, what a dump consists of."""
MAX_LINE_BYTES = 8 * 1024 * 1024
"""One memory: what fits into a message fits into a line."""
_MAX_MANIFEST_BYTES = 64 * 1024
_CHUNK_BYTES = 1024 * 1024


class DumpWriter:
    """Writes one dump; use it as a context. Without an exception, the folder holds it all in the end.

    Args:
        parts: the content of every file but the memories.
    """

    def __init__(self, folder: str | os.PathLike[str], parts: Mapping[str, bytes]) -> None:
        self.folder = Path(folder).resolve()
        self._parts = dict(parts)
        self._entries: dict[str, dict[str, Any]] = {}
        self._count = 0
        self._texts: _HashedFile | None = None
        self._temporary: Path | None = None

    def __enter__(self) -> Self:
        if not self.folder.name:
            raise CubeDumpError(f"{self.folder} cannot be replaced; give a folder in it.")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            _bring_back(self.folder)
            _check_replaceable(self.folder)
            self._temporary = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
            for name, content in self._parts.items():
                with _HashedFile(self._temporary / name) as file:
                    file.write(content)
                self._entries[name] = file.entry
            self._texts = _HashedFile(self._temporary / TEXTS)
        except OSError as error:
            self._discard()
            raise self._failure(error) from error
        return self

    def add(self, record: Mapping[str, Any]) -> None:
        """One more memory. Raises CubeDumpError if it has no memory_id, is not JSON, or is too long."""
        assert self._texts is not None, "use the writer as a context"
        place = f"memory number {self._count + 1}"
        _check_record(record, place)
        line = _json_bytes(dict(record), place) + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise CubeDumpError(f"{place} has {len(line):,} bytes, the limit is {MAX_LINE_BYTES:,}.")
        try:
            self._texts.write(line)
        except OSError as error:
            raise self._failure(error) from error
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failure:
            raise self._failure(failure) from failure
        finally:
            self._discard()

    def _finish(self) -> None:
        assert self._temporary is not None
        assert self._texts is not None
        self._texts.close()
        self._entries[TEXTS] = self._texts.entry | {"memories": self._count}
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {name: self._entries[name] for name in FILES},
        }
        with _HashedFile(self._temporary / MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2).encode() + b"\n")
        _sync_folder(self._temporary)
        _check_replaceable(self.folder)  # somebody may have put something there since
        aside = _aside(self.folder)
        replaces = self.folder.exists()
        if replaces:
            self.folder.rename(aside)
        try:
            self._temporary.rename(self.folder)
        except OSError:
            _bring_back(self.folder)
            raise
        self._temporary = None
        _sync_folder(self.folder.parent)
        if replaces:
            shutil.rmtree(aside, ignore_errors=True)  # what stays is found, and removed, by the next writing

    def _failure(self, error: OSError) -> CubeDumpError:
        return CubeDumpError(f"{self.folder}: {error.strerror or error}. What was there before still is.")

    def _discard(self) -> None:
        if self._texts is not None:
            self._texts.abandon()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None


class Dump:
    """A dump that was looked through: everything is there, and as it was written. Raises CubeDumpError if not.

    Whatever is read later is checked again, so that it cannot be of another dump that took this one's place.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).resolve()
        if not os.path.lexists(self.folder) and self.folder.name and _is_dump(_aside(self.folder)):
            self.folder = _aside(self.folder)
        self._manifest = self._read_manifest()
        for name in self._manifest:
            self._verify(name)

    def read(self, name: str) -> bytes:
        """One of the files, whole."""
        with self._open(name) as file:
            content = file.read()
        self._check(name, len(content), hashlib.sha256(content).hexdigest())
        return content

    def has(self, name: str) -> bool:
        """Whether it is a part of a dump of this version."""
        return name in self._manifest

    def read_json(self, name: str) -> Any:
        return _parsed(self.read(name), str(self.folder / name))

    def records(self) -> Iterator[dict[str, Any]]:
        """The memories, one after another."""
        digest, size, number = hashlib.sha256(), 0, 0
        with self._open(TEXTS) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                place = f"{self.folder / TEXTS}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    raise CubeDumpError(f"{place} has more than {MAX_LINE_BYTES:,} bytes.")
                digest.update(line)
                size += len(line)
                record = _parsed(line, place)
                _check_record(record, place)
                yield record
        self._check(TEXTS, size, digest.hexdigest())

    def _read_manifest(self) -> dict[str, dict[str, Any]]:
        with self._open(MANIFEST) as file:
            text = file.read(_MAX_MANIFEST_BYTES + 1)
        place = str(self.folder / MANIFEST)
        manifest = _parsed(text, place) if len(text) <= _MAX_MANIFEST_BYTES else None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise CubeDumpError(f"{place} is not the manifest of a cube's dump.")
        version = manifest.get("version")
        if type(version) is not int or version not in _FILES_OF:
            raise CubeDumpError(
                f"{place} says version {version!r}; this memsched reads version {VERSION} and older ones. "
                "Load it with the version of memsched that wrote it."
            )
        names, files = _FILES_OF[version], manifest.get("files")
        if not isinstance(files, dict) or set(files) != set(names):
            raise CubeDumpError(f"{place} must list exactly {', '.join(names)}.")
        if not all(isinstance(entry, dict) for entry in files.values()):
            raise CubeDumpError(f"{place} must give bytes and sha256 of every file.")
        return files

    def _verify(self, name: str) -> None:
        digest = hashlib.sha256()
        with self._open(name) as file:
            size = os.fstat(file.fileno()).st_size
            if size == self._manifest[name].get("bytes"):
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        self._check(name, size, digest.hexdigest())

    def _check(self, name: str, size: int, digest: str) -> None:
        entry = self._manifest[name]
        if size != entry.get("bytes"):
            raise CubeDumpError(
                f"{self.folder / name} is damaged: it has {size} bytes, the manifest says {entry.get('bytes')!r}."
            )
        if digest != entry.get("sha256"):
            raise CubeDumpError(f"{self.folder / name} is damaged: its content is not what the manifest says.")

    def _open(self, name: str) -> BinaryIO:
        """A regular file of the folder itself: a link or a device in its place is refused, and never waited for."""
        path = self.folder / name
        try:
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError as error:
            raise CubeDumpError(f"{path} is missing: this is no dump of a cube, or not all of it.") from error
        except OSError as error:
            raise CubeDumpError(f"{path} cannot be read as a file of the dump: {error.strerror}.") from error
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise CubeDumpError(f"{path} is not a regular file.")
        return os.fdopen(number, "rb")


class _HashedFile:
    """A new file that knows its size and checksum; on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def entry(self) -> dict[str, Any]:
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self._size += len(content)

    def abandon(self) -> None:
        with suppress(OSError):  # it is deleted anyway
            self._file.close()

    def close(self) -> None:
        if not self._file.closed:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_json(value: Any, place: str) -> bytes:
    """``value`` as readable JSON. Raises CubeDumpError, which names ``place``, if it is none."""
    return _json_bytes(value, place, indent=2) + b"\n"


def _json_bytes(value: Any, place: str, *, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators).encode()
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise CubeDumpError(f"{place} is not JSON: {error}.") from error


def _parsed(text: bytes, place: str) -> Any:
    try:
        value = json.loads(text.decode(), parse_constant=_no_number)
        if b"\\ud" in text or b"\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except (ValueError, RecursionError) as error:
        raise CubeDumpError(f"{place} is not JSON: {error}.") from error
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_record(record: Any, place: str) -> None:
    if not isinstance(record, Mapping):
        raise CubeDumpError(f"{place} is not an object, but {type(record).__name__}.")
    memory_id = record.get("memory_id")
    if not isinstance(memory_id, str) or not memory_id:
        raise CubeDumpError(f"{place} has no memory_id.")


def _aside(folder: Path) -> Path:
    """Where an earlier dump is while another one takes its place."""
    return folder.with_name(f".{folder.name}.previous")


def _bring_back(folder: Path) -> None:
    """After a crash between the two renames: the earlier dump is put where it was."""
    aside = _aside(folder)
    if not _is_dump(aside):
        return
    if folder.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(folder)


def _check_replaceable(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise CubeDumpError(f"{folder} is not a folder.")
    present = {entry.name for entry in folder.iterdir()}
    if not present:
        return
    if not _is_dump(folder):
        raise CubeDumpError(f"{folder} is not empty and not a cube's dump; give another folder.")
    if others := sorted(present - {*FILES, MANIFEST}):
        raise CubeDumpError(f"{folder} also holds {others[0]!r}, which would be lost; give another folder.")


def _is_dump(folder: Path) -> bool:
    """Whether the folder says that it is a dump, of whatever version and however damaged."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            manifest = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
