"""How much of the next question's evidence is near before it is asked: policies compared on one replay.

The conversation goes through the real pipeline: told, asked and answered as messages. Before each question the working
set is read, and every other policy is asked what it would have near, with the same memories, log and retrievals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from memsched.evaluation.baselines import BASELINES, Retrieval, Seen
from memsched.evaluation.locomo import Conversation, Question
from memsched.evaluation.streams import Asked, Told, steps_of
from memsched.evaluation.teller import Answers, Teller
from memsched.memory.model import to_ms
from memsched.memory.search.arguments import SearchResult
from memsched.messages import PREDICT_TASK_LABEL
from memsched.policy.running_theme import with_running_theme
from memsched.policy.theme_cache import ThemeCache
from memsched.policy.value import FEATURES, MODES, Valuation, mixture_of
from memsched.scheduler import AsyncMemScheduler
from memsched.tiers.working_set import Look

OWN = "memsched"
SEARCH = "search_20"
BOTH = "search_10+set_10"
POLICIES = (OWN, *BASELINES, SEARCH, BOTH)
TYPED = "half_typed"
PREDICTED = "half_typed_slots"
TYPING = (TYPED, PREDICTED)
"""The set once the first half of the question's words is typed (``predict``), and what is predicted then, alone."""
GAIN, PRECISION, REPLACED = "points gained", "precision of the predicted", "precision of what made way"
"""Of what was typed: how much more of the evidence is near; how many of the memories that it brought near are evidence;
and how many of those that stood in their places."""
ABLATIONS = (
    *(f"without {feature}" for feature in FEATURES),
    *(f"without {mode.name}" for mode in with_running_theme(MODES, ThemeCache(()))),
    "modes at their prior",
)
HEEDING = (OWN, BOTH, TYPED, *ABLATIONS)
"""For these it makes a difference what is told of the answers."""
_SIZE = 20


@dataclass(slots=True)
class Places:
    """Memories that stood in some places of the set, and how many of them were evidence of the question that came."""

    held: int = 0
    right: int = 0

    def count(self, right: Iterable[bool]) -> None:
        for each in right:
            self.held += 1
            self.right += each

    @property
    def precision(self) -> float:
        """In percent."""
        return round(100 * self.right / self.held, 2) if self.held else 0.0


@dataclass(slots=True)
class Predicted:
    """Shares of evidence that were near, one per question, by policy.

    Args:
        gains: by how much what was typed raised that share, one per question.
        predicted: the places that ``predict`` fills.
        replaced: the same places, with what stood there before.
    """

    shares: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    gains: list[float] = field(default_factory=list)
    predicted: Places = field(default_factory=Places)
    replaced: Places = field(default_factory=Places)

    def means(self) -> dict[str, float]:
        """In percent, by policy."""
        return {name: round(100 * fmean(shares), 2) for name, shares in self.shares.items()}

    def typing(self) -> dict[str, float]:
        """What ``predict`` was worth, by name; nothing if nobody typed."""
        if not self.gains:
            return {}
        return {
            GAIN: round(100 * fmean(self.gains), 2),
            PRECISION: self.predicted.precision,
            REPLACED: self.replaced.precision,
        }


async def predict(
    scheduler: AsyncMemScheduler,
    conversations: Sequence[Conversation],
    stream: str,
    answers: Answers,
    policies: Sequence[str],
    progress: Callable[[str, int], None],
) -> Predicted:
    """Replay conversations as one of the streams, each in a cube of its own."""
    predicted = Predicted()
    for conversation in conversations:
        user = f"reader of {conversation.name}, {stream}, {answers}"
        replay = _Replay(scheduler, user, answers, policies, predicted)
        for step in steps_of(conversation, stream):
            if isinstance(step, Told):
                await replay.tell(step)
            else:
                await replay.ask(step)
                progress(f"{stream}: {conversation.name}", 1)
    return predicted


