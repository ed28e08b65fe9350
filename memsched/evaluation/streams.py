"""Streams: when the questions of a conversation are asked while it goes on.

A policy that keeps memories near is as good as its guess of what comes next, and that depends on when people ask.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from memsched.evaluation.locomo import Conversation, Question, Session, Utterance

TURN_SECONDS = 30
"""Between two turns; the file says when a session began, and not more."""
_LAGS = (1, 9)
_HABIT = 5
"""Sessions back."""


@dataclass(frozen=True, slots=True)
class Told:
    """Turns of one session that are told together."""

    session: Session
    first: int
    turns: Sequence[Utterance]

    def at(self, number: int) -> datetime:
        """When the turn with this number among them was said."""
        return self.session.began + timedelta(seconds=TURN_SECONDS * (self.first + number))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and when it is asked."""

    question: Question
    at: datetime


Place = Callable[[random.Random, int, int, Sequence[int]], int]
"""Gets chance, the turn and the session of a question's last evidence, and where each session ends. Returns after how
many turns it is asked."""


def _after_sessions(sessions: int, session: int, ends: Sequence[int]) -> int:
    return ends[min(session + sessions, len(ends) - 1)]


STREAMS: Mapping[str, Place] = {
    "soon": lambda _, turn, session, ends: ends[session],
    "uniform": lambda chance, turn, session, ends: chance.randint(turn + 1, ends[-1]),
    "later5": lambda _, turn, session, ends: _after_sessions(_HABIT, session, ends),
    "end_order": lambda _, turn, session, ends: ends[-1],
    "lag1to9": lambda chance, turn, session, ends: _after_sessions(chance.randint(*_LAGS), session, ends),
}
"""``soon``: at the end of the session that has its last evidence. ``uniform``: after any later turn. ``later5``: five
sessions later. ``end_order``: after everything, in the file's order. ``lag1to9``: so many sessions later, drawn anew
for each question."""


def steps_of(conversation: Conversation, stream: str) -> list[Told | Asked]:
    """What is told and asked, in order. Questions after the same turn are asked in the file's order."""
    chance, place = random.Random(f"{stream} {conversation.name}"), STREAMS[stream]
    turns = [(session, number) for number, session in enumerate(conversation.sessions) for _ in session.turns]
    references = [turn.reference for session in conversation.sessions for turn in session.turns]
    by_reference = {reference: at for at, reference in enumerate(references)}
    ends = list(accumulate(len(session.turns) for session in conversation.sessions))
    asked: dict[int, list[Question]] = {}
    for question in conversation.questions:
        last = max(by_reference[reference] for reference in question.evidence)
        asked.setdefault(place(chance, last, turns[last][1], ends), []).append(question)
    steps: list[Told | Asked] = []
    for number, session in enumerate(conversation.sessions):
        begin = ends[number] - len(session.turns)
        cuts = sorted({0, len(session.turns), *(at - begin for at in asked if begin < at < ends[number])})
        for first, end in pairwise(cuts):
            told = Told(session, first, session.turns[first:end])
            steps.append(told)
            for nth, question in enumerate(asked.get(begin + end, ()), 1):
                steps.append(Asked(question, told.at(end - first - 1) + timedelta(seconds=nth)))
    return steps
