"""Fit the weights of a memory's content value on conversations with questions, and print them as JSON.

A logistic ridge regression on "is evidence of some question". The word lists are not fitted; they stand beside the
weights in memsched/memory/content/content_value.json, where the printed weights belong.

    python scripts/fit_content_value.py FILE
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

from memsched.evaluation.locomo import Conversation, read_conversations
from memsched.memory.content.content_value import WEIGHTS, content_of, rarity, text_features

RIDGE = 1.0
STEPS = 30


def rows_of(conversation: Conversation) -> tuple[list[dict[str, float]], list[bool]]:
    """The features of each turn, and whether some question needs it."""
    needed = {reference for question in conversation.questions for reference in question.evidence}
    seen: Counter[str] = Counter()
    features, labels, earlier = [], [], 0
    for session in conversation.sessions:
        asked = False
        for place, turn in enumerate(session.turns):
            content = content_of(turn.speaker, turn.text)
            features.append(
                text_features(turn.text)
                | {
                    "rare": rarity([seen[stem] for stem in content.stems], earlier),
                    "after_question": float(asked),
                    "place": min(3.0, math.log1p(place)),
                }
            )
            labels.append(turn.reference in needed)
            asked, earlier = content.asks, earlier + 1
            seen.update(content.stems)
    return features, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="conversations in the form of LoCoMo (JSON)")
    rows, labels = zip(*map(rows_of, read_conversations(parser.parse_args().file)), strict=True)
    names = list(WEIGHTS)
    matrix = np.array([[1.0, *(row[name] for name in names)] for part in rows for row in part])
    needed = np.array([label for part in labels for label in part], dtype=float)
    ridge = np.diag([0.0, *[RIDGE] * len(names)])
    weights = np.zeros(matrix.shape[1])
    for _ in range(STEPS):  # Newton's method
        probable = 1 / (1 + np.exp(-matrix @ weights))
        slope = matrix.T @ (needed - probable) - ridge @ weights
        bend = (matrix * (probable * (1 - probable))[:, None]).T @ matrix + ridge
        weights += np.linalg.solve(bend, slope)
    scores = matrix @ weights
    above = scores[needed == 1][:, None] - scores[needed == 0]
    auc = float(((above > 0) + 0.5 * (above == 0)).mean())
    fitted = {"constant": round(weights[0], 3), "weights": dict(zip(names, weights[1:].round(3).tolist(), strict=True))}
    print(json.dumps(fitted, indent=2))
    print(f"AUC on the same conversations: {auc:.3f}")


if __name__ == "__main__":
    main()
