"""How an adapter is trained: the numbers that a recipe consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """The defaults are for the small model of docs/parameters.md; a large one learns the same in fewer epochs.

    Args:
        base: the model's folder, as transformers loads it.
        replay: whether other texts are trained beside; without them a model forgets how people write.
        weight: of the loss on other texts, beside that on the answers.
        epochs: passes over the data set.
        rate: the highest learning rate; it rises over a twentieth of the steps, and falls as a cosine.
        rank: of the adapter's matrices. alpha: by how much they count, over the rank.
        tokens: of one chat, at most; longer ones are cut at their end.
        save_seconds: between two checkpoints, from which a trainer that was killed goes on.
    """

    base: str
    replay: bool = True
    weight: float = 0.3
    epochs: int = 12
    rate: float = 3e-3
    rank: int = 32
    alpha: int = 64
    batch: int = 16
    tokens: int = 512
    seed: int = 0
    threads: int = 0
    save_seconds: float = 30.0
