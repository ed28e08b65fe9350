"""How probable it is that a result fits its question: a score that means something alone.

A logistic regression (Platt 1999) over what search knows of one result. It was fitted to tell the evidence of questions
from the best that the same questions find in other conversations, as many of the one as of the other: 0.5 says that a
result like this is as often what was asked for as it is the least bad of what does not fit
(``scripts/fit_likelihood.py``; docs/measurements.md has how well it tells them apart).
"""

from __future__ import annotations

import math

INTERCEPT = -2.175
COVERAGE = 1.536
"""Of the question's words, each by how rare it is, the share that stands in the memory itself."""
SHARE = 3.686
"""What words, also around it, gave of what they would give if each stood there once at full weight."""
FOUND = 1.55
"""Times the logarithm of what words gave: two rare words say more than one frequent one."""
IN_TIME = 3.584
"""For what was said when the question asks for."""
MEMORIES = -0.548
"""Times the logarithm of how many memories there are: of many the best is good by chance."""
COSINE, EVEN_COSINE = 12.0, 0.45
"""Of a model's embedding, which tells by itself: how steep, and where it is as likely as not. Guessed, not
fitted: models differ."""


def likelihood(
    *, coverage: float, share: float, found: float, in_time: bool, memories: int, cosine: float = 0.0
) -> float:
    """The probability, 0 to 1.

    Args:
        found: points of words.
        cosine: by a model, 0 where none is asked.
    """
    by_words = (
        INTERCEPT
        + COVERAGE * coverage
        + SHARE * share
        + FOUND * math.log1p(max(0.0, found))
        + IN_TIME * in_time
        + MEMORIES * math.log1p(memories)
    )
    by_meaning = COSINE * (cosine - EVEN_COSINE)
    return 1 / (1 + math.exp(-max(by_words, by_meaning, -700.0)))
