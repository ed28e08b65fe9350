"""Options that commands of `memsched eval` share."""

from __future__ import annotations

from enum import StrEnum


class Stream(StrEnum):
    """When questions are asked."""

    SOON = "soon"
    UNIFORM = "uniform"
    LATER5 = "later5"
    END_ORDER = "end_order"
    LAG1TO9 = "lag1to9"


class Answer(StrEnum):
    """What is told of the answers."""

    GOLD = "gold"
    NONE = "none"
