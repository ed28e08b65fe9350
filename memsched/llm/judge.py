"""A language model as a judge: it ranks memories, tells which ones an answer used, and which one a correction is about.

Each of these raises LLMError; its caller has a local form.
"""

from __future__ import annotations

from collections.abc import Sequence

from memsched.llm.client import LLM
from memsched.llm.errors import LLMInvalidAnswer
from memsched.llm.prompts import FEEDBACK, RERANK, REVISE, USED, numbered
from memsched.llm.schemas import Decision, Decisions, Feedback, Ranking, Used
from memsched.llm.verification import normalised, quoted_in, unsupported

_TEXT_CHARACTERS = 6_000
"""Of an answer or a correction that the model sees."""
_ANSWER_TOKENS = 1024
_DECISION_TOKENS = 3072
_STATEMENT_CHARACTERS = 500


async def rerank(llm: LLM, query: str, texts: Sequence[str], budget_seconds: float | None = None) -> list[int]:
    """Return the indices of all texts, the most helpful for the query first.

    Those that the model forgot come last, in order.
    """
    if len(texts) < 2:
        return list(range(len(texts)))
    ranking = await llm.complete_json(
        RERANK.messages(query=query[:4000], memories=numbered(texts, 400)),
        Ranking,
        budget_seconds=budget_seconds,
        max_tokens=_ANSWER_TOKENS,
        task="rerank",
    )
    ranked = [index for index in dict.fromkeys(ranking.order) if 0 <= index < len(texts)]
    return list(dict.fromkeys((*ranked, *range(len(texts)))))


async def used(llm: LLM, answer: str, texts: Sequence[str], budget_seconds: float | None = None) -> set[int]:
    """Return the indices of the texts that the answer used."""
    if not texts or not answer.strip():
        return set()
    claim = await llm.complete_json(
        USED.messages(answer=answer[:_TEXT_CHARACTERS], memories=numbered(texts)),
        Used,
        budget_seconds=budget_seconds,
        max_tokens=_ANSWER_TOKENS,
        task="used",
    )
    return {index for index in claim.used if 0 <= index < len(texts)}


async def correction(llm: LLM, text: str, memories: Sequence[str], budget_seconds: float | None = None) -> Feedback:
    """Return which memory a correction in natural language is about, and what is right now.

    Raises LLMInvalidAnswer also when the model's text says more than the correction and the corrected memory do.
    """
    feedback = await llm.complete_json(
        FEEDBACK.messages(correction=text[:_TEXT_CHARACTERS], memories=numbered(memories)),
        Feedback,
        budget_seconds=budget_seconds,
        max_tokens=_ANSWER_TOKENS,
        task="correction",
    )
    index = feedback.corrected
    if index is not None and index >= len(memories):
        raise LLMInvalidAnswer("It corrects a memory that it was not shown.")
    sources = [text] if index is None else [text, memories[index]]
    if feedback.text and (reason := unsupported(feedback.text, sources)):
        raise LLMInvalidAnswer(f"The corrected text is not supported by the correction ({reason}).")
    if index is None and not feedback.text:
        raise LLMInvalidAnswer("It corrects nothing.")
    if index is not None and normalised(feedback.text) == normalised(memories[index]):
        raise LLMInvalidAnswer("It leaves the memory as it is.")
    return feedback


async def decisions(
    llm: LLM, statements: Sequence[tuple[str, Sequence[str]]], budget_seconds: float | None = None
) -> list[Decision]:
    """Return what new statements do to earlier ones: of the pairs that were offered, and with words that were said.

    Args:
        statements: each new one, with the earlier ones that it may be about. Indices are those of these lists.
    """
    shown = [
        {"index": index, "text": text[:_STATEMENT_CHARACTERS], "earlier": numbered(earlier, _STATEMENT_CHARACTERS)}
        for index, (text, earlier) in enumerate(statements)
    ]
    claimed = await llm.complete_json(
        REVISE.messages(statements=shown),
        Decisions,
        budget_seconds=budget_seconds,
        max_tokens=_DECISION_TOKENS,
        task="revise",
    )
    found: dict[tuple[int, int], Decision] = {}
    for each in claimed.decisions:
        if each.new >= len(statements) or each.earlier >= len(statements[each.new][1]):
            llm.counters.rejections["turns"] += 1
        elif each.relation in ("revises", "contradicts") and not quoted_in(each.quote, [statements[each.new][0]]):
            llm.counters.rejections["quote"] += 1
        else:
            found.setdefault((each.new, each.earlier), each)
    return list(found.values())
