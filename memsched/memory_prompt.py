"""What goes before a model call: what a cube knows, as text, and what the text is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Literal

from memsched.lexicon import estimate_tokens
from memsched.llm.prompts import CHAT, Message, chat_messages
from memsched.llm.servers.base import CacheHint
from memsched.memory.model import Memory, with_question
from memsched.memory.search.arguments import SearchResult
from memsched.memory.search.no_answer import no_answer
from memsched.policy.block import ActivationBlock
from memsched.policy.salt import salt_for, told_as
from memsched.tiers.hot_state import NOTHING_SENT, Sent, WorkingMemory

_BEST = 5
"""Of what was found: what the answer is most probably made of."""
_CORRECTED = "(corrected since) "
_MAY_BE_REVISED = "(may be revised by a later statement) "


SearchWhen = Literal["auto", "never", "always"]
"""When a prompt searches: auto: where what is near does not answer the question."""
SUFFICIENT = 0.5
"""So probable it must be that one memory that is near answers the question."""


Reason = Literal[
    "nothing_asked", "answers", "holds_the_best", "lacks_some", "nothing_fits", "not_searched", "search_failed"
]


@dataclass(frozen=True, slots=True)
class Sufficiency:
    """Whether what was near answers the question, or a search was needed.

    Args:
        value: whether it does.
        reason: how that is known: ``nothing_asked``, ``answers`` (by its words, before any search), ``holds_the_best``
            or ``lacks_some`` (of what a search found), ``nothing_fits`` (what it found answers nothing, or it found
            nothing), ``not_searched`` (it was not to be), ``search_failed`` (it gave no answer, or none in time).
        searched: whether there was a search that answered.
    """

    value: bool
    reason: Reason
    searched: bool


NOTHING_ASKED = Sufficiency(value=True, reason="nothing_asked", searched=False)
NOT_SEARCHED = Sufficiency(value=False, reason="not_searched", searched=False)
SEARCH_FAILED = Sufficiency(value=False, reason="search_failed", searched=False)


@dataclass(frozen=True, slots=True)
class MemoryPrompt:
    """What a model is told of a cube before it answers.

    Args:
        activation: the block at the head of the text, byte for byte; empty where ``max_tokens`` leaves it no room.
        working_set: what was near, best first.
        found: what search found for the query, best first; [] without one, and where the store did not answer.
        enough: whether block and working set hold the five best of what was found: then nothing but what was near
            anyway is needed. True without a query.
        told: by memory id, what the text holds beside the block, in its order.
        messages: in OpenAI's form: the text as the system's message, then the query as the user's.
        adapter: that answers, by its name at the model's server.
        beside: one that is tried beside, unseen; its name there.
        sent: what a model's server was sent last of the cube.
        sufficient: whether what was near answers the question, and how that is known.
        is_there: whether the cube was made already: the first message in it makes it.
    """

    activation: ActivationBlock
    working_set: Sequence[WorkingMemory]
    found: Sequence[SearchResult]
    enough: bool
    told: Mapping[str, str]
    messages: Sequence[Message]
    adapter: str | None = None
    sent: Sent = NOTHING_SENT
    beside: str | None = None
    sufficient: Sufficiency = NOTHING_ASKED
    is_there: bool = True

    def answered_by(self, adapter: str | None) -> MemoryPrompt:
        """The same prompt for another adapter, or for the model as it is (None): its head is another."""
        first, *rest = self.messages
        text = head_of(self.activation, adapter) + first["content"].removeprefix(self.head)
        return replace(self, adapter=adapter, messages=[{**first, "content": text}, *rest])

    @property
    def text(self) -> str:
        """All that is told: salt, instructions, block, what is near to the query, what day it is."""
        return self.messages[0]["content"]

    @property
    def head(self) -> str:
        """What the text begins with, and a model's server shall keep: salt, instructions, block."""
        return head_of(self.activation, self.adapter)

    @property
    def hint(self) -> CacheHint:
        """What of it a model's server is to keep, and how it is told whose it is."""
        return hint_of(self.activation, self.adapter)

    @property
    def memory_ids(self) -> list[str]:
        """What the text holds. An answer that names them in ``info={"memory_ids": ...}`` credits what it used."""
        return list(dict.fromkeys([*self.told, *self.activation.memory_ids]))

    def messages_after(self, history: Sequence[Message]) -> list[Message]:
        """The messages, with the turns before the query in between."""
        return [self.messages[0], *history, *self.messages[1:]]


