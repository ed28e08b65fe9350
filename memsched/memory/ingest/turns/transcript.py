"""A chat that was pasted as one text: "User: ..." and "Assistant: ..." line by line, read as its turns."""

from __future__ import annotations

import re
from collections.abc import Mapping

from memsched.memory.ingest.turns.forms import TRANSCRIPT

_ROLES = {word: role for role, spelled in TRANSCRIPT.items() for word in spelled}
_SPEAKER = re.compile(
    r"[ \t]*(?:\*\*)?(?P<word>[^\W\d_]{1,12})(?:\*\*)?[ \t]?[:\uff1a](?:\*\*)?(?:\s+|$|(?<=\uff1a)|(?=[\u4e00-\u9fff]))"
)
_TALK = re.compile(r"\w\W+\w|[\u4e00-\u9fff]{3}")
"""Two words: what a table or a log has behind a name is mostly one."""


def transcript_of(text: str) -> list[Mapping[str, str]]:
    """The turns of a text that is wholly a talk of a user with an assistant, told by role words; else none.

    They take turns, from the first line on. So a text that quotes a chat, people who are called by their names, and a
    line that happens to begin with "User:" stay what they are.
    """
    turns: list[tuple[str, list[str]]] = []
    for line in text.strip().splitlines():
        speaker = _SPEAKER.match(line)
        role = _ROLES.get(speaker["word"].lower()) if speaker else None
        if speaker is not None and role is not None:
            if turns and turns[-1][0] == role:
                return []
            turns.append((role, [line[speaker.end() :]]))
        elif turns:
            turns[-1][1].append(line)
        else:
            return []
    said = [(role, "\n".join(lines).strip()) for role, lines in turns]
    talking = {role for role, told in said if _TALK.search(told)}
    return [{"role": role, "content": told} for role, told in said] if {"user", "assistant"} <= talking else []
