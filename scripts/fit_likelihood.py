"""Fit the probability that a search result fits its question, and print the constants beside those in use.

Each question of a conversation is asked there, and in another one of the file with the speakers' names of that one,
where nothing fits. The evidence of the first is told from the best result of the second by a logistic regression, as
many of the one as of the other; conversations whole and cut into stretches of 10 to 75 turns, and small cubes in four
languages (``tests/data/languages``, without what is kept aside). The constants belong into
memsched/memory/search/likelihood.py.

    python -m scripts.fit_likelihood FILE
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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.aside import is_aside
from benchmarks.languages import FILES, LANGUAGES, tell_facts
from benchmarks.recall import stretches_of, tell
from memsched import AsyncMemScheduler, SearchResult
from memsched.embedded.teardown import end_servers
from memsched.evaluation.locomo import Conversation, read_conversations
from memsched.memory.search import hybrid, likelihood

NAMES = ("INTERCEPT", "COVERAGE", "SHARE", "FOUND", "IN_TIME", "MEMORIES")
WEIGHTS = {"whole": 1.0, "short": 1.0, "small": 2.0}
"""Of the kinds of cubes, whatever their numbers."""
LEAST = (0.3, 0.5, 0.7, 0.9)
ROUNDS = 6
_TOP_K = 10
_RIDGE = 1.0

Rows = list[tuple[list[float], bool]]
"""The results of one question: their features, and whether each is evidence."""


class Asking:
    """Asks, and writes down what goes into the probability of each result."""

    def __init__(self, scheduler: AsyncMemScheduler) -> None:
        self._scheduler = scheduler
        self._seen: list[dict[str, Any]] = []
        self.asked: list[tuple[str, bool, Rows]] = []
        hybrid.likelihood = self._recorded  # type: ignore[attr-defined]

    def _recorded(self, **known: Any) -> float:
        self._seen.append(known)
        return likelihood.likelihood(**known)

    async def ask(self, kind: str, question: str, user: str, cube: str, evidence: Iterable[str], *, own: bool) -> None:
        """evidence: texts, or ids of turns."""
        self._seen.clear()
        wanted = set(evidence)
        found: Sequence[SearchResult] = await self._scheduler.retriever.search(question, user, cube, top_k=_TOP_K)
        rows = [
            (features(seen), own and bool(wanted & {result.memory, *result.item.sources.values()}))
            for seen, result in zip(self._seen, found, strict=True)
        ]
        self.asked.append((kind, own, rows))


def features(seen: dict[str, Any]) -> list[float]:
    """In the order of NAMES."""
    found, memories = math.log1p(seen["found"]), math.log1p(seen["memories"])
    return [1.0, seen["coverage"], seen["share"], found, float(seen["in_time"]), memories]


async def ask_talks(asking: Asking, scheduler: AsyncMemScheduler, kind: str, talks: Sequence[Conversation]) -> None:
    """Each in a cube of its own."""
    chosen = random.Random(kind)
    for number, talk in enumerate(talks):
        user = f"{kind} {number}"
        await tell(scheduler, user, talk)
        others = [
            renamed(question.text, speakers(other), speakers(talk))
            for other in talks
            if other.name != talk.name
            for question in other.questions
        ]
        for question in talk.questions:
            await asking.ask(kind, question.text, user, "talk", question.evidence, own=True)
        for text in chosen.sample(others, min(len(others), len(talk.questions))):
            await asking.ask(kind, text, user, "talk", (), own=False)


async def ask_small(asking: Asking, scheduler: AsyncMemScheduler) -> None:
    """The cubes of a few facts, each question in its own, and in another one of its language."""
    for language in LANGUAGES:
        files = sorted(FILES.glob(f"{language}*.json"))
        cubes = [cube for file in files for cube in json.loads(file.read_text("utf-8"))]
        await tell_facts(scheduler, cubes)
        for number, cube in enumerate(cubes):
            for each in (each for each in cube["told"] if not is_aside(each["id"])):
                await asking.ask("small", each["question"], cube["id"], "home", [each["text"]], own=True)
                await asking.ask("small", each["question"], cubes[number - 1]["id"], "home", (), own=False)


def speakers(talk: Conversation) -> list[str]:
    return list(dict.fromkeys(turn.speaker for session in talk.sessions for turn in session.turns))


def renamed(text: str, names: Sequence[str], others: Sequence[str]) -> str:
    """A question about other people."""
    for number, name in enumerate(names):
        text = re.sub(rf"\b{re.escape(name)}\b", others[number % len(others)], text)
    return text


def fit(asked: Sequence[tuple[str, bool, Rows]]) -> np.ndarray:
    """Newton's method; the best of each question by the constants so far, again and again."""
    constants = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(ROUNDS):
        chosen: list[tuple[str, bool, list[float]]] = []
        for kind, own, rows in asked:
            fits = [row for row, is_evidence in rows if is_evidence or not own]
            if fits:
                chosen.append((kind, own, max(fits, key=lambda row: float(np.dot(row, constants)))))
        counts: dict[tuple[str, bool], int] = {}
        for kind, own, _row in chosen:
            counts[kind, own] = counts.get((kind, own), 0) + 1
        weights = np.array([WEIGHTS[kind] / counts[kind, own] for kind, own, _ in chosen])
        weights *= len(chosen) / weights.sum()
        matrix, target = np.array([row for *_, row in chosen]), np.array([own for _, own, _ in chosen], dtype=float)
        constants = _newton(matrix, target, weights)
    return constants


