"""Prefetched messages: delivered to this worker, they wait for a free place, in the order in which they will start."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from memsched.queue.delivery import Delivery
from memsched.task_status import TaskPriorityLevel

WEIGHTS = {TaskPriorityLevel.LEVEL_1: 16, TaskPriorityLevel.LEVEL_2: 4, TaskPriorityLevel.LEVEL_3: 1}
"""How often a level starts while all have messages waiting: before the lower ones, without starving them."""

Cube = tuple[str, str]


class WeightedRoundRobin:
    """Smooth weighted round robin: over time each label gets turns in proportion to its weight, evenly spread."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def next(self, weights: dict[str, int]) -> str:
        """Whose turn it is among the labels that could use it."""
        if len(weights) == 1:
            return next(iter(weights))
        credit = self._credit
        for label, weight in weights.items():
            credit[label] = credit.get(label, 0.0) + weight
        best = max(weights, key=credit.__getitem__)
        credit[best] -= sum(weights.values())
        return best


class LabelBuffer:
    """The waiting messages of one label, by cube; cubes take turns. A cube is ready when it has messages; in an ordered
    label, when none of them runs besides.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self._cubes: dict[Cube, deque[Delivery]] = {}
        self._ready: deque[Cube] = deque()
        self._busy: set[Cube] = set()
        self._waiting = 0
        self._parked: list[Cube] = []
        """Cubes whose first message is a suspect that may not start now."""

    def __iter__(self) -> Iterator[Delivery]:
        for waiting in self._cubes.values():
            yield from waiting

    def __len__(self) -> int:
        return self._waiting

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    @property
    def calls(self) -> int:
        """How many calls could start with what waits, if there were places: of an ordered label one for each cube."""
        return len(self._ready) + len(self._parked) if self.ordered else self._waiting

    def add(self, delivery: Delivery) -> None:
        self._waiting += 1
        cube = (delivery.message.user_id, delivery.message.mem_cube_id)
        waiting = self._cubes.get(cube)
        if waiting is None:
            self._cubes[cube] = deque((delivery,))
            if cube not in self._busy:
                self._ready.append(cube)
        else:
            waiting.append(delivery)

    def take(self, most: int, admits: Callable[[Delivery], bool]) -> list[Delivery]:
        """The next messages of one cube for one call. Empty when nothing can start.

        In an ordered label the cube is busy until ``release``.

        Args:
            admits: whether a message may start now; one that may not is parked.
        """
        while self._ready:
            cube = self._ready.popleft()
            waiting = self._cubes.get(cube)
            if not waiting or cube in self._busy:
                continue
            if not admits(waiting[0]):
                self._parked.append(cube)
                continue
            batch = [waiting.popleft()]
            # What ran before goes on from its own checkpoint, so it goes alone.
            if not batch[0].has_past:
                while waiting and len(batch) < most and not waiting[0].has_past:
                    batch.append(waiting.popleft())
            self._waiting -= len(batch)
            if not waiting:
                del self._cubes[cube]
            if self.ordered:
                self._busy.add(cube)
            elif waiting:
                self._ready.append(cube)
            return batch
        return []

    def release(self, cube: Cube) -> None:
        """The call of this cube has ended."""
        if cube in self._busy:
            self._busy.discard(cube)
            if cube in self._cubes:
                self._ready.append(cube)

    def unpark(self) -> None:
        self._ready.extendleft(reversed(self._parked))
        self._parked.clear()

    def remove(self, gone: Iterable[Delivery]) -> None:
        """These are not ours any more."""
        for delivery in gone:
            cube = (delivery.message.user_id, delivery.message.mem_cube_id)
            waiting = self._cubes.get(cube)
            if waiting and delivery in waiting:
                waiting.remove(delivery)
                self._waiting -= 1
                if not waiting:
                    del self._cubes[cube]

    def clear(self) -> list[Delivery]:
        """Empty the buffer; returns what was in it."""
        waiting = list(self)
        self._waiting = 0
        self._cubes.clear()
        self._ready.clear()
        self._parked.clear()
        return waiting
