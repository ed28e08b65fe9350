"""Reads an export, conversation by conversation, in memory that does not grow with the file.

A file is JSON (a list of conversations, of messages, or of lists of messages; one conversation; an object that has the
list), JSON lines, or the zip or folder that a program gives people, which holds such files.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import ijson

from memsched.errors import MemschedError
from memsched.memory.exports.conversation import KEY_NAMES, Conversation, is_id, told_of
from memsched.memory.exports.formats import Format, conversations_of, format_of
from memsched.memory.exports.message_lists import form_of, messages_in
from memsched.memory.exports.numbers import PlainNumbers
from memsched.memory.exports.slack import USERS, days_of, names_in, with_names
from memsched.memory.ingest.turns.forms import FIELDS, role_of

MAX_CONVERSATION_BYTES = 256 * 1024 * 1024
"""Of one conversation in a file, as JSON."""
_MESSAGES_TOGETHER = 1000
"""Of a file that is one list of messages, without end: so many are looked at as one piece."""
_AT_ONCE = 1024
"""Bytes that the parser gets: what it says to be wrong is among them."""
_DEEPEST = 100
"""Values within values of one conversation: no program has so many, and what looks at them goes into each."""
_HEAD_BYTES = 64 * 1024
_MEMBER = re.compile(r"(?:.*/)?conversations(?:[-_]\d+)?\.json")
"""What ChatGPT and Claude call the file in their zip; ChatGPT cuts a large one in several."""
_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
WRAPPERS = ("conversations", "data", "items", "chats", "threads", "results")
"""Under what names a file's one object has its conversations."""
_SPACE = b" \t\r\n"
_ZIP = b"PK\x03\x04"
_BOM = b"\xef\xbb\xbf"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
}
"""What packed files begin with that are not read."""
_OF_A_MAC = re.compile(r"(?:.*/)?(?:__MACOSX/|\._)")
"""What a Mac puts into a zip beside the files."""

Advance = Callable[[int], None]
"""Called with how many bytes were read since."""


class BrokenExport(MemschedError):
    """The export cannot be read, or not to its end."""

    def __init__(self, file: str, reason: str, *, line: int = 0, byte: int = 0) -> None:
        self.file, self.reason, self.line, self.byte = file, reason, line, byte
        place = f", line {line:,}, byte {byte:,}" if line else ""
        super().__init__(f"{file}{place}: {reason}.")


@dataclass(frozen=True, slots=True)
class Member:
    """One file with conversations: given as it is, or in a zip or folder.

    Args:
        key: of the conversation that it is, where its name tells it.
        names: of people by their ids, where another file tells them.
    """

    name: str
    size: int
    written: datetime
    opened: Callable[[], IO[bytes]]
    key: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


def members_of(path: Path) -> list[Member]:
    """The files with conversations, in order. Raises BrokenExport and OSError."""
    if str(path) == "-":
        raise BrokenExport("-", "standard input is not read, because a file is looked at twice: write it to a file")
    if path.is_dir():
        deep = "*/*.json" if (path / USERS).is_file() else ""
        files = sorted([*path.iterdir(), *(path.glob(deep) if deep else ())])
        return _chosen(path, {each.relative_to(path).as_posix(): _plain(each) for each in files if each.is_file()})
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return [_plain(path)]
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BrokenExport(path.name, f"the zip is broken, or was not loaded to its end: {error}") from error
    return _chosen(path, {name: _zipped(archive, archive.getinfo(name)) for name in sorted(archive.namelist())})


def _chosen(path: Path, found: Mapping[str, Member]) -> list[Member]:
    if days := days_of(found):
        with next(member for name, member in found.items() if name.rpartition("/")[2] == USERS).opened() as users:
            names = names_in(users.read())
        return [replace(found[name], name=name, key=key, names=names) for name, key in days.items()]
    found = {name: member for name, member in found.items() if not _OF_A_MAC.match(name)}
    named = [member for name, member in found.items() if _MEMBER.fullmatch(name)]
    others = [member for name, member in found.items() if name.lower().endswith(_JSON_SUFFIXES)]
    if named or len(others) == 1:
        return named or others
    listed = ", ".join(list(found)[:10]) or "nothing"
    raise BrokenExport(str(path), f"there is no conversations.json in it, and not one JSON file; there is {listed}")


def _plain(path: Path) -> Member:
    about = path.stat()
    return Member(path.name, about.st_size, datetime.fromtimestamp(about.st_mtime, UTC), lambda: path.open("rb"))


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    try:
        written = datetime(*info.date_time, tzinfo=UTC)
    except ValueError:
        written = datetime(1980, 1, 1, tzinfo=UTC)  # the first that a zip can say

    def opened() -> IO[bytes]:
        if info.flag_bits & 1:
            raise BrokenExport(info.filename, "the zip has a password; unpack it first")
        try:
            return archive.open(info)
        except NotImplementedError as error:
            raise BrokenExport(info.filename, f"it cannot be unpacked here: {error}") from error

    return Member(info.filename, info.file_size, written, opened)