def head_of(block: ActivationBlock, adapter: str | None = None) -> str:
    """What the prompts of chats with this block begin with."""
    return block.head(CHAT.system, adapter=adapter)


def hint_of(block: ActivationBlock, adapter: str | None = None) -> CacheHint:
    """What of such a prompt a model's server is to keep, and how it tells the cube's from others'."""
    salt = salt_for(block.salt, adapter)
    return CacheHint(head_of(block, adapter), told_as("cache_salt", salt), told_as("cache_key", salt)[:32], adapter)


def prompt_of(
    block: ActivationBlock,
    working_set: Sequence[WorkingMemory],
    found: Sequence[SearchResult],
    query: str | None,
    max_tokens: int | None,
    today: date,
    *,
    adapter: str | None = None,
    sent: Sent = NOTHING_SENT,
    beside: str | None = None,
    sufficient: Sufficiency = NOTHING_ASKED,
    is_there: bool = True,
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
    for memory in sorted(memories, key=lambda each: (each.superseded_by is not None, answers_nothing(each))):
        told[memory.memory_id] = dated(memory, with_question(memory.indexed_text, asked[memory.memory_id]))
    near = {*block.memory_ids, *(each.memory_id for each in working_set)}
    for each in working_set:
        if each.memory_id not in block.memory_ids or each.asked:  # the block has no questions of short answers
            told.setdefault(each.memory_id, _near_dated(each))

    def prompt(block: ActivationBlock, count: int) -> MemoryPrompt:
        some = dict(list(told.items())[:count])
        messages = chat_messages(query, list(some.values()), head=head_of(block, adapter), today=today)
        enough = near.issuperset(each.memory_id for each in memories[:_BEST])
        known = sufficient
        if sufficient.searched:
            fits = max((each.score for each in found[:_BEST]), default=0.0) >= SUFFICIENT
            reason: Reason = "nothing_fits" if not fits else "holds_the_best" if enough else "lacks_some"
            known = replace(sufficient, value=enough and fits, reason=reason)
        return MemoryPrompt(block, working_set, found, enough, some, messages, adapter, sent, beside, known, is_there)

    whole = prompt(block, len(told))
    if max_tokens is None:
        return whole
    nothing = ActivationBlock.of([], block.salt)
    for head in (block, nothing):
        for count in range(len(told), -1, -1):
            shorter = prompt(head, count)
            if estimate_tokens(shorter.text) <= max_tokens:
                return shorter
    return prompt(nothing, 0)


def answers_nothing(memory: Memory | WorkingMemory) -> bool:
    """Whether it only asks, or only says that its speaker does not know."""
    return not memory.caption and no_answer(memory.text, memory.speaker) != ""


@lru_cache(maxsize=4_096)
def _near_dated(memory: WorkingMemory) -> str:
    """Cached, because what is near is told with each question."""
    return dated(memory, memory.said)


def dated(memory: Memory | WorkingMemory, said: str) -> str:
    """With the speaker's day, so that a newer statement can be told from an older one; and with what became of it."""
    mark = _MAY_BE_REVISED if memory.may_be_revised_by else ""
    if isinstance(memory, Memory) and memory.superseded_by is not None:
        mark = _CORRECTED
    told = f"{memory.local_at:%Y-%m-%d} {mark}{said}"
    return f"{told} (when: {memory.event_date})" if memory.event_date else told
