"""What memsched asks a language model for, as typed functions. Each raises LLMError; its caller has a local form."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from memsched.llm.client import LLM
from memsched.llm.errors import LLMRubbish
from memsched.llm.prompts import EXTRACT, FEEDBACK, RERANK, USED, numbered
from memsched.llm.schemas import ExtractedMemory, Extraction, Feedback, Ranking, Used, verified
from memsched.llm.verification import normalised, unsupported

log = structlog.get_logger(__name__)

_PROMPT_CHARACTERS = 12_000
"""Of conversation in one prompt: about 3,000 tokens, which with the answer fit into a window of 8,192."""
_TURN_CHARACTERS = 6_000
"""Of one turn that the model sees."""
_AROUND_A_TURN = 100
"""Characters for its index, speaker and time."""
_EXTRACT_TOKENS = 3072
_SHORT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class SourceTurn:
    """One turn of a conversation. at: when it was said, ISO 8601, or empty."""

    speaker: str
    text: str
    at: str = ""


async def extract(
    llm: LLM, turns: Sequence[SourceTurn], *, budget_seconds: float | None = None
) -> list[ExtractedMemory]:
    """The memories in a conversation that its turns really support; source_turns are indices into ``turns``.

    Nothing in it is a reason to drop a turn: an empty list may mean that the model obeyed what somebody wrote there.
    """
    deadline = _Deadline(llm, budget_seconds)
    texts, speakers = [turn.text[:_TURN_CHARACTERS] for turn in turns], [turn.speaker[:200] for turn in turns]
    claimed: list[ExtractedMemory] = []
    for begin, end in _portions(texts):
        shown = [
            {"index": index, "speaker": speakers[index], "at": turns[index].at[:40], "text": texts[index]}
            for index in range(begin, end)
        ]
        extraction = await llm.complete_json(
            EXTRACT.messages(turns=shown),
            Extraction,
            budget_seconds=deadline.left,
            max_tokens=_EXTRACT_TOKENS,
            task="extract",
        )
        claimed += extraction.memories
    rejected: Counter[str] = Counter()
    # At worst (long turns, a hundred memories) this takes a second, which heartbeats must not wait for.
    found = await asyncio.to_thread(
        verified, Extraction.model_construct(memories=claimed), texts, speakers=speakers, rejected=rejected
    )
    llm.counters.rejections.update(rejected)
    log.debug(
        "memories were extracted", action="llm.extracted", turns=len(turns), kept=len(found), rejected=dict(rejected)
    )
    return found


async def rerank(llm: LLM, query: str, texts: Sequence[str], budget_seconds: float | None = None) -> list[int]:
    """Indices of all texts, the most helpful for the query first; those that the model forgot come last, in order."""
    if len(texts) < 2:
        return list(range(len(texts)))
    ranking = await llm.complete_json(
        RERANK.messages(query=query[:4000], memories=numbered(texts, 400)),
        Ranking,
        budget_seconds=budget_seconds,
        max_tokens=_SHORT_TOKENS,
        task="rerank",
    )
    ranked = [index for index in dict.fromkeys(ranking.order) if 0 <= index < len(texts)]
    return list(dict.fromkeys((*ranked, *range(len(texts)))))


async def used(llm: LLM, answer: str, texts: Sequence[str], budget_seconds: float | None = None) -> set[int]:
    """Indices of the texts that the answer used."""
    if not texts or not answer.strip():
        return set()
    claim = await llm.complete_json(
        USED.messages(answer=answer[:_TURN_CHARACTERS], memories=numbered(texts)),
        Used,
        budget_seconds=budget_seconds,
        max_tokens=_SHORT_TOKENS,
        task="used",
    )
    return {index for index in claim.used if 0 <= index < len(texts)}


async def correction(llm: LLM, text: str, memories: Sequence[str], budget_seconds: float | None = None) -> Feedback:
    """Which memory a correction in natural language is about, and what is right now.

    Raises LLMRubbish also when the model's text says more than the correction and the corrected memory do.
    """
    feedback = await llm.complete_json(
        FEEDBACK.messages(correction=text[:_TURN_CHARACTERS], memories=numbered(memories)),
        Feedback,
        budget_seconds=budget_seconds,
        max_tokens=_SHORT_TOKENS,
        task="correction",
    )
    index = feedback.corrected
    if index is not None and index >= len(memories):
        raise LLMRubbish("It corrects a memory that it was not shown.")
    sources = [text] if index is None else [text, memories[index]]
    if feedback.text and (reason := unsupported(feedback.text, sources)):
        raise LLMRubbish(f"The corrected text is not supported by the correction ({reason}).")
    if index is None and not feedback.text:
        raise LLMRubbish("It corrects nothing.")
    if index is not None and normalised(feedback.text) == normalised(memories[index]):
        raise LLMRubbish("It leaves the memory as it is.")
    return feedback


class _Deadline:
    """One time budget for several calls."""

    def __init__(self, llm: LLM, budget_seconds: float | None) -> None:
        self._clock = asyncio.get_running_loop().time
        self._at = self._clock() + (llm.budget_seconds if budget_seconds is None else budget_seconds)

    @property
    def left(self) -> float:
        return self._at - self._clock()


def _portions(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of turns that fit into one prompt, in order."""
    begin = size = 0
    for index, text in enumerate(texts):
        if index > begin and size + len(text) > _PROMPT_CHARACTERS:
            yield begin, index
            begin, size = index, 0
        size += len(text) + _AROUND_A_TURN
    if begin < len(texts):
        yield begin, len(texts)
