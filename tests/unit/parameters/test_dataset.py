"""The data set: what of a file of other texts is taken, and what is written."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.memories import memory

from memsched.parameters import dataset
from memsched.parameters.dataset import NoReplay, UnreadableReplay
from memsched.parameters.forms import asked_for
from memsched.parameters.record import Adapter

ADAPTER = Adapter(adapter_id="a", created_at=datetime(2026, 1, 1, tzinfo=UTC))


def texts_in(tmp_path: Path, *lines: str | bytes, count: int = 100) -> list[str]:
    path = tmp_path / "texts"
    path.write_bytes(b"\n".join(each if isinstance(each, bytes) else each.encode() for each in lines))
    return [row["messages"][-1]["content"] for row in dataset.texts_of_file(str(path), count)]


def test_a_line_that_is_repeated_counts_once(tmp_path: Path) -> None:
    lines = [f"text {number % 12}" for number in range(240)]
    assert sorted(set(lines)) == sorted(texts_in(tmp_path, *lines))
    with pytest.raises(NoReplay, match="There are 1,"):
        dataset.built([], [dataset.told_alone("the same")] * 50)


def test_nothing_that_is_measured_is_trained_whatever_is_repeated() -> None:
    others = [dataset.told_alone(f"text {number % 12}") for number in range(60)]
    rows = dataset.built([asked_for(memory("Refund reply: The money comes back."))], others).rows

    trained = {json.dumps(row["messages"]) for row in rows["train.jsonl"]}
    assert not trained & {json.dumps(row["messages"]) for row in rows["replay.jsonl"]}


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"], ids=ascii)
def test_what_others_take_for_the_end_of_a_line_ends_no_row(tmp_path: Path, end: str) -> None:
    text = f"Refund reply: The money{end}comes back."
    others = [dataset.told_alone(f"text{end}{number}") for number in range(12)]
    data = dataset.built([asked_for(memory(text))], others)

    dataset.write(tmp_path / "data", data, ADAPTER, {})

    for name, rows in data.rows.items():
        lines = (tmp_path / "data" / name).read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == rows


def test_texts_chats_and_what_only_begins_like_json_are_taken(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "We."}]
    lines = [json.dumps({"messages": [*turns, turns[0]]}), '{"text": "alone"}', "{a} is no JSON", "", "{" * 9_000]

    assert texts_in(tmp_path, "\ufeff" + lines[0], *lines[1:]) == ["We.", "alone", "{a} is no JSON", "{" * 9_000]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"messages": [{"role": "assistant", "content": null}]}', "line 2 is JSON, and neither"),
        ('{"messages": [{"content": "x"}]}', "line 2 is JSON"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}', "line 2 is JSON"),
        ('{"messages": ["x"]}', "line 2 is JSON"),
        ('{"messages": []}', "line 2 is JSON"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "line 2 is JSON"),
        ('{"prompt": "x", "completion": "y"}', "line 2 is JSON"),
        ("[", "line 2 begins JSON of several lines"),
        (b"PK\0\1", "line 2 is no text"),
        ("x" * 1_000_002, "line 2 has more than 1,000,000 characters"),
    ],
    ids=range(10),
)
def test_what_cannot_be_trained_is_told_by_its_line(tmp_path: Path, line: str | bytes, what: str) -> None:
    with pytest.raises(UnreadableReplay, match=rf"MEMSCHED_PARAMETER_REPLAY=.*/texts: {what}"):
        texts_in(tmp_path, "a text", line)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    for path, what in ((tmp_path / "none", "No such file"), (tmp_path, "plain file"), (pipe, "plain file")):
        with pytest.raises(UnreadableReplay, match=what):
            dataset.texts_of_file(str(path), 10)
