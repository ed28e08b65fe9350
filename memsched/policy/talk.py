"""What a policy looks at beside the memories: the last questions and answers, and the log of what answers used."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from typing import Literal
from zlib import crc32

from pydantic import BaseModel, ConfigDict

ANSWERS_KEPT = 64
"""In the log."""
_EVER = (-math.inf, "")
_NO_ANSWER = ".0"
"""How the basis ends of an exchange without one."""
ANSWERS_PAIRED = 2 * ANSWERS_KEPT
"""Of which it is known which question they answer: some take two messages."""


class TalkEvent(BaseModel):
    """A question that was asked lately, or an answer that was given.

    Attributes:
        event_id: what its message is called within the cube.
        at: ms since the epoch.
        thread: in which conversation, "" where nobody said: an answer answers the last question of its own.
        hits: of a question, and of an answer to none, what search found: (memory id, score from 0 to 1), best first;
            None while nobody looked.
        seen: a checksum of the memories that there were to be found, and how many of these were corrected or put away;
            when that changes (one came late, one was corrected) the hits are found anew.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    kind: Literal["question", "answer"] = "question"
    at: int
    text: str
    thread: str = ""
    hits: list[tuple[str, float]] | None = None
    seen: tuple[int, int] | None = None

    @property
    def order(self) -> tuple[int, str]:
        return self.at, self.event_id

    @property
    def as_said(self) -> TalkEvent:
        """The same event, as if nobody had looked."""
        return self if self.hits is None else self.model_copy(update={"hits": None, "seen": None})


class Answered(BaseModel):
    """One event of the log: a question, and what its answer used.

    Attributes:
        event_id: of the question; of the answer, where it answered none.
        at: ms since the epoch.
        credited: ids of the memories that the answer used, best first; at most two. None where nothing was found, and
            while a vague request waits for its answer.
        basis: what that follows from, in short (``basis_of``); "": from what nobody has any more.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    at: int
    credited: list[str]
    basis: str = ""

    @property
    def order(self) -> tuple[int, str]:
        return self.at, self.event_id

    @property
    def was_answered(self) -> bool:
        """Whether its question had an answer by then; not where nobody knows any more."""
        return bool(self.basis) and not self.basis.endswith(_NO_ANSWER)

    def without(self, memory_ids: Container[str]) -> Answered:
        """The same event, as if it had not used these."""
        return self.model_copy(update={"credited": [each for each in self.credited if each not in memory_ids]})


def exchanges(talk: Sequence[TalkEvent]) -> list[tuple[TalkEvent, TalkEvent | None]]:
    """Each question with its answer, if it has one; and each answer to no question, by itself.

    An answer belongs to the last question before it in its thread, and in any if it names none; of several answers to
    one question the last one counts.
    """
    pairs: dict[str, tuple[TalkEvent, TalkEvent | None]] = {}
    questions: list[TalkEvent] = []
    for event in sorted(talk, key=lambda event: event.order):
        if event.kind == "question":
            questions.append(event)
            pairs[event.event_id] = event, None
            continue
        asked = next((each for each in reversed(questions) if event.thread in ("", each.thread)), None)
        pairs[event.event_id if asked is None else asked.event_id] = (event, event) if asked is None else (asked, event)
    return list(pairs.values())


def basis_of(seen: tuple[int, int], answer: TalkEvent | None) -> str:
    """What the credit of an exchange follows from: the memories that there were to be found, and the answer."""
    return f"{seen_part(seen)}{crc32(answer.event_id.encode()) if answer else 0:x}"


def seen_part(seen: tuple[int, int]) -> str:
    """How the basis begins of any exchange that had these memories to be found."""
    return f"{seen[0]:x}.{seen[1]:x}."


def latest(talk: Sequence[TalkEvent], window: int) -> list[TalkEvent]:
    """The last questions with the answers that count, and the last answers to none of the same time."""
    pairs = sorted(exchanges(talk), key=lambda pair: pair[0].order)
    questions = [pair for pair in pairs if pair[0].kind == "question"][-window:]
    since = questions[0][0].order if len(questions) == window else _EVER
    others = [pair for pair in pairs if pair[0].kind == "answer" and pair[0].order > since][-window:]
    kept = {event.event_id: event for pair in (*questions, *others) for event in pair if event is not None}
    return sorted(kept.values(), key=lambda event: event.order)


def paired(talk: Iterable[TalkEvent]) -> list[TalkEvent]:
    """As much of the talk as the log tells of, oldest first: the last questions, and the last answers of their time."""
    ordered = sorted({event.event_id: event for event in talk}.values(), key=lambda event: event.order)
    questions = [event for event in ordered if event.kind == "question"][-ANSWERS_KEPT:]
    since = questions[0].order if len(questions) == ANSWERS_KEPT else _EVER
    answers = [event for event in ordered if event.kind == "answer" and event.order > since][-ANSWERS_PAIRED:]
    return sorted([*questions, *answers], key=lambda event: event.order)