class _Replay(Teller):
    """One conversation."""

    def __init__(
        self,
        scheduler: AsyncMemScheduler,
        user: str,
        answers: Answers,
        policies: Sequence[str],
        predicted: Predicted,
    ) -> None:
        super().__init__(scheduler, user, answers)
        self._policies = policies
        self._predicted = predicted
        self._history: list[Retrieval] = []
        self._ablated: dict[str, Valuation] = {}

    async def ask(self, asked: Asked) -> None:
        """Score what is near, and what search finds; then ask, and answer."""
        ref = self.ref
        near = [memory.memory_id for memory in await self.scheduler.working_set(ref.user_id, ref.mem_cube_id)]
        found = await self.scheduler.retriever.search(asked.question.text, ref.user_id, ref.mem_cube_id, top_k=_SIZE)
        services = await self.scheduler.memory()
        look = await services.working_sets.look(ref)
        ids = {name: self._choice(name, near, found, look, asked) for name in self._policies if name not in TYPING}
        typed = await self._typed(asked) if set(TYPING) & set(self._policies) else {}
        ids |= typed
        wanted = {memory_id for chosen in (near, *ids.values()) for memory_id in chosen}
        stored = await services.store.get(ref, sorted(wanted))
        sources = {memory_id: set(memory.sources.values()) for memory_id, memory in stored.items()}

        def share(chosen: Iterable[str]) -> float:
            return _share(asked.question, set().union(*(sources.get(each, ()) for each in chosen)))

        def right(chosen: Iterable[str]) -> list[bool]:
            return [not asked.question.evidence.isdisjoint(sources.get(each, ())) for each in chosen]

        for name, chosen in ids.items():
            self._predicted.shares[name].append(share(chosen))
        if typed:
            self._predicted.gains.append(share(typed[TYPED]) - share(near))
            self._predicted.predicted.count(right(typed[PREDICTED]))
            self._predicted.replaced.count(right(set(near) - set(typed[TYPED])))
        best = max((result.points for result in found), default=0.0) or 1.0
        self._history.append(Retrieval(to_ms(asked.at), [(each.id, each.points / best) for each in found]))
        await super().ask(asked)
        await self.answer(asked)

    async def _typed(self, asked: Asked) -> dict[str, list[str]]:
        """What is near when half of the question's words are typed."""
        words = asked.question.text.split()
        await self._say(PREDICT_TASK_LABEL, " ".join(words[: (len(words) + 1) // 2]), asked)
        near = await self.scheduler.working_set(self.ref.user_id, self.ref.mem_cube_id)
        predicted = [each.memory_id for each in near if "predicted" in each.sources]
        return {TYPED: [each.memory_id for each in near], PREDICTED: predicted}

    def _choice(
        self, name: str, near: Sequence[str], found: Sequence[SearchResult], look: Look, asked: Asked
    ) -> list[str]:
        """The memories that one policy would have near."""
        hits = [each.id for each in found]
        if name == OWN:
            return list(near)
        if name == SEARCH:
            return hits
        if name == BOTH:
            return [*hits[: _SIZE // 2], *near[: _SIZE // 2]]
        cube = look.cube
        if name in BASELINES:
            seen = Seen(cube.memories, cube.columns().value, self._history, to_ms(asked.at))
            return BASELINES[name](seen)[:_SIZE]
        columns, may = cube.columns(), cube.available()
        valuation = self._ablated.setdefault(name, _ablated(name, cube.theme_cache))
        values = valuation.values(columns, cube.used(look.state.log), may, cube.generation)
        return [cube.memories[ordinal].memory_id for ordinal in values.best(_SIZE, may).tolist()]


def _ablated(name: str, themes: ThemeCache) -> Valuation:
    modes, left_out = with_running_theme(MODES, themes), name.removeprefix("without ")
    if left_out == name:
        return Valuation(modes, learns=False)
    if left_out in FEATURES:
        return Valuation(mixture_of(modes, blind_to=left_out))
    return Valuation(mixture_of(modes, without=left_out))


def _share(question: Question, told: Iterable[str]) -> float:
    return len(question.evidence.intersection(told)) / len(question.evidence)
