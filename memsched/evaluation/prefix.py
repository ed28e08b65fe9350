"""How much of the activation block a model server's prefix cache would reuse, and how much of the evidence it holds.

The conversation goes through the real pipeline, turn by turn. Each strategy keeps a block of its own by the policy's
own rule, with limits of its own. A question is a prompt: its block is compared with that of the prompt before it.
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
        for members in (40, 60)
        for share in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
    },
}
"""By name: the block is what is wanted, what stays of it in front; or it grows at its end, and is written anew when it
is full, or a smaller share of it is still wanted."""


@dataclass(slots=True)
class Reuse:
    """What one strategy came to.

    Args:
        tokens, reused: of the blocks of all prompts but each conversation's first.
        shares: of each question's evidence, what its block held.
        sizes: memories in each block.
        rewritten: prompts whose block did not begin with the one before.
    """

    tokens: int = 0
    reused: int = 0
    shares: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rewritten: int = 0

    def as_flat(self) -> dict[str, float]:
        """In percent: tokens reused, evidence held, prompts with another block; and memories in it."""
        prompts = len(self.shares)
        return {
            "reused": round(100 * self.reused / self.tokens, 2) if self.tokens else 0.0,
            "evidence": round(100 * fmean(self.shares), 2) if prompts else 0.0,
            "rewritten": round(100 * self.rewritten / prompts, 2) if prompts else 0.0,
            "memories": round(fmean(self.sizes), 1) if prompts else 0.0,
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


class _Replay(Teller):
    """One conversation."""

    def __init__(self, scheduler: AsyncMemScheduler, user: str, answers: Answers, found: Mapping[str, Reuse]) -> None:
        super().__init__(scheduler, user, answers)
        self._found = found
        self._blocks: dict[str, list[Member]] = {name: [] for name in found}
        self._sent: dict[str, str] = {}

    async def tell(self, told: Told) -> None:
        await super().tell(told)
        await self._follow()

    async def ask(self, asked: Asked) -> None:
        """Score the blocks as they are; then ask, and answer."""
        blocks = {name: ActivationBlock.of(members) for name, members in self._blocks.items()}
        services = await self.scheduler.memory()
        ids = {memory_id for block in blocks.values() for memory_id in block.memory_ids}
        stored = await services.store.get(self.ref, sorted(ids))
        for name, block in blocks.items():
            told = {source for each in block.memory_ids if each in stored for source in stored[each].sources.values()}
            evidence = asked.question.evidence
            self._score(name, block, len(evidence & told) / len(evidence))
        await super().ask(asked)
        await self._follow()
        await self.answer(asked)
        await self._follow()

    def _score(self, name: str, block: ActivationBlock, share: float) -> None:
        reuse, before = self._found[name], self._sent.get(name)
        reuse.shares.append(share)
        reuse.sizes.append(len(block.memory_ids))
        if before is not None:
            common = "".join(
                one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, block.text, strict=False))
            )
            reuse.tokens += block.tokens
            reuse.reused += min(block.tokens, estimate_tokens(common)) // _CACHED_TOKENS * _CACHED_TOKENS
            reuse.rewritten += len(common) < len(before) - len("</data>\n")
        self._sent[name] = block.text

    async def _follow(self) -> None:
        """Let each strategy's block follow on what a message changed."""
        services = await self.scheduler.memory()
        look = await services.working_sets.look(self.ref)
        state = await services.states.load(self.ref)
        wanted = Wanted.now(state, look.cube, look.cube.themes(state.log))
        plain = [Member.of(each.memory_id, each.said) for each in state.working_set]
        self._blocks |= {OWN: state.block, PLAIN: plain}
        for name, limits in STRATEGIES.items():
            self._blocks[name] = wanted.block_after(self._blocks[name], limits)
