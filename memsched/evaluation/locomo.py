"""Reads the LoCoMo data set (Maharana et al. 2024): conversations with questions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memsched.errors import MemschedError

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}
_SESSION = re.compile(r"session_(\d+)")
_TIME = "%I:%M %p on %d %B, %Y"


class NotAConversationFile(MemschedError):
    """The file does not hold conversations in the form of LoCoMo."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One turn.

    Args:
        reference: its id in the file, by which questions name it as evidence.
        caption: what a model saw on its picture; "" where captions are left out.
    """

    speaker: str
    text: str
    reference: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """Turns that were said together, and when they began."""

    name: str
    began: datetime
    turns: list[Utterance]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, whose answer is in the conversation.

    Args:
        evidence: the turns that answer it, those that exist in the conversation; never empty.
        answer: what is right; of a question with a false premise, what it would have one believe.
    """

    text: str
    answer: str
    evidence: frozenset[str]
    category: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What two people said over many sessions, and questions about it.

    Args:
        without_evidence: how many questions name no turn of it, and are left out.
    """

    name: str
    sessions: list[Session]
    questions: list[Question]
    without_evidence: int

    @property
    def turns(self) -> int:
        return sum(len(session.turns) for session in self.sessions)


def read_conversations(file: Path, *, captions: bool = False) -> list[Conversation]:
    """All conversations of a file. Raises NotAConversationFile, saying what is wrong where, and OSError.

    Args:
        captions: read those of pictures too (``blip_caption``). Others leave them out, and so compare with us.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotAConversationFile(f"{file}: {error}.") from error
    if not isinstance(document, list) or not document:
        raise NotAConversationFile(f"{file}: expected a list of conversations.")
    found = []
    for number, sample in enumerate(document):
        try:
            found.append(_conversation(sample, number, captions=captions))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAConversationFile(f"{file}: conversation {number}: {type(error).__name__}: {error}.") from error
    return found


def _conversation(sample: Mapping[str, Any], number: int, *, captions: bool) -> Conversation:
    talk = sample["conversation"]
    numbers = sorted(int(match[1]) for key in talk if (match := _SESSION.fullmatch(key)))
    sessions = []
    for each in numbers:
        began = datetime.strptime(talk[f"session_{each}_date_time"], _TIME).replace(tzinfo=UTC)
        turns = [
            Utterance(turn["speaker"], turn["text"], turn["dia_id"], turn.get("blip_caption", "") if captions else "")
            for turn in talk[f"session_{each}"]
        ]
        sessions.append(Session(f"session_{each}", began, turns))
    known = {turn.reference for session in sessions for turn in session.turns}
    questions = []
    asked = sample.get("qa", [])
    for question in asked:
        evidence = frozenset(question.get("evidence") or ()) & known
        if evidence:
            category = CATEGORIES.get(question.get("category"), "other")
            answer = str(question.get("answer", question.get("adversarial_answer", "")))
            questions.append(Question(question["question"], answer, evidence, category))
    return Conversation(str(sample.get("sample_id", number)), sessions, questions, len(asked) - len(questions))
