"""Extraction: the memories in a conversation, by a language model, each verified against what was really said."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from memsched.deadline import Deadline
from memsched.lexicon import is_question
from memsched.llm.client import LLM
from memsched.llm.entailment import SaidTurn, doubt_about
from memsched.llm.event_dates import says_when
from memsched.llm.prompts import EXTRACT
from memsched.llm.schemas import ExtractedMemory, Extraction
from memsched.llm.verification import normalised, quoted_in
from memsched.logs import get_logger

log = get_logger(__name__)

_PROMPT_CHARACTERS = 12_000
"""Of conversation in one prompt: about 3,000 tokens, which with the answer fit into a window of 8,192."""
_TURN_CHARACTERS = 6_000
"""Of one turn that the model sees."""
_AROUND_A_TURN = 100
"""Characters for its index, speaker and time."""
_ANSWER_TOKENS = 3072
_SENTENCE_END = re.compile(r"(?<=[.!])\s+|(?<=[\u3002\uff01])")
_ASSISTANTS = ("assistant", "system", "tool")
"""Speakers without a name are called by their role."""


@dataclass(frozen=True, slots=True)
class SourceTurn:
    """One turn of a conversation.

    Args:
        at: when it was said, ISO 8601, or empty.
        by_user: whether the user said it, not an assistant or somebody else.
        by_assistant: whether an assistant said it, whatever it is called; one without a name is known by its role.
    """

    speaker: str
    text: str
    at: str = ""
    by_user: bool = True
    by_assistant: bool = False


async def extract(
    llm: LLM, turns: Sequence[SourceTurn], *, budget_seconds: float | None = None
) -> list[ExtractedMemory]:
    """Return the memories in a conversation that its turns really support; source_turns are indices into ``turns``.

    Raises LLMError.

    Args:
        budget_seconds: for all of it; None: the model's budget for each portion that fits into a prompt.

    Nothing in it is a reason to drop a turn: an empty list may mean that the model obeyed what somebody wrote there.
    """
    texts, speakers = [turn.text[:_TURN_CHARACTERS] for turn in turns], [turn.speaker[:200] for turn in turns]
    claimed: list[ExtractedMemory] = []
    portions = list(_portions(texts))
    deadline = Deadline(llm.budget_seconds * len(portions) if budget_seconds is None else budget_seconds)
    for begin, end in portions:
        shown = [
            {"index": index, "speaker": speakers[index], "at": turns[index].at[:40], "text": texts[index]}
            for index in range(begin, end)
        ]
        extraction = await llm.complete_json(
            EXTRACT.messages(turns=shown),
            Extraction,
            budget_seconds=deadline.left,
            max_tokens=_ANSWER_TOKENS,
            task="extract",
        )
        claimed += extraction.memories
    rejected: Counter[str] = Counter()
    # At worst (long turns, a hundred memories) this takes a second, which heartbeats must not wait for.
    found = await asyncio.to_thread(
        verified,
        Extraction.model_construct(memories=claimed),
        texts,
        speakers=speakers,
        by_user=[turn.by_user for turn in turns],
        assistants=[index for index, turn in enumerate(turns) if turn.by_assistant],
        rejected=rejected,
    )
    llm.counters.rejections.update(rejected)
    log.debug(
        "memories were extracted", action="llm.extracted", turns=len(turns), kept=len(found), rejected=dict(rejected)
    )
    return found


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


def verified(
    extraction: Extraction,
    turns: Sequence[str],
    *,
    speakers: Sequence[str] = (),
    by_user: Sequence[bool] = (),
    assistants: Collection[int] = (),
    rejected: Counter[str] | None = None,
) -> list[ExtractedMemory]:
    """Return the memories that their source turns support, in order; each text once. The turn that proves it comes
    first among a memory's source turns: whose it is, is about whom it can be.

    Args:
        turns: the texts, by index.
        speakers: who said them, by index, or empty.
        by_user: whether the user said them, by index; empty: all of them.
        assistants: the indices of those that an assistant said, beside the speakers that are called so.
        rejected: counts the others by reason (turns, quote, duplicate, empty, or one of entailment's).
    """
    kept: dict[str, ExtractedMemory] = {}
    for memory in extraction.memories:
        proof, reason = _proof(memory, turns, speakers, by_user, assistants)
        if reason is None and normalised(memory.text) in kept:
            reason = "duplicate"
        if reason is None:
            if memory.when and not any(says_when(turns[index]) for index in memory.source_turns):
                memory = memory.model_copy(update={"when": None})  # noqa: PLW2901 -- nobody said when
            others = [index for index in memory.source_turns if index != proof]
            kept[normalised(memory.text)] = memory.model_copy(update={"source_turns": [proof, *others]})
        elif rejected is not None:
            rejected[reason] += 1
    return list(kept.values())


def _asked_before(turns: Sequence[str], speakers: Sequence[str], index: int) -> str:
    """The question of somebody else right before a turn, or ""."""
    if not 0 < index < len(speakers) or speakers[index - 1] == speakers[index]:
        return ""
    last = _SENTENCE_END.split(turns[index - 1].strip())[-1]
    return last if is_question(last) else ""


def _proof(
    memory: ExtractedMemory,
    turns: Sequence[str],
    speakers: Sequence[str],
    by_user: Sequence[bool],
    assistants: Collection[int],
) -> tuple[int, str | None]:
    """The turn that says it; and why none does, or None."""
    if not all(0 <= index < len(turns) for index in memory.source_turns):
        return -1, "turns"
    doubt: str | None = "quote"
    for index in memory.source_turns:
        if quoted_in(memory.quote, [turns[index]]):
            speaker = speakers[index] if index < len(speakers) else ""
            own = by_user[index] if index < len(by_user) else speaker not in _ASSISTANTS
            by_assistant = speaker in _ASSISTANTS or index in assistants
            said = SaidTurn(turns[index], speaker, own, by_assistant, _asked_before(turns, speakers, index))
            if (doubt := doubt_about(memory.text, said)) is None:
                return index, None
    return -1, doubt
