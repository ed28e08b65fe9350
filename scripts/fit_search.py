"""Fit the weights of the parts of a search's score on conversations with questions, and print them beside those in use.

Listwise logistic regression: a softmax over what is found for a question, whose evidence is to be drawn. Words weigh 1,
as in memsched/memory/search/constants.py, where the printed weights belong. What search does after the sum (spread,
repetitions, corrections) is left out. Each conversation is also ranked with weights that were fitted on the others.

    python scripts/fit_search.py FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isclose
from pathlib import Path
from statistics import fmean

import numpy as np

from memsched.cli.eval_scheduler import measured
from memsched.evaluation.locomo import Conversation, read_conversations
from memsched.evaluation.replay import CUBE, Progress, as_message
from memsched.memory.search.constants import (
    DAY,
    DENSE_OF_A_MODEL,
    DENSE_OF_HASHING,
    MONTH,
    ONLY_YEAR,
    SPEAKER,
    VALUE,
)
from memsched.scheduler import AsyncMemScheduler

NAMES = ("words", "speaker", "value", "month", "day", "dense")
CANDIDATES = 200
RIDGE = 1e-3
"""On the weights: enough for one that nothing needs."""
STEPS = 50
DEPTHS = (5, 10, 20)
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Asked:
    """A question, and what was found for it.

    Args:
        features: a row for each memory, in the order of NAMES.
        needed: which of its turns' evidence each memory is; none for most.
    """

    talk: str
    features: np.ndarray
    evidence: Sequence[frozenset[str]]
    needs: int


def features_of(parts: Mapping[str, float], dense: float) -> list[float]:
    """What the parts of a score are without the weights in use."""
    time = parts.get("time", 0.0)
    month, day = next(
        (month, day)
        for month, day in product((0.0, 1.0, ONLY_YEAR), (0.0, 1.0))
        if isclose(month * MONTH + day * DAY, time)
    )
    return [
        parts.get("words", 0.0) + parts.get("around", 0.0),
        parts.get("speaker", 0.0) / SPEAKER,
        parts.get("value", 0.0) / VALUE,
        month,
        day,
        parts.get("dense", 0.0) / dense,
    ]


async def ask_all(
    scheduler: AsyncMemScheduler, conversations: Sequence[Conversation], progress: Progress
) -> list[Asked]:
    """Tell all, then ask all."""
    asked: list[Asked] = []
    hashing = scheduler.settings.embedding_model == "hashing"
    dense = DENSE_OF_HASHING if hashing else DENSE_OF_A_MODEL
    for talk in conversations:
        await scheduler.submit_messages([as_message(session, talk.name) for session in talk.sessions])
        await scheduler.wait(user_id=talk.name, timeout=_PATIENCE_SECONDS)
        for question in talk.questions:
            found = await scheduler.retriever.search(question.text, talk.name, CUBE, top_k=CANDIDATES)
            rows = [features_of(result.parts, dense) for result in found]
            evidence = [question.evidence.intersection(result.item.sources.values()) for result in found]
            asked.append(Asked(talk.name, np.array(rows), evidence, len(question.evidence)))
            progress(talk.name, 1)
    return asked


def fit(asked: Sequence[Asked]) -> np.ndarray:
    """The weights, words = 1: Newton's method on the mean of the logarithms of what the softmax gives the evidence."""
    rows = [(each.features, target) for each in asked if (target := _target(each)).any()]
    weights = np.zeros(len(NAMES))
    weights[0] = 0.5
    for _ in range(STEPS):
        slope, bend = -RIDGE * weights, RIDGE * np.eye(len(NAMES))
        for features, target in rows:
            scores = features @ weights
            likely = np.exp(scores - scores.max())
            likely /= likely.sum()
            mean = likely @ features
            slope += target @ features - mean
            bend += (features * likely[:, None]).T @ features - np.outer(mean, mean)
        step = np.linalg.solve(bend, slope)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    normal: np.ndarray = weights / weights[0]
    return normal


def _target(asked: Asked) -> np.ndarray:
    has = np.array([bool(each) for each in asked.evidence], dtype=float)
    share: np.ndarray = has / max(1.0, has.sum())
    return share


def recall(asked: Sequence[Asked], weights: np.ndarray) -> list[float]:
    """Mean recall at each depth, in percent."""
    shares: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for each in asked:
        order = np.argsort(-(each.features @ weights), kind="stable")
        for depth, some in shares.items():
            found = frozenset[str]().union(*(each.evidence[place] for place in order[:depth]))
            some.append(len(found) / each.needs)
    return [100 * fmean(some) for some in shares.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="conversations in the form of LoCoMo (JSON)")
    talks = read_conversations(parser.parse_args().file)
    asked = measured(
        lambda scheduler, progress: ask_all(scheduler, talks, progress), sum(len(t.questions) for t in talks)
    )
    in_use = np.array([1.0, SPEAKER, VALUE, MONTH, DAY, DENSE_OF_HASHING])
    fitted = fit(asked)
    print(f"{'':8}{'in use':>8}{'fitted':>8}")
    for name, used, better in zip(NAMES, in_use, fitted, strict=True):
        print(f"{name:8}{used:8.2f}{better:8.2f}")
    left_out = [
        (len(own), recall(own, fit([each for each in asked if each.talk != talk.name])))
        for talk in talks
        if (own := [each for each in asked if each.talk == talk.name])
    ]
    total = sum(count for count, _ in left_out)
    across = [sum(count * shares[at] for count, shares in left_out) / total for at in range(len(DEPTHS))]
    said = {"in use": recall(asked, in_use), "fitted": recall(asked, fitted), "fitted on the others": across}
    print(f"\n{'recall':22}" + "".join(f"{'@' + str(depth):>8}" for depth in DEPTHS))
    for name, shares in said.items():
        print(f"{name:22}" + "".join(f"{share:8.1f}" for share in shares))


if __name__ == "__main__":
    main()