def _newton(matrix: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    constants = np.zeros(matrix.shape[1])
    ridge = _RIDGE * np.diag([0.0, *[1.0] * (len(constants) - 1)])
    for _ in range(60):
        likely = 1 / (1 + np.exp(-matrix @ constants))
        slope = matrix.T @ (weights * (target - likely)) - ridge @ constants
        bend = (matrix * (weights * likely * (1 - likely))[:, None]).T @ matrix + ridge
        step = np.linalg.solve(bend, slope)
        constants += step
        if np.abs(step).max() < 1e-9:
            break
    return constants


async def ask_all(file: Path) -> list[tuple[str, bool, Rows]]:
    folder = Path(tempfile.mkdtemp(prefix="memsched-fit-"))
    scheduler = AsyncMemScheduler(redis_url=f"embedded://{folder}", qdrant_url="", memory=True, log_level="error")
    await scheduler.start()
    try:
        asking, talks = Asking(scheduler), read_conversations(file)
        await ask_small(asking, scheduler)
        stretches = [stretch for talk in talks for stretch in stretches_of(talk)]
        await ask_talks(asking, scheduler, "short", stretches)
        await ask_talks(asking, scheduler, "whole", talks)
        return asking.asked
    finally:
        await scheduler.stop()
        end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="conversations in the form of LoCoMo (JSON)")
    asked = asyncio.run(ask_all(parser.parse_args().file))
    in_use = np.array([getattr(likelihood, name) for name in NAMES])
    fitted = fit(asked)
    for name, used, better in zip(NAMES, in_use, fitted, strict=True):
        print(f"{name:10}{used:8.3f}{better:8.3f}")
    print(f"\n{'told, own / others, %':22}" + "".join(f"{f'at {least}':>12}" for least in LEAST))
    for kind in WEIGHTS:
        cells = []
        for least in LEAST:
            told: dict[bool, list[bool]] = {True: [], False: []}
            for _, own, rows in (each for each in asked if each[0] == kind):
                best = max((float(np.dot(row, fitted)) for row, _ in rows), default=-math.inf)
                told[own].append(best >= math.log(least / (1 - least)))
            cells.append(" / ".join(f"{100 * np.mean(told[own]):.0f}" for own in (True, False)))
        print(f"{kind:22}" + "".join(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    main()
