"""How much of the activation block a model server's prefix cache would reuse, and how much of the evidence it holds.

The conversation goes through the real pipeline, turn by turn. Each strategy keeps a block of its own by the policy's
own rule, with limits of its own. Each turn and each question leads to a prompt, as where an agent is talked to; or,
which is harder, questions alone do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from statistics import fmean

from memsched.evaluation.locomo import Conversation
from memsched.evaluation.streams import Asked, Told, steps_of
from memsched.evaluation.teller import Answers, Teller
from memsched.lexicon import estimate_tokens
from memsched.policy.block import ActivationBlock, BlockLimits, Member
from memsched.scheduler import AsyncMemScheduler
from memsched.tiers.activation_block import Wanted

OWN = "memsched"
PLAIN = "the set, in its order"
KEPT = "the set, what stays in front"
_CACHED_TOKENS = 16
"""A server caches whole blocks of so many."""
_MANY = 1_000_000
STRATEGIES: Mapping[str, BlockLimits] = {
    KEPT: BlockLimits(_MANY, _MANY, 1.0),
    **{
        f"grows to {members}, anew below {share:.0%}": BlockLimits(members, _MANY, share)
        for members in (40, 60, 100)
        for share in (0.0, 0.05, 0.2, 0.4)
    },
}
"""By name: the block is what is wanted, what stays of it in front; or it grows at its end, and is written anew when it
is full, or a smaller share of it is still wanted."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a prompt's block holds, and the salt before it: with another one, nothing of an earlier prompt is hit."""

    members: Sequence[Member] = ()
    salt: str = ""


@dataclass(slots=True)
class Prompts:
    """What prompts that follow on each other have in common.

    Args:
        tokens, reused: of the blocks of all but each conversation's first.
        anew: how many of their blocks did not begin with the one before.
    """

    count: int = 0
    tokens: int = 0
    reused: int = 0
    anew: int = 0

    def follow(self, before: Block, now: Block) -> None:
        """One more prompt, after one with this block before."""
        pairs = zip(before.members, now.members, strict=False) if before.salt == now.salt else ()
        common = [one for one, other in takewhile(lambda pair: pair[0].line == pair[1].line, pairs)]
        block = ActivationBlock.of(now.members)
        same = estimate_tokens(ActivationBlock.of(common).text)
        self.count += 1
        self.tokens += block.tokens
        self.reused += min(same, block.tokens) // _CACHED_TOKENS * _CACHED_TOKENS
        self.anew += len(common) < len(before.members)

    @property
    def share(self) -> float:
        """Of the tokens reused, in percent."""
        return round(100 * self.reused / self.tokens, 2) if self.tokens else 0.0


@dataclass(slots=True)
class Reuse:
    """What one strategy came to.

    Args:
        messages, questions: where each message leads to a prompt, and where questions alone do.
        shares: of each question's evidence, what the block before it held.
        sizes: memories in each of these blocks.
    """

    messages: Prompts = field(default_factory=Prompts)
    questions: Prompts = field(default_factory=Prompts)
    shares: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def as_flat(self) -> dict[str, float]:
        """In percent: tokens reused, blocks written anew, tokens reused by questions alone, evidence; and memories."""
        return {
            "reused": self.messages.share,
            "anew": round(100 * self.messages.anew / self.messages.count, 2) if self.messages.count else 0.0,
            "reused by questions": self.questions.share,
            "evidence": round(100 * fmean(self.shares), 2) if self.shares else 0.0,
            "memories": round(fmean(self.sizes), 1) if self.sizes else 0.0,
        }


async def compare_prefixes(
    scheduler: AsyncMemScheduler,
    conversations: Sequence[Conversation],
    stream: str,
    answers: Answers,
    progress: Callable[[str, int], None],
) -> dict[str, Reuse]:
    """Replay conversations as one of the streams; what came of each strategy, and of the block in use."""
    found = {name: Reuse() for name in (PLAIN, *STRATEGIES, OWN)}
    for conversation in conversations:
        replay = _Replay(scheduler, f"prompts of {conversation.name}, {stream}, {answers}", answers, found)
        for step in steps_of(conversation, stream):
            if isinstance(step, Told):
                for number, turn in enumerate(step.turns):
                    await replay.tell(replace(step, first=step.first + number, turns=[turn]))
            else:
                await replay.ask(step)
                progress(f"{stream}: {conversation.name}", 1)
    return found


Blocks = Mapping[str, Block]


class _Replay(Teller):
    """One conversation."""

    def __init__(self, scheduler: AsyncMemScheduler, user: str, answers: Answers, found: Mapping[str, Reuse]) -> None:
        super().__init__(scheduler, user, answers)
        self._found = found
        self._blocks: Blocks = {name: Block() for name in found}
        self._at_message: Blocks = {}
        self._at_question: Blocks = {}

    async def tell(self, told: Told) -> None:
        await super().tell(told)
        await self._follow()
        self._prompt()

    async def ask(self, asked: Asked) -> None:
        """Score what the blocks hold; then ask, and answer."""
        services = await self.scheduler.memory()
        ids = {member.memory_id for block in self._blocks.values() for member in block.members}
        stored = await services.store.get(self.ref, sorted(ids))
        evidence = asked.question.evidence
        for name, block in self._blocks.items():
            there = [stored[each.memory_id] for each in block.members if each.memory_id in stored]
            told = {source for memory in there for source in memory.sources.values()}
            self._found[name].shares.append(len(evidence & told) / len(evidence))
            self._found[name].sizes.append(len(block.members))
        for name, before in self._at_question.items():
            self._found[name].questions.follow(before, self._blocks[name])
        self._at_question = dict(self._blocks)
        await super().ask(asked)
        await self._follow()
        self._prompt()
        await self.answer(asked)
        await self._follow()

    def _prompt(self) -> None:
        for name, before in self._at_message.items():
            self._found[name].messages.follow(before, self._blocks[name])
        self._at_message = dict(self._blocks)

    async def _follow(self) -> None:
        """Let each strategy's block follow on what a message changed."""
        services = await self.scheduler.memory()
        look = await services.working_sets.look(self.ref)
        state = await services.states.load(self.ref)
        wanted = Wanted.now(state, look.cube, look.state.themes)
        plain = [Member.of(each.memory_id, each.said, each.local_at) for each in state.working_set]
        grown = {
            name: Block(wanted.block_after(self._blocks[name].members, limits)) for name, limits in STRATEGIES.items()
        }
        self._blocks = {PLAIN: Block(plain), **grown, OWN: Block(state.block, state.salt)}
