"""What the score of a result says: of those with a high one, how many are right, and what a threshold leaves out.

Short talks of ten turns in four languages (``tests/data/scores``): three questions about a turn each, asked in its
words, in other words and in a word or two, and three about what nobody spoke of. Each talk is told to a cube of its
own, and all talks to one cube. A third of the questions is kept aside while rules are made (``benchmarks/aside.py``).
Another version is measured on the same questions by this file itself:

    PYTHONPATH=ITS_CHECKOUT python benchmarks/scores.py
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.aside import is_aside
from benchmarks.recall import tell
from benchmarks.targets import Results, Target
from memsched import AsyncMemScheduler
from memsched.evaluation.locomo import Conversation, Session, Utterance

LANGUAGES = ("en", "de", "es", "zh")
FILES = Path(__file__).parents[1] / "tests" / "data" / "scores"
LEAST_SCORES = (0.5, 0.7)
WORDINGS = {"question": "in its words", "other_words": "in other words", "short": "in a word or two"}
TARGETS: dict[str, Target] = {}
_BEGAN = datetime(2026, 3, 2, 9, tzinfo=UTC)
_CUBE = "talk"
_TOP_K = 5


@dataclass
class Counted:
    """Of some questions: their results, and what a threshold keeps.

    Attributes:
        told: by least score, of all results with so much whether each is right.
        kept: whether the right one has so much.
        something: of questions about nothing, whether anything has so much.
        first: whether the right one comes first.
        scores: of the right ones; 0 for what was not found.
    """

    told: dict[float, list[bool]] = field(default_factory=lambda: defaultdict(list))
    kept: dict[float, list[bool]] = field(default_factory=lambda: defaultdict(list))
    something: dict[float, list[bool]] = field(default_factory=lambda: defaultdict(list))
    first: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, found: Sequence[tuple[bool, float]], *, fits: bool) -> None:
        """found: of each result whether it is right, and its score."""
        for least in LEAST_SCORES:
            self.told[least] += [is_right for is_right, score in found if score >= least]
            if fits:
                self.kept[least].append(any(is_right and score >= least for is_right, score in found))
            else:
                self.something[least].append(any(score >= least for _, score in found))
        if fits:
            self.first.append(bool(found) and found[0][0])
            self.scores.append(max((score for is_right, score in found if is_right), default=0.0))


class ScoresBenchmark:
    """A step a language, then all of them in one cube.

    Args:
        data: files of other talks, in place of the project's; the name begins with the language.
        where: ``aside`` or ``tuned``: only these questions.
    """

    STEPS: tuple[str, ...] = (*LANGUAGES, "together")

    def __init__(self, results: Results, data: Sequence[Path] = (), where: str = "") -> None:
        self.results = results
        self.counted: dict[tuple[str, str], Counted] = defaultdict(Counted)
        self._where = where
        self._files = list(data) or sorted(FILES.glob("*.json"))

    async def run(self, only: list[str]) -> None:
        """Run the steps for which there are data; fills in the flat results."""
        self.scheduler = AsyncMemScheduler(redis_url=f"memory://{uuid4()}", memory=True, log_level="error")
        await self.scheduler.start()
        try:
            for step in only or self.STEPS:
                files = [each for each in self._files if step == "together" or each.name.startswith(step)]
                talks = [talk for file in files for talk in json.loads(file.read_text("utf-8"))]
                for talk in talks:
                    user = "together" if step == "together" else talk["id"]
                    await tell(self.scheduler, user, as_told(talk))
                for talk in talks:
                    await self._ask(step, "together" if step == "together" else talk["id"], talk)
        finally:
            await self.scheduler.stop()
        for (step, wording), counted in self.counted.items():
            self._write(f"{step}_{wording}", counted)

    async def _ask(self, step: str, user: str, talk: dict[str, Any]) -> None:
        for each in talk["asked"]:
            for wording in WORDINGS:
                if self._is_wanted(each["id"]):
                    right = {f"{talk['id']} {number}" for number in each["answers"]}
                    self.counted[step, wording].add(await self._found(each[wording], user, right), fits=True)
        for number, text in enumerate(talk["off_topic"]):
            if self._is_wanted(f"{talk['id']}-x{number}"):
                self.counted[step, "question"].add(await self._found(text, user, set()), fits=False)

    def _is_wanted(self, case_id: str) -> bool:
        return not self._where or is_aside(case_id) == (self._where == "aside")

    async def _found(self, question: str, user: str, right: set[str]) -> list[tuple[bool, float]]:
        results = await self.scheduler.retriever.search(question, user, _CUBE, top_k=_TOP_K)
        return [(not right.isdisjoint(each.item.sources.values()), each.score) for each in results]

    def _write(self, name: str, counted: Counted) -> None:
        shares: dict[str, list[bool]] = {"first": counted.first}
        for least in LEAST_SCORES:
            shares |= {
                f"right_at_{least}": counted.told[least],
                f"kept_at_{least}": counted.kept[least],
                f"something_at_{least}": counted.something[least],
            }
        self.results[f"{name}_score"] = round(sum(counted.scores) / max(1, len(counted.scores)), 3)
        for key, hits in shares.items():
            self.results[f"{name}_{key}"] = sum(hits)
            self.results[f"{name}_{key}_of"] = len(hits)


def as_told(talk: dict[str, Any]) -> Conversation:
    """A talk in one session; a turn's reference is its talk and its number."""
    turns = [Utterance(speaker, text, f"{talk['id']} {number}") for number, (speaker, text) in enumerate(talk["turns"])]
    return Conversation(talk["id"], [Session(talk["id"], _BEGAN, turns)], [], 0)


def markdown(results: Results) -> str:
    """A row for each kind of cube and wording."""
    lines = [
        "| cube, asked | first | right ones, mean score | "
        + " | ".join(f"at {least}: right of all | own kept | about nothing" for least in LEAST_SCORES)
        + " |",
        f"|---|{'---:|' * (2 + 3 * len(LEAST_SCORES))}",
    ]
    for step in ScoresBenchmark.STEPS:
        for wording, said in WORDINGS.items():
            name = f"{step}_{wording}"
            if f"{name}_first" in results:
                cells = [_of(results, f"{name}_first"), f"{results[f'{name}_score']:.2f}"]
                for least in LEAST_SCORES:
                    cells += [_of(results, f"{name}_{key}_at_{least}") for key in ("right", "kept", "something")]
                lines.append(f"| {step}, {said} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of(results: Results, key: str) -> str:
    return f"{results[key]:.0f} of {results[f'{key}_of']:.0f}" if results[f"{key}_of"] else ""


if __name__ == "__main__":
    import asyncio

    benchmark = ScoresBenchmark({}, [Path(each) for each in sys.argv[2:]], sys.argv[1] if sys.argv[1:] else "")
    asyncio.run(benchmark.run([]))
    print(markdown(benchmark.results))
