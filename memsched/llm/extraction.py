"""Extraction: the memories in a conversation, by a language model, each verified against what was really said.

By the rules of entailment.py; of claims that they cannot decide (open_claims.py) the model is asked once whether they
are stated.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from memsched.deadline import Deadline
from memsched.lexicon import is_question
from memsched.llm.client import LLM
from memsched.llm.entailment import doubt_about
from memsched.llm.errors import LLMError
from memsched.llm.open_claims import is_open
from memsched.llm.prompts import EXTRACT, VERIFY
from memsched.llm.said_turn import SaidTurn
from memsched.llm.schemas import ExtractedMemory, Extraction, Stated
from memsched.llm.verification import normalised
from memsched.logs import get_logger

log = get_logger(__name__)

_PROMPT_CHARACTERS = 12_000
"""Of conversation in one prompt: about 3,000 tokens, which with the answer fit into a window of 8,192."""
_TURN_CHARACTERS = 6_000
"""Of one turn that the model sees."""
_AROUND_A_TURN = 100
"""Characters for its index, speaker and time."""
_ANSWER_TOKENS = 3072
_VERIFY_TOKENS = 512
_SENTENCE_END = re.compile(r"(?<=[.!])\s+|(?<=[\u3002\uff01])")
_TURNS_AT_HAND = 128
"""That are kept taken apart; a portion has no more."""
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


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """What a model claims and no rule can decide, with the doubt that stays if nobody decides it."""

    memory: ExtractedMemory
    doubt: str


async def extract(
    llm: LLM, turns: Sequence[SourceTurn], *, budget_seconds: float | None = None
) -> list[ExtractedMemory]:
    """Return the memories in a conversation that its turns really support; source_turns are indices into ``turns``.

    Raises LLMError when the model takes nothing out of it; one that only does not confirm is no error.

    Args:
        budget_seconds: for all of it; None: the model's budget for each portion that fits into a prompt.

    Nothing in it is a reason to drop a turn: an empty list may mean that the model obeyed what somebody wrote there.
    """
    texts, speakers = [turn.text[:_TURN_CHARACTERS] for turn in turns], [turn.speaker[:200] for turn in turns]
    shown_turns = [
        {"index": index, "speaker": speakers[index], "at": turns[index].at[:40], "text": text}
        for index, text in enumerate(texts)
    ]
    claimed: list[ExtractedMemory] = []
    portions = list(_portions(texts))
    deadline = Deadline(llm.budget_seconds * len(portions) if budget_seconds is None else budget_seconds)
    for begin, end in portions:
        extraction = await llm.complete_json(
            EXTRACT.messages(turns=shown_turns[begin:end]),
            Extraction,
            budget_seconds=deadline.left,
            max_tokens=_ANSWER_TOKENS,
            task="extract",
        )
        claimed += extraction.memories
    rejected: Counter[str] = Counter()
    unsure: list[OpenClaim] = []
    # In a thread, for heartbeats must not wait for it: taking a turn of 6,000 characters apart is 20 to 70 ms of work,
    # once in each language of its claims, and each claim is a few ms more.
    found = await asyncio.to_thread(
        verified,
        Extraction.model_construct(memories=claimed),
        texts,
        speakers=speakers,
        by_user=[turn.by_user for turn in turns],
        assistants=[index for index, turn in enumerate(turns) if turn.by_assistant],
        rejected=rejected,
        unsure=unsure,
    )
    confirmed = await _confirmed(llm, unsure, shown_turns, deadline) if unsure else []
    rejected.update(each.doubt for each in unsure if each.memory not in confirmed)
    known = {normalised(each.text) for each in found}
    found += [each for each in confirmed if normalised(each.text) not in known]
    llm.counters.rejections.update(rejected)
    log.debug(
        "memories were extracted", action="llm.extracted", turns=len(turns), kept=len(found), rejected=dict(rejected)
    )
    return found


async def _confirmed(
    llm: LLM, unsure: Sequence[OpenClaim], shown_turns: Sequence[Mapping[str, object]], deadline: Deadline
) -> list[ExtractedMemory]:
    """Of claims that no rule can decide, those that the model finds stated in their turns. It is asked once.

    None if it is of no use: what was said is remembered in the words of whoever said it, as always.
    """
    asked, indices = _fitting(unsure, [len(str(turn["text"])) for turn in shown_turns])
    statements = [
        {"index": index, "text": each.memory.text, "turns": each.memory.source_turns}
        for index, each in enumerate(asked)
    ]
    try:
        answer = await llm.complete_json(
            VERIFY.messages(turns=[shown_turns[index] for index in indices], statements=statements),
            Stated,
            budget_seconds=deadline.left,
            max_tokens=_VERIFY_TOKENS,
            task="verify",
        )
    except LLMError as error:
        llm.counters.fell_back("verify", error)
        log.warning(
            "the model did not say which of its memories are stated; they stay in the words of who said them",
            action="llm.unverified",
            memories=len(asked),
            error=str(error),
        )
        return []
    return [asked[index].memory for index in sorted(set(answer.stated)) if 0 <= index < len(asked)]


def _fitting(unsure: Sequence[OpenClaim], lengths: Sequence[int]) -> tuple[list[OpenClaim], list[int]]:
    """The claims whose turns, each with the one before it, fit into one prompt; and these turns, in order."""
    asked: list[OpenClaim] = []
    turns: set[int] = set()
    size = 0
    for each in unsure:
        more = {near for index in each.memory.source_turns for near in (index - 1, index) if near >= 0} - turns
        longer = len(each.memory.text) + sum(lengths[index] + _AROUND_A_TURN for index in more)
        if asked and size + longer > _PROMPT_CHARACTERS:
            continue
        asked.append(each)
        turns |= more
        size += longer
    return asked, sorted(turns)


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
    unsure: list[OpenClaim] | None = None,
) -> list[ExtractedMemory]:
    """Return the memories that their source turns support, in order; each text once. The turn that proves it comes
    first among a memory's source turns: whose it is, is about whom it can be.

    Args:
        turns: the texts, by index.
        speakers: who said them, by index, or empty.
        by_user: whether the user said them, by index; empty: all of them.
        assistants: the indices of those that an assistant said, beside the speakers that are called so.
        rejected: counts the others by reason (turns, quote, duplicate, empty, or one of entailment's).
        unsure: takes those that neither the rules nor the words decide, each text once; they are not counted.
    """
    kept: dict[str, ExtractedMemory] = {}
    open_claims: dict[str, OpenClaim] = {}

    @lru_cache(maxsize=_TURNS_AT_HAND)
    def said(index: int) -> SaidTurn:
        speaker = speakers[index] if index < len(speakers) else ""
        own = by_user[index] if index < len(by_user) else speaker not in _ASSISTANTS
        by_assistant = speaker in _ASSISTANTS or index in assistants
        asked, before = _asked_before(turns, speakers, index), turns[index - 1] if index else ""
        return SaidTurn(turns[index], speaker, own, by_assistant, asked, before)

    for memory in extraction.memories:
        key = normalised(memory.text)
        are_there = all(0 <= index < len(turns) for index in memory.source_turns)
        proof, reason, is_open = _proof(memory, said) if are_there else (-1, "turns", False)
        if (reason is None and key in kept) or (is_open and key in open_claims):
            reason, is_open = "duplicate", False
        if reason is None:
            kept[key] = _proven(memory, proof, said)
        elif is_open and unsure is not None:
            open_claims[key] = OpenClaim(_proven(memory, proof, said), reason)
        elif rejected is not None:
            rejected[reason] += 1
    if unsure is not None:
        unsure += open_claims.values()
    return list(kept.values())


def _proven(memory: ExtractedMemory, proof: int, said: Callable[[int], SaidTurn]) -> ExtractedMemory:
    """A memory with the turn that proves it first, and without a date if nobody said when."""
    others = [index for index in memory.source_turns if index != proof]
    has_date = any(said(index).says_when for index in memory.source_turns)
    return memory.model_copy(update={"source_turns": [proof, *others], "when": memory.when if has_date else None})


def _asked_before(turns: Sequence[str], speakers: Sequence[str], index: int) -> str:
    """The question of somebody else right before a turn, or ""."""
    if not 0 < index < len(speakers) or speakers[index - 1] == speakers[index]:
        return ""
    last = _SENTENCE_END.split(turns[index - 1].strip())[-1]
    return last if is_question(last) else ""


def _proof(memory: ExtractedMemory, said: Callable[[int], SaidTurn]) -> tuple[int, str | None, bool]:
    """The turn that says it, why none does, or None, and whether one may say it all the same: then that one."""
    doubt, open_turn = "quote", -1
    for index in memory.source_turns:
        turn = said(index)
        if turn.has_quote(memory.quote):
            found = doubt_about(memory.text, turn)
            if found is None:
                return index, None, False
            doubt = found
            if open_turn < 0 and is_open(memory.text, turn, doubt):
                open_turn = index
    return open_turn, doubt, open_turn >= 0
