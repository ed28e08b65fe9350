"""Fit how probable it is that a search result answers its question (memsched/memory/search/likelihood.py).

In two steps: ``ask`` writes down what is known of each result, a line each, and takes minutes; ``fit`` reads that, and
takes seconds. Asked are the project's own short talks, talks and small cubes in five languages, without what is kept
aside; conversations in the form of LoCoMo, whole and cut into stretches of 10 to 75 turns; and theme stories. Each
question is asked where its answer is; and as many are asked where nothing answers them: those of other conversations,
with the names of the speakers there. The constants for an embedding model are fitted on what was asked with one.

    python -m scripts.fit_likelihood ask words.jsonl --locomo FILE --stories FOLDER
    MEMSCHED_EMBEDDING_MODEL=... python -m scripts.fit_likelihood ask model.jsonl --locomo FILE --stories FOLDER
    python -m scripts.fit_likelihood fit words.jsonl model.jsonl --write
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TextIO

import numpy as np

from benchmarks import languages, scores
from benchmarks.aside import is_aside
from benchmarks.recall import read_story, stretches_of, tell
from memsched import AsyncMemScheduler
from memsched.embedded.teardown import end_servers
from memsched.evaluation.locomo import Conversation, read_conversations
from memsched.memory.search import hybrid, likelihood
from memsched.memory.search.evidence import Evidence
from memsched.memory.search.likelihood import INTERCEPT, Features
from memsched.memory.search.rerank import ScoredHit

ALONE = ("own", "found", "memories", "in_time", "of_others", "asks")
TOGETHER = ("replies", "lacking", "lead")
CONSTANTS: dict[str, tuple[str, ...]] = {
    "words": (*ALONE, "own_found", *TOGETHER),
    "model": (*ALONE, *TOGETHER, "nearness"),
    "alone": (*ALONE, "own_found"),
}
WEIGHTS = {
    "short": 1.5,
    "whole": 1.0,
    "small": 1.0,
    "tiny": 1.0,
    "mixed": 0.5,
    "talks": 0.7,
    "stories": 1.0,
    "lines": 1.5,
    "all": 0.7,
}
"""Of the kinds of cubes, whatever their numbers."""
OFF_TOPIC = 2 / 3
"""Of the weight of as many questions that something answers."""
LEAST = (0.5, 0.7)
FOLDS = 5
FILE = Path(likelihood.__file__).with_suffix(".json")
_TALKS = Path(languages.__file__).parent / "data"
_TOP_K = 10
_SHOWN = 5
"""Results of a question, in the tables."""
_RIDGE = 1.0
_CUBE, _HOME = "talk", "home"

Row = dict[str, Any]


# -- asking --------------------------------------------------------------------------------------------------------


class RecordingEvidence(Evidence):
    """Keeps what was told of each result."""

    seen: ClassVar[dict[str, Features]] = {}

    def of(self, hit: ScoredHit, *, found: float, memories: int, of_others: bool) -> Features:
        features = super().of(hit, found=found, memories=memories, of_others=of_others)
        self.seen[hit.memory_id] = features
        return features


class Asking:
    """Asks, and writes down what is known of each result. Without a model each question is asked once more as it is
    where a permission hook stands between memories.
    """

    def __init__(self, scheduler: AsyncMemScheduler, file: TextIO) -> None:
        self.scheduler = scheduler
        self._file = file

    async def ask(
        self, kind: str, question: str, user: str, cube: str, evidence: Iterable[str] = (), *, group: str
    ) -> None:
        """Ask one question.

        Args:
            evidence: texts, or ids of turns; none, if nothing answers it.
            group: of what is kept apart from the rest in cross-validation.
        """
        wanted = set(evidence)
        services = await self.scheduler.retriever._services()
        usual = services.search
        is_model = not services.embedder.name.startswith("hashing")
        hidden = hybrid.HybridSearch(services.store, services.embedder, services.terms, own_words=True)
        searches = {"model": usual} if is_model else {"words": usual, "alone": hidden}
        for constants, services.search in searches.items():
            RecordingEvidence.seen.clear()
            found = await self.scheduler.retriever.search(question, user, cube, top_k=_TOP_K)
            for rank, result in enumerate(found):
                row = {
                    "constants": constants,
                    "kind": kind,
                    "group": group,
                    "question": f"{user} {question} {bool(wanted)}",
                    "fits": bool(wanted),
                    "rank": rank,
                    "right": bool(wanted & {result.memory, *result.item.sources.values()}),
                    "features": asdict(RecordingEvidence.seen[result.id]),
                }
                self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        services.search = usual

    async def talks(self, kind: str, talks: Sequence[Conversation]) -> None:
        """Each in a cube of its own. What has a false premise is not asked: what shall answer it?"""
        chosen = random.Random(kind)
        for number, talk in enumerate(talks):
            user = f"{kind} {number}"
            await tell(self.scheduler, user, talk)
            others = [
                renamed(question.text, speakers(other), speakers(talk))
                for other in talks
                if other.name != talk.name
                for question in other.questions
                if question.category != "adversarial"
            ]
            asked = [each for each in talk.questions if each.category != "adversarial"]
            for question in asked:
                await self.ask(kind, question.text, user, _CUBE, question.evidence, group=talk.name)
            for text in chosen.sample(others, min(len(others), len(asked))):
                await self.ask(kind, text, user, _CUBE, group=talk.name)

    async def small(self) -> None:
        """The cubes of a few facts; each question in its own, in that of all languages, and in another one of its own
        language.
        """
        for language in languages.LANGUAGES:
            files = sorted(languages.FILES.glob(f"{language}*.json"))
            cubes = [cube for file in files for cube in json.loads(file.read_text("utf-8"))]
            await languages.tell_facts(self.scheduler, [*cubes, *({**cube, "id": "mixed"} for cube in cubes)])
            for number, cube in enumerate(cubes):
                for each in (each for each in cube["told"] if not is_aside(each["id"])):
                    asked, group = each["question"], cube["id"]
                    await self.ask("small", asked, cube["id"], _HOME, [each["text"]], group=group)
                    await self.ask("small", asked, cubes[number - 1]["id"], _HOME, group=group)
                    await self.ask("mixed", asked, "mixed", _HOME, [each["text"]], group=group)
            await self.tiny(cubes)

    async def tiny(self, cubes: Sequence[dict[str, Any]]) -> None:
        """Cubes of a language, cut into pieces of two to five facts; each question in its own and in another one."""
        pieces = [
            {"id": f"{cube['id']} from {at}", "group": cube["id"], "told": cube["told"][at : at + size]}
            for cube in cubes
            for at, size in ((0, 2), (2, 3), (5, 4), (9, 5))
        ]
        await languages.tell_facts(self.scheduler, pieces)
        for number, piece in enumerate(pieces):
            for each in (each for each in piece["told"] if not is_aside(each["id"])):
                asked, group = each["question"], piece["group"]
                await self.ask("tiny", asked, piece["id"], _HOME, [each["text"]], group=group)
                await self.ask("tiny", asked, pieces[number - 1]["id"], _HOME, group=group)

    async def lines(self) -> None:
        """The short talks; each question in its own, in all at once, and in another one of its language."""
        by_language = [
            json.loads((scores.FILES / f"{language}.json").read_text("utf-8")) for language in scores.LANGUAGES
        ]
        for talk in (talk for talks in by_language for talk in talks):
            for user in (f"lines {talk['id']}", "all"):
                await tell(self.scheduler, user, scores.as_told(talk))
        for talks in by_language:
            for number, talk in enumerate(talks):
                own, other = f"lines {talk['id']}", f"lines {talks[number - 1]['id']}"
                for each in (each for each in talk["asked"] if not is_aside(each["id"])):
                    evidence = [f"{talk['id']} {turn}" for turn in each["answers"]]
                    for text in (each[wording] for wording in scores.WORDINGS):
                        await self.ask("lines", text, own, _CUBE, evidence, group=talk["id"])
                        await self.ask("all", text, "all", _CUBE, evidence, group=talk["id"])
                        await self.ask("lines", text, other, _CUBE, group=talk["id"])
                for at, text in enumerate(talk["off_topic"]):
                    if not is_aside(f"{talk['id']}-x{at}"):
                        await self.ask("lines", text, own, _CUBE, group=talk["id"])
                        await self.ask("all", text, "all", _CUBE, group=talk["id"])


def speakers(talk: Conversation) -> list[str]:
    return list(dict.fromkeys(turn.speaker for session in talk.sessions for turn in session.turns))


def renamed(text: str, names: Sequence[str], others: Sequence[str]) -> str:
    """A question about other people."""
    for number, name in enumerate(names):
        text = re.sub(rf"\b{re.escape(name)}\b", others[number % len(others)], text)
    return text


def stories_in(folder: Path) -> dict[str, list[Conversation]]:
    """By language."""
    told: dict[str, list[Conversation]] = defaultdict(list)
    for each in sorted(folder.glob("*.json")):
        language, story = read_story(each)
        told[language].append(story)
    return told


async def ask_all(out: Path, locomo: Path | None, stories: Path | None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="memsched-fit-"))
    scheduler = AsyncMemScheduler(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
    hybrid.Evidence = RecordingEvidence  # type: ignore[attr-defined]
    await scheduler.start()
    try:
        with out.open("w", encoding="utf-8") as file:
            asking = Asking(scheduler, file)
            await asking.small()
            await asking.lines()
            for language in ("de", "es", "zh"):
                await asking.talks("talks", read_conversations(_TALKS / f"talks_{language}.json"))
            for theirs in stories_in(stories).values() if stories else ():
                await asking.talks("stories", theirs)
            if locomo is not None:
                talks = read_conversations(locomo)
                await asking.talks("short", [stretch for talk in talks for stretch in stretches_of(talk)])
                await asking.talks("whole", talks)
    finally:
        await scheduler.stop()
        end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


# -- fitting -------------------------------------------------------------------------------------------------------


class Fitting:
    """A logistic regression on the rows of one kind of constants."""

    def __init__(self, rows: Sequence[Row], names: Sequence[str]) -> None:
        self.rows = rows
        self.names = (INTERCEPT, *names)
        found = [Features(**row["features"]) for row in rows]
        self.matrix = np.array([[1.0, *(getattr(each, name) for name in names)] for each in found])
        self.right = np.array([row["right"] for row in rows], dtype=float)
        counts = Counter((row["kind"], row["fits"]) for row in rows)
        weights = [
            WEIGHTS[row["kind"]] * (1.0 if row["fits"] else OFF_TOPIC) / counts[row["kind"], row["fits"]]
            for row in rows
        ]
        self.weights = np.array(weights) * len(rows) / sum(weights)

    def fit(self, among: np.ndarray | None = None) -> np.ndarray:
        """The constants, by Newton's method."""
        here = np.ones(len(self.rows), dtype=bool) if among is None else among
        matrix, right, weights = self.matrix[here], self.right[here], self.weights[here]
        constants = np.zeros(matrix.shape[1])
        ridge = _RIDGE * np.diag([0.0, *[1.0] * (len(constants) - 1)])
        for _ in range(60):
            likely = _logistic(matrix @ constants)
            slope = matrix.T @ (weights * (right - likely)) - ridge @ constants
            bend = (matrix * (weights * likely * (1 - likely))[:, None]).T @ matrix + ridge
            step = np.linalg.solve(bend, slope)
            constants += step
            if np.abs(step).max() < 1e-9:
                break
        return constants

    def validated(self) -> np.ndarray:
        """What each row scores by constants that were fitted without its conversation."""
        groups = {name: number % FOLDS for number, name in enumerate(sorted({row["group"] for row in self.rows}))}
        folds = np.array([groups[row["group"]] for row in self.rows])
        found = np.zeros(len(self.rows))
        for fold in range(FOLDS):
            held = folds == fold
            found[held] = _logistic(self.matrix[held] @ self.fit(~held))
        return found

    def scored(self, constants: Mapping[str, float]) -> np.ndarray:
        return _logistic(self.matrix @ np.array([constants.get(name, 0.0) for name in self.names]))

    def loss(self, scores: np.ndarray) -> float:
        """The mean log loss."""
        sure = np.clip(scores, 1e-6, 1 - 1e-6)
        losses = -(self.right * np.log(sure) + (1 - self.right) * np.log(1 - sure))
        return float((self.weights * losses).sum() / self.weights.sum())

    def reliability(self, scores: np.ndarray) -> str:
        """A line for each tenth of the scores: what was told, and what was so."""
        lines = ["| score | results | told, % | right, % |", "|---|---:|---:|---:|"]
        for tenth in range(10):
            here = np.minimum(np.floor(scores * 10), 9) == tenth
            if here.any():
                told, right = (
                    100 * np.average(each[here], weights=self.weights[here]) for each in (scores, self.right)
                )
                lines.append(
                    f"| {tenth / 10:.1f} to {tenth / 10 + 0.1:.1f} | {here.sum():,} | {told:.0f} | {right:.0f} |"
                )
        return "\n".join(lines)

    def thresholds(self, scores: np.ndarray) -> str:
        """By kind of cube, of the first results with so much how many are right, and which questions get any."""
        lines = [
            "| cubes | questions | "
            + " | ".join(f"at {least}: right / own kept / about nothing, %" for least in LEAST),
            "|---|---:|" + "---|" * len(LEAST),
        ]
        for kind in WEIGHTS:
            of_kind = [number for number, row in enumerate(self.rows) if row["kind"] == kind and row["rank"] < _SHOWN]
            asked = {
                fits: {self._question(each) for each in of_kind if self._fits(each) is fits} for fits in (True, False)
            }
            cells = []
            for least in LEAST:
                high = [number for number in of_kind if scores[number] >= least]
                kept = {self._question(number) for number in high if self.right[number]}
                something = {self._question(number) for number in high if not self._fits(number)}
                shares = (np.mean(self.right[high]) if high else 0.0, *map(_share, (kept, something), asked.values()))
                cells.append(" / ".join(f"{100 * share:.0f}" for share in shares))
            lines.append(f"| {kind} | {len(asked[True])} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def _question(self, number: int) -> str:
        return str(self.rows[number]["question"])

    def _fits(self, number: int) -> bool:
        return bool(self.rows[number]["fits"])


def _logistic(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))


