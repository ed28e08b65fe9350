"""What was said, taken out of messages of many forms: the one reader of conversations.

``reader`` reads, ``forms`` (forms.json) knows the names that programs have for things, ``times`` tells when, and
``wordless`` what is no words.
"""

from memsched.memory.ingest.turns.reader import (
    MAX_STATEMENT_CHARACTERS,
    MAX_TURNS,
    MAX_UTTERANCE_CHARACTERS,
    Passed,
    Reading,
    Refused,
    Talk,
    Turn,
    as_kept,
    entries_of,
    read,
    reading_of,
    refuse_role,
    statement_of,
    turns_of,
    with_time,
)
from memsched.memory.ingest.turns.transcript import transcript_of

__all__ = [
    "MAX_STATEMENT_CHARACTERS",
    "MAX_TURNS",
    "MAX_UTTERANCE_CHARACTERS",
    "Passed",
    "Reading",
    "Refused",
    "Talk",
    "Turn",
    "as_kept",
    "entries_of",
    "read",
    "reading_of",
    "refuse_role",
    "statement_of",
    "transcript_of",
    "turns_of",
    "with_time",
]
