"""The ladder: how a server and model are warmed, learnt from what they report."""

from __future__ import annotations

from collections.abc import Sequence

from memsched.llm.servers.base import Step

SHARE = 0.9
"""Of the head's tokens, what a chat must find in the cache."""
MISSES = 3
"""So many chats of one cube in a row that found less, and the next step is tried."""
OFF_SECONDS = 24 * 3600.0
"""After these the ladder begins anew: the server may be another one."""

_STEPS: Sequence[Step] = tuple(Step)


def step_after(step: Step) -> Step:
    """The next step; after the last but ``off`` it is that."""
    return _STEPS[min(_STEPS.index(step) + 1, len(_STEPS) - 1)]


def is_hit(cached: int, head_tokens: float, unit: int) -> bool:
    """Whether a chat found its head in the cache.

    Args:
        cached: what the server says that it had.
        head_tokens: of the head, as the server counts them.
        unit: the server caches whole blocks of so many.
    """
    whole = max(0.0, head_tokens - unit + 1)
    return cached >= SHARE * whole
