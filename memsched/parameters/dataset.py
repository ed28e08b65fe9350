"""The data set of an adapter: a folder of JSONL files and a manifest, which any trainer can read. No torch is needed.

``train.jsonl``: chats, half of them other texts. ``held_out.jsonl``: the same memories by questions that are not
trained. ``controls.jsonl``: questions about what nobody ever said. ``replay.jsonl``: other texts that are not trained,
on which harm is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memsched.errors import MemschedError
from memsched.parameters.forms import Asked, controls_for
from memsched.parameters.record import Adapter

FILES = ("train.jsonl", "held_out.jsonl", "controls.jsonl", "replay.jsonl")
MANIFEST = "manifest.json"
_FEWEST_OTHERS = 10
_MEASURED_OF = 5
"""One of so many other texts is not trained on: harm is measured there."""
_FEWEST_CONTROLS = 20
_LARGEST_LINE = 20_000

Row = dict[str, Any]


class NoReplay(MemschedError):
    """There are not enough other texts to train beside: a model that sees nothing else forgets what it knew."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"There are {count}, and {_FEWEST_OTHERS} are needed. Name a file of plain texts, one a line, in "
            "MEMSCHED_PARAMETER_REPLAY."
        )


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is written: rows by file, and how many of which kind."""

    rows: Mapping[str, Sequence[Row]]
    counts: Mapping[str, int]


def built(members: Sequence[Asked], others: Sequence[Row]) -> DataSet:
    """The data set of these memories.

    Half of the training is other texts, as many rows as all else together. Raises NoReplay.

    Args:
        others: other texts as chats, in any order.
    """
    if len(others) < _FEWEST_OTHERS:
        raise NoReplay(len(others))
    chance = random.Random(" ".join(each.memory.memory_id for each in members))
    mixed = sorted(others, key=lambda row: json.dumps(row, sort_keys=True))
    chance.shuffle(mixed)
    measured, trained = mixed[::_MEASURED_OF], [row for at, row in enumerate(mixed) if at % _MEASURED_OF]
    count = max(_FEWEST_CONTROLS, len(members))
    said = [each["content"] for row in others for each in row["messages"]]
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
    """At most so many texts of a file, the same each time: a line is a text, or JSON with ``messages`` or ``text``.

    Raises NoReplay, with the reason, if it cannot be read.
    """
    chance, kept = random.Random(path), list[Row]()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for number, row in enumerate(_rows_of(file)):
                if len(kept) < count:
                    kept.append(row)
                elif (at := chance.randrange(number + 1)) < count:
                    kept[at] = row
    except OSError as error:
        raise MemschedError(f"MEMSCHED_PARAMETER_REPLAY={path} cannot be read: {error.strerror}.") from error
    return kept


def told_alone(text: str) -> Row:
    """A text that nobody asked for, as a chat."""
    return {"messages": [{"role": "assistant", "content": text}]}


def _rows_of(file: Any) -> Iterator[Row]:
    for line in file:
        text = line.strip()[:_LARGEST_LINE]
        if not text:
            continue
        try:
            read = json.loads(text) if text.startswith("{") else None
        except ValueError:
            read = None
        if isinstance(read, dict) and isinstance(read.get("messages"), list):
            yield {"messages": read["messages"]}
        elif isinstance(read, dict) and isinstance(read.get("text"), str):
            yield told_alone(read["text"])
        else:
            yield told_alone(text)


def _chat(question: str, answer: str, part: str, memory_id: str = "") -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "part": part, **({"memory_id": memory_id} if memory_id else {})}


def _write_lines(path: Path, rows: Sequence[Row]) -> str:
    return _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write(path: Path, text: str) -> str:
    data = text.encode("utf-8", "replace")
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()
