"""What commands say to people: in their words, without codes of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from memsched.cli.app import app
from memsched.cli.exit_codes import described
from memsched.plurals import counted


def test_one_is_no_plural() -> None:
    assert [counted(number, "turn") for number in (0, 1, 2000)] == ["0 turns", "1 turn", "2,000 turns"]
    assert [counted(number, "memory", "memories") for number in (1, 2)] == ["1 memory", "2 memories"]


def test_an_import_of_one_conversation_says_so() -> None:
    Path("talk.jsonl").write_text('{"role": "user", "content": "I live in Oslo."}\n')

    told = CliRunner().invoke(app, ["import", "talk.jsonl", "--user", "u", "--cube", "c", "--dry-run"])

    assert "would be kept: 1 conversation; 1 turn" in told.output


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError) as missing:
        Path("talk.json").read_text()

    assert described(missing.value) == ("talk.json: No such file or directory", 1)


def test_a_time_that_is_none_is_answered_with_one() -> None:
    told = CliRunner().invoke(app, ["search", "--user", "u", "--cube", "c", "--at", "yesterday", "Oslo"])

    words = " ".join(told.output.replace("\u2502", " ").split())
    assert told.exit_code == 2
    assert "'yesterday' is no time: write a day (2026-05-01), or a time (2026-05-01T10:30:00Z)" in words
    assert "%Y" not in told.output
