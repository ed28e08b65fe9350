"""How probable it is that a result answers its question: a score that means something alone.

A logistic regression (Platt 1999) over what search knows of one result (``Features``), fitted on whether it is what was
asked for. Two fifths of the questions were about nothing that was told. So of the results with a score of 0.7 about
seven in ten are right (docs/measurements.md). The constants stand in ``likelihood.json``, which
``scripts/fit_likelihood.py`` writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

_CONSTANTS: Mapping[str, Mapping[str, float]] = json.loads(
    files("memsched.memory.search").joinpath("likelihood.json").read_text(encoding="utf-8")
)
INTERCEPT = "intercept"
Kind = str
"""Which constants: ``words``, ``model`` with an embedding model, ``alone`` where other memories must not tell."""


@dataclass(frozen=True, slots=True)
class Features:
    """What tells.

    Args:
        own: of the question's words, each by how rare it is, the share that stands in the memory itself.
        replies: the share that the question right before it adds, of which it may be the answer.
        lacking: the share that the best of all that was found has more of.
        found: log of what words gave, also those around it: two rare words say more than one frequent one.
        lead: log odds of it among all that was found, by their points: of those beside an answer each has less.
        memories: log of how many memories there are: of many the best is good by chance.
        in_time: whether it was said when the question asks for.
        of_others: whether the question names who said it, and that is somebody else.
        asks: whether something is asked in it.
        nearness: by a model, how far its cosine is above the others', in their standard deviations.
    """

    own: float
    replies: float
    lacking: float
    found: float
    lead: float
    memories: float
    in_time: float
    of_others: float
    asks: float
    nearness: float = 0.0

    @property
    def own_found(self) -> float:
        """Of a question that stands in the memory as a whole it counts less how many words it has."""
        return self.own * self.found


def likelihood(features: Features, kind: Kind) -> float:
    """The probability, 0 to 1."""
    constants = _CONSTANTS[kind]
    by_name = ((name, weight) for name, weight in constants.items() if name != INTERCEPT)
    log_odds = constants[INTERCEPT] + sum(weight * getattr(features, name) for name, weight in by_name)
    return 1 / (1 + math.exp(-max(log_odds, -700.0)))
