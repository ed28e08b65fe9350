"""What a policy looks at beside the memories: the last questions and answers, and the log of what answers used."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Literal

from pydantic import BaseModel, ConfigDict

ANSWERS_KEPT = 64
"""In the log."""


class TalkEvent(BaseModel):
    """A question that was asked lately, or an answer that was given.

    Attributes:
        event_id: what its message is called within the cube.
        at: ms since the epoch.
        thread: in which conversation, "" where nobody said: an answer answers the last question of its own.
        hits: of a question, and of an answer to none, what search found: (memory id, score from 0 to 1), best first;
            None while nobody looked.
        seen: how many memories there were to be found, and how many of these were marked; when that changes (one came
            late, one was corrected) the hits are found anew.
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


class Answered(BaseModel):
    """One event of the log: a question, and what its answer used.

    Attributes:
        event_id: of the question; of the answer, where it answered none.
        at: ms since the epoch.
        credited: ids of the memories that the answer used, best first; at most two.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    at: int
    credited: list[str]

    @property
    def order(self) -> tuple[int, str]:
        return self.at, self.event_id

    def without(self, memory_ids: Set[str]) -> Answered:
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


def latest(talk: Sequence[TalkEvent], window: int) -> list[TalkEvent]:
    """The last questions, and the last answers of the same time."""
    ordered = sorted(talk, key=lambda event: event.order)
    questions = [event for event in ordered if event.kind == "question"][-window:]
    since = questions[0].order if len(questions) == window else (0, "")
    answers = [event for event in ordered if event.kind == "answer" and event.order > since][-window:]
    return sorted([*questions, *answers], key=lambda event: event.order)
