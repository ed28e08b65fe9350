"""Replays conversations through the real pipeline as messages, then asks their questions and scores what is found."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import fmean, median

from memsched.evaluation.locomo import CATEGORIES, Conversation, Question, Session
from memsched.memory.model import Memory
from memsched.messages import ADD_TASK_LABEL, QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler

DEPTHS = (5, 10, 20)
ALL = "all"
CUBE = "conversation"
_TURN_SECONDS = 30
"""Between two turns; the file says when a session began, and not more."""
_PATIENCE_SECONDS = 300.0
Progress = Callable[[str, int], None]
"""Called with what is done, and how many steps that was."""


@dataclass(slots=True)
class Scores:
    """What was measured: recall and hits, by category and for all, as shares from 0 to 1, one per question."""

    recall: dict[str, dict[int, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    hit: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    turns: int = 0
    messages: int = 0
    questions: int = 0
    without_evidence: int = 0
    ingest_seconds: float = 0.0
    total_seconds: float = 0.0

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[step].append(time.perf_counter() - began)

    def as_flat(self) -> dict[str, float]:
        """One flat object: shares rounded to 4 digits, times in ms, rates per second."""
        flat: dict[str, float] = {}
        for category in (ALL, *CATEGORIES.values(), "other"):
            if not self.hit[category]:
                continue
            suffix = "" if category == ALL else f"_{category}"
            for depth in DEPTHS:
                flat[f"recall_at_{depth}{suffix}"] = round(fmean(self.recall[category][depth]), 4)
            flat[f"hit_at_20{suffix}"] = round(fmean(self.hit[category]), 4)
            flat[f"questions{suffix}"] = len(self.hit[category])
        flat |= {"turns": self.turns, "messages": self.messages, "without_evidence": self.without_evidence}
        flat["ingest_turns_per_s"] = round(self.turns / self.ingest_seconds, 1) if self.ingest_seconds else 0.0
        flat["messages_per_s"] = round(self.messages / self.total_seconds, 1) if self.total_seconds else 0.0
        for step, seconds in self.seconds.items():
            flat[f"{step}_mean_ms"] = round(1000 * fmean(seconds), 3)
            flat[f"{step}_p50_ms"] = round(1000 * median(seconds), 3)
        return flat


async def replay(scheduler: AsyncMemScheduler, conversations: Sequence[Conversation], progress: Progress) -> Scores:
    """Replay all, one after another; each belongs to a user of its own; all call their cube by one name."""
    scores = Scores()
    began = time.perf_counter()
    for conversation in conversations:
        user = f"reader of {conversation.name}"
        scores.turns += conversation.turns
        scores.without_evidence += conversation.without_evidence
        ingest = time.perf_counter()
        with scores.timed("submit"):
            await scheduler.submit_messages([as_message(session, user) for session in conversation.sessions])
        await scheduler.wait(user_id=user, timeout=_PATIENCE_SECONDS)
        took = time.perf_counter() - ingest
        scores.ingest_seconds += took
        scores.seconds["add"] += [took / conversation.turns] * conversation.turns
        scores.messages += 2 * len(conversation.sessions)  # add, and the mem_update that follows it
        progress(f"{conversation.name}: told", conversation.turns)
        for question in conversation.questions:
            await _ask(scheduler, user, question, scores)
            progress(f"{conversation.name}: asked", 1)
    scores.total_seconds = time.perf_counter() - began
    return scores


async def _ask(scheduler: AsyncMemScheduler, user: str, question: Question, scores: Scores) -> None:
    """What was ready before the question; what search finds; and then the talk goes on."""
    with scores.timed("working_set"):
        ready = await scheduler.working_set(user, CUBE)
    with scores.timed("search"):
        results = await scheduler.retriever.search(question.text, user, CUBE, top_k=max(DEPTHS))
    services = await scheduler.memory()
    ref = next((result.item.ref for result in results), None)
    stored = await services.store.get(ref, [each.memory_id for each in ready]) if ref is not None else {}
    scores.questions += 1
    hit = _share(question, stored.values())
    found = {depth: _share(question, [each.item for each in results[:depth]]) for depth in DEPTHS}
    for category in (ALL, question.category):
        scores.hit[category].append(hit)
        for depth, share in found.items():
            scores.recall[category][depth].append(share)
    message = ScheduleMessageItem(user_id=user, mem_cube_id=CUBE, label=QUERY_TASK_LABEL, content=question.text)
    with scores.timed("query_to_ready"):
        await scheduler.submit_messages(message)
        await scheduler.wait(user_id=user, timeout=_PATIENCE_SECONDS)
    scores.messages += 2


def _share(question: Question, memories: Iterable[Memory]) -> float:
    """How much of the evidence is among the memories, by the file's own ids of the turns they come from."""
    told = {reference for memory in memories for reference in memory.sources.values()}
    return len(question.evidence & told) / len(question.evidence)


def as_message(session: Session, user: str) -> ScheduleMessageItem:
    """A session as it is told: one message to the user's cube."""
    return ScheduleMessageItem(
        user_id=user,
        mem_cube_id=CUBE,
        label=ADD_TASK_LABEL,
        content="",
        session_id=session.name,
        timestamp=session.began,
        chat_history=[
            {
                "speaker": turn.speaker,
                "content": turn.text,
                "blip_caption": turn.caption,
                "id": turn.reference,
                "timestamp": (session.began + timedelta(seconds=_TURN_SECONDS * number)).isoformat(),
            }
            for number, turn in enumerate(session.turns)
        ],
    )