def conversations_in(
    path: Path, wanted: Format = Format.AUTO, advance: Advance = lambda _: None
) -> Iterator[Conversation]:
    """All conversations, in the order of the file; what is none comes as ``refused``.

    Each has a key, and a time of its beginning: where the export has none, when the file was written. Raises
    BrokenExport where the file cannot be read on, after what stands before.
    """
    count = _Count()
    for member in members_of(path):
        with _read(member, advance) as file:
            for found in _conversations(file, member, wanted, count):
                yield found if found.began is not None else replace(found, began=member.written)


class _Count:
    """What was met so far: in a file, or in several that belong together."""

    def __init__(self) -> None:
        self.conversations = 0
        self.pieces: Counter[str] = Counter()

    def named(self, found: Conversation) -> Conversation:
        """With a key: what the conversation begins with, where it has no id.

        So the same file, one in other order, and one in which talks go on, give the same ones. Talks that begin with
        the same words at the same time are one session.
        """
        if found.key:
            return found
        first = next((each for each in found.messages if not _instructs(each)), {})
        begin = json.dumps([found.title, found.began, told_of(first)], sort_keys=True, default=str)
        return replace(found, key=hashlib.sha256(begin.encode()).hexdigest()[:20])


def _instructs(message: Mapping[str, Any]) -> bool:
    """Whether it is an instruction: many talks with a model begin with the same one."""
    return any(isinstance(name := message.get(each), str) and role_of(name) == "instruction" for each in FIELDS["role"])


def _conversations(file: _Reading, member: Member, wanted: Format, count: _Count) -> Iterator[Conversation]:
    together: list[Mapping[str, Any]] = []
    key = ""  # of messages that name no conversation
    for where, read in file.values(member, wanted):
        value = with_names(read, member.names)
        if isinstance(value, Conversation):  # a line that is broken
            yield replace(value, where=where)
        elif _is_deeper(value, _DEEPEST):
            count.conversations += 1
            place = where or f"conversation {count.conversations:,}"
            yield Conversation("", refused=f"it is nested more than {_DEEPEST} deep", where=place)
        elif messages_in(value) is None and format_of(value) is None and form_of(value):
            if not together and not key:
                key = member.key or count.named(Conversation("", messages=[value])).key
            together.append(value)
            if len(together) == _MESSAGES_TOGETHER:
                yield from _grouped(together, key, where, count, wanted)
                together = []
        else:
            count.conversations += 1
            place = where or f"conversation {count.conversations:,}"
            for found in conversations_of(value, wanted):
                yield replace(count.named(found), where=place)
    if together:
        yield from _grouped(together, key, where, count, wanted)