def _share(some: set[str], of: set[str]) -> float:
    return len(some) / len(of) if of else 0.0


def fit_all(files: Sequence[Path], *, write: bool) -> None:
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    in_use = json.loads(FILE.read_text("utf-8"))
    for kind, names in CONSTANTS.items():
        theirs = [row for row in rows if row["constants"] == kind]
        if not theirs:
            print(f"{kind}: no rows; left as they are\n")
            continue
        fitting = Fitting(theirs, names)
        fitted = dict(zip(fitting.names, fitting.fit().round(3).tolist(), strict=True))
        held = fitting.validated()
        before = fitting.loss(fitting.scored(in_use[kind]))
        print(f"{kind}: {len(theirs):,} results. Log loss of what is in use {before:.4f},")
        print(f"fitted {fitting.loss(fitting.scored(fitted)):.4f}, in {FOLDS} folds {fitting.loss(held):.4f}\n")
        for name, value in fitted.items():
            print(f"{name:17}{in_use[kind].get(name, math.nan):9.3f}{value:9.3f}")
        print(f"\n{fitting.reliability(held)}\n\n{fitting.thresholds(held)}\n")
        in_use[kind] = fitted
    if write:
        FILE.write_text(json.dumps(in_use, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    asking = steps.add_parser("ask", help="ask, and write down what is known of each result")
    asking.add_argument("out", type=Path, help="the file to write, JSON lines")
    asking.add_argument("--locomo", type=Path, help="conversations in the form of LoCoMo (JSON)")
    asking.add_argument("--stories", type=Path, help="a folder of theme stories")
    fitting = steps.add_parser("fit", help="fit the constants, and print them beside those in use")
    fitting.add_argument("files", type=Path, nargs="+", help="what ask has written")
    fitting.add_argument("--write", action="store_true", help=f"put them into {FILE.name}")
    given = parser.parse_args()
    if given.step == "ask":
        asyncio.run(ask_all(given.out, given.locomo, given.stories))
    else:
        fit_all(given.files, write=given.write)


if __name__ == "__main__":
    main()
