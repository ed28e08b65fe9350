"""What goes before a model call: what a cube knows, as text, and what the text is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from memsched.lexicon import estimate_tokens
from memsched.llm.prompts import Message, chat_messages
from memsched.memory.model import Memory, with_question
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.no_answer import no_answer
from memsched.policy.block import ActivationBlock
from memsched.tiers.hot_state import WorkingMemory

_BEST = 5
"""Of what was found: what the answer is most probably made of."""
_CORRECTED = "(corrected since) "
_MAY_BE_REVISED = "(may be revised by a later statement) "


@dataclass(frozen=True, slots=True)
class MemoryPrompt:
    """What a model is told of a cube before it answers.

    Args:
        activation: the block that the text begins with, byte for byte; empty where ``max_tokens`` leaves it no room.
        working_set: what was near, best first.
        found: what search found for the query, best first; [] without one, and where the store did not answer.
        enough: whether block and working set hold the five best of what was found: then nothing but what was near
            anyway is needed. True without a query.
        told: by memory id, what the text holds beside the block, in its order.
        messages: in OpenAI's form: the text as the system's message, then the query as the user's.
    """

    activation: ActivationBlock
    working_set: Sequence[WorkingMemory]
    found: Sequence[SearchResult]
    enough: bool
    told: Mapping[str, str]
    messages: Sequence[Message]

    @property
    def text(self) -> str:
        """All that is told: block, instructions, and what is near to the query."""
        return self.messages[0]["content"]

    @property
    def memory_ids(self) -> list[str]:
        """What the text holds. An answer that names them in ``info={"memory_ids": ...}`` credits what it used."""
        return list(dict.fromkeys([*self.told, *self.activation.memory_ids]))

    def messages_after(self, history: Sequence[Message]) -> list[Message]:
        """The messages, with the turns before the query in between."""
        return [self.messages[0], *history, *self.messages[1:]]


def prompt_of(
    block: ActivationBlock,
    working_set: Sequence[WorkingMemory],
    found: Sequence[SearchResult],
    query: str | None,
    max_tokens: int | None,
    today: date,
) -> MemoryPrompt:
    """The prompt made of these: the block; what was found, the best first; then what else is in the set.

    Args:
        max_tokens: of the text, estimated; the last of what it tells is left out for it, and at last the block: a part
                of it would be no prefix that a server knows.
    """
    told: dict[str, str] = {}
    memories = [result.item for result in found]
    asked = {result.id: result.asked for result in found}
    # What was corrected, or merely asked, answers less: also than what was found after it.
    for memory in sorted(memories, key=lambda each: (each.superseded_by is not None, _answers_nothing(each))):
        told[memory.memory_id] = dated(memory, with_question(memory.indexed_text, asked[memory.memory_id]))
    near = {*block.memory_ids, *(each.memory_id for each in working_set)}
    for each in working_set:
        if each.memory_id not in block.memory_ids or each.asked:  # the block has no questions of short answers
            told.setdefault(each.memory_id, dated(each, each.said))

    def prompt(block: ActivationBlock, count: int) -> MemoryPrompt:
        some = dict(list(told.items())[:count])
        messages = chat_messages(query, list(some.values()), block=block.text, today=today)
        enough = near.issuperset(each.memory_id for each in memories[:_BEST])
        return MemoryPrompt(block, working_set, found, enough, some, messages)

    whole = prompt(block, len(told))
    if max_tokens is None:
        return whole
    for head in (block, ActivationBlock.of([])):
        for count in range(len(told), -1, -1):
            shorter = prompt(head, count)
            if estimate_tokens(shorter.text) <= max_tokens:
                return shorter
    return prompt(ActivationBlock.of([]), 0)


def _answers_nothing(memory: Memory) -> bool:
    return not memory.caption and no_answer(memory.text, memory.speaker) != ""


def dated(memory: Memory | WorkingMemory, said: str) -> str:
    """With the speaker's day, so that a newer statement can be told from an older one; and with what became of it."""
    mark = _MAY_BE_REVISED if memory.may_be_revised_by else ""
    if isinstance(memory, Memory) and memory.superseded_by is not None:
        mark = _CORRECTED
    told = f"{memory.local_at:%Y-%m-%d} {mark}{said}"
    return f"{told} (when: {memory.event_date})" if memory.event_date else told
