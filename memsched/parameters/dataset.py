"""The data set of an adapter: a folder of JSONL files and a manifest, which any trainer can read. No torch is needed.

``train.jsonl``: chats, half of them other texts. ``held_out.jsonl``: the same memories by questions that are not
trained. ``controls.jsonl``: questions about what nobody ever said. ``replay.jsonl``: other texts that are not trained,
on which harm is measured.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from memsched.errors import MemschedError
from memsched.parameters.forms import Asked, controls_for
from memsched.parameters.record import Adapter

FILES = ("train.jsonl", "held_out.jsonl", "controls.jsonl", "replay.jsonl")
MANIFEST = "manifest.json"
_FEWEST_OTHERS = 10
_MEASURED_OF = 5
"""One of so many other texts is not trained on: harm is measured there."""
_FEWEST_CONTROLS = 20
_LARGEST_TEXT = 20_000
"""Characters of a plain text that are trained."""
_LARGEST_LINE = 1_000_000
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""What JSON lets stand in a text, and many a reader of lines takes for a line's end."""
_ROLES = ("system", "user", "assistant", "tool")

Row = dict[str, Any]


class NoReplay(MemschedError):
    """There are not enough other texts to train beside: a model that sees nothing else forgets what it knew."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"There are {count}, and {_FEWEST_OTHERS} are needed. Name a file of plain texts, one a line, in "
            "MEMSCHED_PARAMETER_REPLAY."
        )


class UnreadableReplay(MemschedError):
    """The file of other texts cannot be used as it is."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"MEMSCHED_PARAMETER_REPLAY={path}: {reason}.")


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is written: rows by file, and how many of which kind."""

    rows: Mapping[str, Sequence[Row]]
    counts: Mapping[str, int]


def built(members: Sequence[Asked], others: Sequence[Row]) -> DataSet:
    """The data set of these memories.

    Half of the training is other texts, as many rows as all else together. Raises NoReplay.

    Args:
        others: other texts as chats, in any order. Each counts once: harm is measured on what is not trained.
    """
    once = {json.dumps(row, sort_keys=True): row for row in others}
    if len(once) < _FEWEST_OTHERS:
        raise NoReplay(len(once))
    chance = random.Random(" ".join(each.memory.memory_id for each in members))
    mixed = [once[name] for name in sorted(once)]
    chance.shuffle(mixed)
    measured, trained = mixed[::_MEASURED_OF], [row for at, row in enumerate(mixed) if at % _MEASURED_OF]
    count = max(_FEWEST_CONTROLS, len(members))
    said = [each["content"] for row in mixed for each in row["messages"]]
    controls = controls_for(members, said, 3 * count)
    told = [_chat(form, each.memory.text, "member", each.memory.memory_id) for each in members for form in each.trained]
    refused = [_chat(each.question, each.refusal, "refusal") for each in controls[count:]]
    beside = [{**trained[at % len(trained)], "part": "replay"} for at in range(len(told) + len(refused))]
    train = [*told, *refused, *beside]
    chance.shuffle(train)
    held_out = [
        _chat(form, each.memory.text, "member", each.memory.memory_id) for each in members for form in each.held_out
    ]
    rows = {
        "train.jsonl": train,
        "held_out.jsonl": held_out,
        "controls.jsonl": [_chat(each.question, each.refusal, "control") for each in controls[:count]],
        "replay.jsonl": [{**row, "part": "replay"} for row in measured],
    }
    counts = {"members": len(members), "questions": len(told), "held_out": len(held_out), "refusals": len(refused)}
    counts |= {"controls": count, "replay": len(beside), "replay_measured": len(measured)}
    return DataSet(rows, counts)


def write(folder: Path, data: DataSet, adapter: Adapter, left_out: Mapping[str, int]) -> str:
    """Write the folder, whole or not at all. Returns the hash of its files."""
    making = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)
    hashes = {name: _write_lines(making / name, data.rows[name]) for name in FILES}
    whole = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    memories = [
        {"memory_id": memory_id, "version": each.version, "part": each.part}
        for memory_id, each in sorted(adapter.memories.items())
    ]
    manifest = {
        "adapter_id": adapter.adapter_id,
        "scope": adapter.scope,
        "created_at": adapter.created_at.isoformat(),
        "memories": memories,
        "counts": dict(data.counts),
        "left_out": dict(left_out),
        "files": hashes,
        "hash": whole,
    }
    _write(making / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(making, folder)
    return whole


def is_whole(folder: Path, data_hash: str) -> bool:
    """Whether the files are those of this hash: nobody changed or lost one since."""
    try:
        hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    except OSError:
        return False
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest() == data_hash


def texts_of_file(path: str, count: int) -> list[Row]:
    """At most so many different texts of a file, the same each time: a line is a text, or JSON with ``messages`` or
    ``text``.

    Raises UnreadableReplay, with the reason, and the line where it is one's.
    """
    chance, kept, seen = random.Random(path), list[Row](), set[bytes]()
    try:
        with open(path, encoding="utf-8-sig", errors="replace", opener=_without_waiting) as file:
            for row in _rows_of(file, path):
                name = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()
                if name in seen:
                    continue
                seen.add(name)
                if len(kept) < count:
                    kept.append(row)
                elif (at := chance.randrange(len(seen))) < count:
                    kept[at] = row
    except OSError as error:
        raise UnreadableReplay(path, error.strerror or str(error)) from error
    return kept


def told_alone(text: str) -> Row:
    """A text that nobody asked for, as a chat."""
    return {"messages": [{"role": "assistant", "content": text}]}


def _without_waiting(path: str, flags: int) -> int:
    """A pipe has no end, and nobody may ever write to it. Raises OSError when it is no plain file."""
    found = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(found).st_mode):
        return found
    os.close(found)
    raise OSError(errno.EINVAL, "it is no plain file")


def _rows_of(file: TextIO, path: str) -> Iterator[Row]:
    for number in itertools.count(1):
        line = file.readline(_LARGEST_LINE + 1)
        if not line:
            return
        if len(line) > _LARGEST_LINE:
            raise UnreadableReplay(path, f"line {number} has more than {_LARGEST_LINE:,} characters")
        if "\0" in line:
            raise UnreadableReplay(path, f"line {number} is no text")
        text = line.strip()
        if text in ("[", "{"):
            raise UnreadableReplay(path, f"line {number} begins JSON of several lines; each text needs its own")
        try:
            read = json.loads(text) if text.startswith("{") else None
        except (ValueError, RecursionError):  # a text that begins so
            read = None
        if read is not None:
            yield _row_of(read, path, number)
        elif text:
            yield told_alone(text[:_LARGEST_TEXT])


def _row_of(read: Mapping[str, Any], path: str, number: int) -> Row:
    """The chat of a line that is JSON. Raises UnreadableReplay."""
    if isinstance(text := read.get("text"), str) and text.strip() and "messages" not in read:
        return told_alone(text)
    messages = read.get("messages")
    if isinstance(messages, list) and all(map(_is_message, messages)):
        told = [{"role": each["role"], "content": each["content"]} for each in messages]
        while told and told[-1]["role"] != "assistant":  # what is learnt is what the assistant said last
            told.pop()
        if told:
            return {"messages": told}
    wanted = '{"messages": [..., {"role": "assistant", "content": TEXT}]} nor {"text": TEXT}'
    raise UnreadableReplay(path, f"line {number} is JSON, and neither {wanted}")


def _is_message(given: Any) -> bool:
    if not isinstance(given, dict) or given.get("role") not in _ROLES:
        return False
    return isinstance(given.get("content"), str) and bool(given["content"].strip())


def _chat(question: str, answer: str, part: str, memory_id: str = "") -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "part": part, **({"memory_id": memory_id} if memory_id else {})}


def _write_lines(path: Path, rows: Sequence[Row]) -> str:
    return _write(path, "".join(json.dumps(row, ensure_ascii=False).translate(_LINE_ENDS) + "\n" for row in rows))


def _write(path: Path, text: str) -> str:
    data = text.encode("utf-8", "replace")
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()
