"""The text of an export is not something that was said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memsched.errors import InvalidMessage
from memsched.memory.exports.pasted import refuse_export

DATA = Path(__file__).parents[3] / "data" / "exports"
MESSAGE = {"role": "user", "content": "I ski."}
SAID = {
    "a text": "I ski.",
    "a note in brackets": "[12:30] Bob: I ski.",
    "code": '{"role": "admin", "user": 7}',
    "one message, whose form somebody asks about": json.dumps(MESSAGE),
    "a list of other things": '[{"type": "Feature", "id": 1}, {"type": "Feature", "id": 2}]',
    "half of a sentence with JSON": 'Why is {"role": "user"} wrong?',
    "JSON that is none": '[{"role": "user", "content": }]',
    "a sign": "[",
}


@pytest.mark.parametrize("file", sorted(path.name for path in DATA.iterdir()))
def test_the_text_of_an_export_says_that_import_is_meant(file: str) -> None:
    with pytest.raises(InvalidMessage, match="memsched import FILE"):
        refuse_export((DATA / file).read_text(), "content")


def test_an_export_that_is_cut_off_or_wrapped_is_one_too() -> None:
    chat = (DATA / "chatgpt.json").read_text()

    for text in (chat[:-90], json.dumps({"conversations": json.loads(chat)}), json.dumps([MESSAGE, MESSAGE])):
        with pytest.raises(InvalidMessage, match="memsched import FILE"):
            refuse_export(text, "content")


@pytest.mark.parametrize("what", SAID)
def test_what_somebody_says_is_none(what: str) -> None:
    refuse_export(SAID[what], "content")