def _grouped(
    messages: Iterable[Mapping[str, Any]], key: str, where: str, count: _Count, wanted: Format
) -> Iterator[Conversation]:
    """Messages by the conversation that they name, in the order of the file."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in messages:
        ids = (each.get(name) for name in KEY_NAMES if name not in ("id", "uuid"))
        groups.setdefault(str(next(filter(is_id, ids), key)), []).append(each)
    for name, said in groups.items():
        (whole,) = conversations_of(said, wanted)
        count.pieces[name] += 1
        place = f"up to {where}" if where else "messages without a conversation"
        yield replace(whole, key=name, where=place, piece=count.pieces[name] - 1)


# -- files -------------------------------------------------------------------------------------------------------


@contextmanager
def _read(member: Member, advance: Advance) -> Iterator[_Reading]:
    try:
        with member.opened() as file:
            yield _Reading(file, member.name, advance)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BrokenExport(member.name, f"the zip is broken: {error}") from error


class _Reading:
    """A file in small steps, which knows how far it is, and how long the value is that is being read."""

    def __init__(self, file: IO[bytes], name: str, advance: Advance) -> None:
        self._file, self._name, self._advance = file, name, advance
        self._ahead = self._recent = b""
        self.byte = 0
        self.line = 1
        self._value_began = 0

    def _piece(self) -> bytes:
        """At most ``_AT_ONCE`` bytes. Raises BrokenExport where one value is too long."""
        piece, self._ahead = self._ahead[:_AT_ONCE], self._ahead[_AT_ONCE:]
        piece = piece or self._file.read(_AT_ONCE)
        self._passed(piece)
        if self.byte - self._value_began > MAX_CONVERSATION_BYTES:
            raise self.broken(f"one conversation has more than {MAX_CONVERSATION_BYTES:,} bytes")
        return piece

    def values(self, member: Member, wanted: Format) -> Iterator[tuple[str, Any]]:
        """The conversations or messages as JSON has them, with their place if it is a line."""
        head = self._head()
        if not head.strip(_SPACE):
            raise self.broken("it is empty")
        for begin, packer in _PACKED.items():
            if head.startswith(begin):
                raise self.broken(f"it is packed with {packer}; unpack it first")
        if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in head[:2]:
            raise self.broken("it is UTF-16; save it as UTF-8")
        if wanted is Format.JSONL or member.name.lower().endswith(_JSON_SUFFIXES[1:]) or _is_lines(head):
            yield from self._lines()
            return
        first = head.lstrip(_SPACE)[:1]
        if first not in (b"[", b"{"):
            raise self.broken("it is no JSON, which begins with [ or {")
        prefix = "item" if first == b"[" else _wrapped(member)
        try:
            source = PlainNumbers(self._piece)
            for value in ijson.items(source, prefix, multiple_values=True, use_float=True, buf_size=_AT_ONCE):
                self._value_began = self.byte
                yield "", value
        except ijson.JSONError as error:
            self._go_back_to(error)
            raise self.broken(_told(error)) from error

    def _go_back_to(self, error: ijson.JSONError) -> None:
        """To where the parser stopped, in what was read last: it shows the text before that place, above an arrow."""
        lines = str(error).splitlines()
        before = lines[1][: lines[2].find("^")].strip().encode() if len(lines) > 2 else b""
        shown = self._recent.replace(b"\n", b" ").rfind(before) if before else -1
        if shown >= 0:
            after = self._recent[shown + len(before) :]
            self.byte -= len(after)
            self.line -= after.count(b"\n")

    def _lines(self) -> Iterator[tuple[str, Any]]:
        source = io.BufferedReader(_Ahead(self._ahead, self._file))
        self._ahead = b""
        number = 0
        while line := source.readline(MAX_CONVERSATION_BYTES + 1):
            number += 1
            self._passed(line)
            where = f"line {number:,}"
            if len(line) > MAX_CONVERSATION_BYTES:
                raise self.broken(f"line {number:,} has more than {MAX_CONVERSATION_BYTES:,} bytes")
            if not line.strip(_SPACE):
                continue
            try:
                yield where, next(ijson.items(PlainNumbers(io.BytesIO(line).read), "", use_float=True))
            except (ijson.JSONError, StopIteration) as error:
                yield where, Conversation("", refused=f"it is no JSON: {_told(error)}")

    def broken(self, reason: str) -> BrokenExport:
        return BrokenExport(self._name, reason, line=self.line, byte=self.byte)

    def _head(self) -> bytes:
        """The beginning of the file, which is read again afterwards, without a byte order mark."""
        self._ahead = self._file.read(_HEAD_BYTES)
        if self._ahead.startswith(_BOM):
            self._ahead = self._ahead[len(_BOM) :]
            self.byte = len(_BOM)
        return self._ahead

    def _passed(self, piece: bytes) -> None:
        self.byte += len(piece)
        self.line += piece.count(b"\n")
        self._recent = (self._recent + piece)[-2 * _AT_ONCE :]
        self._advance(len(piece))


def _is_deeper(value: Any, most: int) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        within = [each.values() if isinstance(each, dict) else each for each in level]
        level = [each for values in within for each in values if isinstance(each, (dict, list))]
        if not level:
            return False
    return True


class _Ahead(io.RawIOBase):
    """What was read ahead, and then the file."""

    def __init__(self, ahead: bytes, file: IO[bytes]) -> None:
        self._ahead, self._file = ahead, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._ahead[: len(buffer)] or self._file.read(len(buffer))
        self._ahead = self._ahead[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _is_lines(head: bytes) -> bool:
    """Whether a file begins with a line that is a whole object or list, and goes on with another."""
    first, _, rest = head.lstrip(_SPACE).partition(b"\n")
    return rest.lstrip(_SPACE)[:1] in (b"{", b"[") and rest[:1] not in (b" ", b"\t") and _is_json(first)


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), (dict, list))
    except (ValueError, RecursionError):
        return False


def _wrapped(member: Member) -> str:
    """Where the conversations stand in a file that is one object: the parser's prefix; "" if it is a conversation."""
    with member.opened() as file:
        inside = ""
        try:
            head = file.read(_HEAD_BYTES).removeprefix(_BOM)
            source = PlainNumbers(partial(io.BufferedReader(_Ahead(head, file)).read, _HEAD_BYTES))
            for prefix, event, value in ijson.parse(source, multiple_values=True):
                if inside and (prefix, event) == (f"{inside}.item", "map_key"):
                    return "" if value in ("from", "value", "role", "parts", "content") else f"{inside}.item"
                if inside and (prefix, event) == (f"{inside}.item", "start_array"):
                    return f"{inside}.item"
                if not prefix and event == "map_key":
                    inside = value if value in WRAPPERS else ""
                if not prefix and event == "end_map":
                    return ""
        except ijson.JSONError:
            return ""  # where it is broken is told by who reads it
    return ""


def _told(error: BaseException) -> str:
    """The parser's words, and what it shows of the text, on one line."""
    lines = str(error).removeprefix("b'").replace("\\n", "\n").splitlines()
    shown = lines[1].strip() if len(lines) > 1 else ""
    return lines[0].rstrip(".") + (f": {shown[:80]}" if shown else "") if lines else "nothing stands there"
