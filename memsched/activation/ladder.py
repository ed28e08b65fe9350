"""The ladder: how a server and model are warmed, learnt from what they report.

Each step costs more than the one before, and is tried where that one did not help. What did not help is only what a
server reports: one that tells nothing of its cache stays where it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_text, as_texts, script
from memsched.llm.servers.base import Step

SHARE = 0.9
"""Of the head's tokens, what a chat must find in the cache."""
MISSES = 3
"""So many chats of one cube in a row that found less, and the next step is tried. Of one cube: when a server begins
anew, one chat of each finds nothing.
"""
OFF_SECONDS = 24 * 3600.0
"""After these the ladder begins anew: the server may be another one by then."""
_KEPT_SECONDS = 30 * 24 * 3600.0
_READ_EVERY_SECONDS = 5.0
_CLIMB = script("climb", "activation")
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


@dataclass(frozen=True, slots=True)
class Climbed:
    """A step that was taken.

    Args:
        found: cached tokens of the chats that led to it.
    """

    before: Step
    after: Step
    found: list[int]


@dataclass(frozen=True, slots=True)
class Rung:
    """Where a server and model are on the ladder.

    Args:
        since: ms since the epoch; None: from the beginning.
        hit: when a chat found its head last, ms since the epoch; None: none did that is remembered.
    """

    step: Step
    since: int | None = None
    hit: int | None = None


class Ladder:
    """The ladders of all servers and models. What one process learns all know within seconds.

    Args:
        clock: seconds, monotonic, for how long what was read counts.
    """

    def __init__(self, server: Server, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._keys = keys
        self._clock = clock
        self._known: dict[str, tuple[float, Rung]] = {}

    async def rung(self, place: str, first: Step) -> Rung:
        """Where a server and model (``LLM.place``) are.

        Args:
            first: where this kind of server begins.
        """
        known = self._known.get(place)
        if known is None or self._clock() - known[0] >= _READ_EVERY_SECONDS:
            command = Command(("HMGET", self._keys.ladder(place), "step", "since", "hit"), lambda reply: reply)
            step, since, hit = await self._server.persistently(lambda: self._server.call(command))
            rung = Rung(
                Step(as_text(step)) if step else first, int(since) if since else None, int(hit) if hit else None
            )
            self._known[place] = known = self._clock(), rung
        return known[1]

    async def saw(self, place: str, first: Step, step: Step, cube: str, found: int | None) -> Climbed | None:
        """Take into account what a chat about a cube found in the cache; the step that follows, if one does.

        Args:
            step: under which the server was warmed.
            found: cached tokens, fewer than there should have been; None: it was a hit.
        """
        after = step_after(step)
        told = "hit" if found is None else found
        kept, off = int(_KEPT_SECONDS * 1000), int(OFF_SECONDS * 1000)
        name = hashlib.sha256(cube.encode(errors="surrogatepass")).hexdigest()[:16]
        now = int(time.time() * 1000)
        args = [step.value, first.value, name, told, MISSES, after.value, now, kept, off if after is Step.OFF else kept]
        command = _CLIMB.command([self._keys.ladder(place)], args, as_texts)
        missed = await self._server.persistently(lambda: self._server.call(command))
        if not missed:
            return None
        self._known.pop(place, None)
        return Climbed(step, after, [int(each) for each in missed])
